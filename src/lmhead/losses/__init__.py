"""Losses from logits and from hidden states, and what their sums are divided by."""
