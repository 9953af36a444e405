"""How far a model is from a base model on the same tokens: KL, top-1 agreement, the right token's probability."""
