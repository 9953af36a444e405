"""Tokenizers: read from files, trained, and with what they begin and end texts."""
