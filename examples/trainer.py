"""transformers' Trainer with a patched model: python examples/trainer.py [--model gpt2 --file book.txt] [--steps 60]

Two lines are lmhead's. `lmhead.patch(model)` has the model's own forward give the same loss without logits, and proves
it first. `lmhead.EvaluationMixin` among the trainer's bases makes `eval_loss` the mean over all scored tokens, where
Trainer's own is a mean over batches, which changes with what shares a batch. Without `--model` a small Llama of bytes
is made in place, and without `--file` the text is Python's own help. Needs pip install "lmhead[hf]".
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import lmhead

LONGEST = 128  # tokens of a text; the rest of it is left out


class ExactTrainer(lmhead.EvaluationMixin, Trainer):
    """A Trainer whose eval_loss does not depend on the batch size."""


def model_and_encoder(name: str | None) -> tuple[Any, Callable[[str], list[int]]]:
    """(model, from text to ids): the one of that name, or a small one that reads bytes."""
    if name is not None:
        tokenizer = AutoTokenizer.from_pretrained(name)
        # Weights that are trained are float32: many are stored in 16 bits, where a step of 5e-5 is rounded away.
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), tokenizer.encode
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaForCausalLM(config), lambda text: list(text.encode())


def paragraphs(file: Path | None) -> list[str]:
    """Of the file, or of Python's help."""
    text = file.read_text(encoding="utf-8") if file else "\n\n".join(topics.values())
    return [paragraph.strip() for paragraph in text.split("\n\n") if len(paragraph.strip()) > 1]


def main() -> None:
    """Evaluate, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder, or a name on the Hub")
    parser.add_argument("--file", type=Path, help="a text of your own, its paragraphs apart by empty lines")
    parser.add_argument("--steps", type=int, default=60, help="of training, at least one")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps must be >= 1, got {given.steps}")
    torch.manual_seed(given.seed)
    model, encode = model_and_encoder(given.model)
    print(lmhead.patch(model))  # the first line
    ids = [encode(text)[:LONGEST] for text in paragraphs(given.file)]
    examples = [lmhead.Example.of(row, trained=[True] * len(row)) for row in ids if len(row) > 1]
    border = max(1, min(len(examples) // 10, 200))
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=16,
            gradient_accumulation_steps=2,
            max_steps=given.steps,
            learning_rate=3e-3 if given.model is None else 5e-5,
            seed=given.seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = ExactTrainer(  # the second line
            model=model,
            args=arguments,
            train_dataset=lmhead.trainer_dataset(examples[border:]),
            eval_dataset=lmhead.trainer_dataset(examples[:border]),
            data_collator=lmhead.PaddedCollator(),
        )
        before = trainer.evaluate()
        trainer.train()
        after = trainer.evaluate()
    print(f"before: eval_loss {before['eval_loss']:.4f} nats over {int(before['eval_tokens']):,} tokens")
    print(f"after {given.steps} steps: eval_loss {after['eval_loss']:.4f} nats over the same tokens")


if __name__ == "__main__":
    main()
