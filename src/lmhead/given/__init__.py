"""What people have in hand: any model and any tokenizer, read from wherever they lie, taken as they are."""
