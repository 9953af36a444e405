"""Inspection: looking at anybody's data and batches, and findings about them."""
