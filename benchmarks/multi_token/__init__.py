"""Multi-token prediction: what its loss costs beside full logits, and what its modules cost beside a model."""
