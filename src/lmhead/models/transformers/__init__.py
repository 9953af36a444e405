"""Checkpoints as transformers reads and writes them."""
