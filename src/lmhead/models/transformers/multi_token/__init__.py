"""Multi-token prediction behind a model of transformers: what its last layer is called with, and layers like it."""
