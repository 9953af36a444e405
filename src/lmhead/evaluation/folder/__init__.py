"""An evaluation on the disk: a line for each document, what goes on after an interruption, and the card."""
