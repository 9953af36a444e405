"""Ranks, the processes of one run: who they are, how they are laid out, what they do together. On torch.distributed."""
