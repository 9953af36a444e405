"""Training a language model: config, documents, tokens, optimiser, loop, checkpoints."""
