"""The loss of anybody's causal LM out of the op: its own forward runs, its output layer gives lazy logits."""
