"""Flags: dataclasses of options <-> the command line, its help and its completion."""
