"""Rows: files, folders, streams and the Hub -> rows of columns, with their places."""
