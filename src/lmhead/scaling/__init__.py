"""Scaling on paper: what each rank of a run holds, what it sends, how long a step takes. Arithmetic, without torch."""
