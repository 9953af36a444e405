"""Multi-token prediction behind a decoder: the modules of DeepSeek-V3, and a model that has them beside its head."""
