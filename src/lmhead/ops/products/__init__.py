"""Matrix products within a memory budget: plans, tiles, buffers, and what stands between product and softmax."""
