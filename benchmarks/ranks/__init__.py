"""Several ranks on one machine: what they move and hold, beside what is estimated."""
