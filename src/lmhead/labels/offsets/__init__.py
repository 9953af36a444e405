"""Offsets of tokens: which characters and bytes of a text each token stands for."""
