"""Two evaluations of the same bytes: which model is better, by how much, how sure that is, and where."""
