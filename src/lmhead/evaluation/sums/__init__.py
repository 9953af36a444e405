"""What is kept of scores: sums of each document, and totals over all of them, exact and mergeable."""
