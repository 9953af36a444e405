"""What a run's folder is made of: whole files, the lock, the log, the sealed config, checkpoints and their sums."""
