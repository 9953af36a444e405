"""Collated batches of anyone's: columns as numpy rows, and where documents end."""
