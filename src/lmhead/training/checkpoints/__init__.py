"""Checkpoints of many ranks, by torch.distributed.checkpoint: each writes its part, any number takes it up again."""
