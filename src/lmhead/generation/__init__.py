"""Text out of a model: sampling, and printing tokens as they come."""
