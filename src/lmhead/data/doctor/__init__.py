"""The doctor: what is wrong, or odd, with data for training, with a chat template, and with the two together."""
