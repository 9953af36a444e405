"""This library's decoder as a folder of Hugging Face: written and read without transformers."""
