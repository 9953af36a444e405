"""Conversations as they are given: messages, roles, reasoning, flags and the form of their content."""
