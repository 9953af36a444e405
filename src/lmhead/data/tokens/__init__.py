"""Tokens of texts: documents -> one stream of ids, encoded in several processes, kept on disk."""
