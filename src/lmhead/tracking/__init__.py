"""Trackers: the scalars of a run through other people's libraries (tensorboard, wandb, trackio)."""
