"""Formats: rows of columns -> samples, whatever the columns are called."""
