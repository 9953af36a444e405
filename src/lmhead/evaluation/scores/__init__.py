"""What a model makes of documents: windows that overlap, batches of about one length, scores of every token."""
