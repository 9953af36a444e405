"""A step: batches of a window -> loss, gradient, norms, and what is refused before the weights move."""
