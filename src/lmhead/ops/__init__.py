"""The maths of the linear cross entropy: one problem, several back-ends, one table that chooses."""
