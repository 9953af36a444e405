"""Other trainers (transformers' Trainer, TRL's SFTTrainer) with a patched model and this library's labels."""
