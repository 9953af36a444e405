"""The optimisers of a run: AdamW and Muon, of one process and of sharded matrices."""
