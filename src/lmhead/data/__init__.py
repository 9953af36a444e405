"""What people have -> Examples: files and their formats, tokenizers on disk, labelling of whole data sets, the doctor."""
