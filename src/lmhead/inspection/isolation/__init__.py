"""check_isolation: whether packed documents see one another in a model."""
