"""What is scored: data as people have them -> documents: tokens, raw bytes, what is skipped and why."""
