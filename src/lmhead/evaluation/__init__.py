"""Evaluation: held-out data -> nll, perplexity, accuracy, bits per byte."""
