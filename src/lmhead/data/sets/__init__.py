"""Data sets of a run: texts or conversations, and which of them are held out."""
