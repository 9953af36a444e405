"""Labelling: samples -> Examples, in one process or several, with or without a cache."""
