"""Figures of the learning signal, by matplotlib: each function returns its Figure."""
