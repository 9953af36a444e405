"""doctor: checks of data, chat template and tokenizer."""
