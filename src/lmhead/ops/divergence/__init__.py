"""Divergences of a student's distribution from a teacher's, on the op's own products and plans."""
