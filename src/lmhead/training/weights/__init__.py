"""A run's weights: what they begin as, what is kept and averaged of them, and what is published."""
