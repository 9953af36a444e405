"""Batches: tokenised data -> rows for the training loop and the evaluation."""
