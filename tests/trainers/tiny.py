"""Tiny models and runs for the tests of trainers."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from lmhead import Example

V = 100
_SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**_SIZES))


def mixtral() -> MixtralForCausalLM:
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**_SIZES, num_local_experts=4, router_aux_loss_coef=0.5))


def examples(count: int = 22) -> list[Example]:
    """Of 4 to 19 tokens; the second half of each is learnt."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(4, 20, (count,), generator=generator).tolist()
    drawn = [torch.randint(3, V, (size,), generator=generator).tolist() for size in sizes]
    return [Example.of(ids, trained=[t >= len(ids) // 2 for t in range(len(ids))]) for ids in drawn]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    """Of a run of three steps of three micro-batches, the last of an epoch of fewer."""
    return TrainingArguments(**(run_options(folder) | options))


def run_options(folder: Path) -> dict[str, Any]:
    """What TrainingArguments and SFTConfig are given alike."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 4,
        "gradient_accumulation_steps": 3,
        "max_steps": 4,
        "learning_rate": 0.1,
        "lr_scheduler_type": "linear",
        "optim": "sgd",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "seed": 0,
    }


def parameters(model: torch.nn.Module) -> torch.Tensor:
    """All of them, end to end."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def byte_level() -> PreTrainedTokenizerFast:
    """A token for each byte, and <end>, which is a control token; chats as `U...<end>A...<end>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<end>", "<user>", "<assistant>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")
