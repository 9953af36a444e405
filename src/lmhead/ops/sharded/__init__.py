"""The vocabulary-parallel head: its rows cut over ranks, which join what each finds in its own columns."""
