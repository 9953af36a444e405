"""What people have -> Examples, or tokens of texts: files, formats, tokenizers, labelling, what a run reads."""
