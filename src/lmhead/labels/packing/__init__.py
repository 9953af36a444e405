"""Packing: Examples or documents -> rows of one length, whose documents do not see one another."""
