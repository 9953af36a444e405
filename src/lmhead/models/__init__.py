"""Decoders to train and sample: their config, what they cost, the modules, and the files that transformers reads."""
