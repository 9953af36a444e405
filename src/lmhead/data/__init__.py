"""What people have -> Examples: files, their formats, tokenizers on disk, labelling of whole data sets, the doctor."""
