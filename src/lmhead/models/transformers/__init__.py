"""Causal language models of transformers, patched, read, trained beside adapters; and this library's as theirs."""
