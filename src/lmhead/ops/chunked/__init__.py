"""Plain torch in bounded memory: one pass over chunks of rows, or tile by tile over the vocabulary."""
