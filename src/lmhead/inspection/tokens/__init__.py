"""Tokens: data, or anybody's batch, and a model -> a record of tokens, as a page, in a notebook, in a terminal."""
