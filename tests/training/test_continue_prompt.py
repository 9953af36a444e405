"""What a run continues along the way: tokens alone, and never a silence where the weights are broken."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import NonFiniteError
from lmhead.models.gpt import GPT
from lmhead.training.prompt import Prompt
from lmhead.training.setup import Ready


def ready() -> Ready:
    torch.manual_seed(0)
    backend = train_tokenizer(["some words of a text"], 260)
    prompt = Prompt(ids=[0, *backend.encode("a").ids], hidden=1, stop_ids=(0,), control_tokens=False)
    nothing: Any = None
    tokenizer: Any = SimpleNamespace(backend=backend)
    return Ready(
        config=nothing,
        tokenizer=tokenizer,
        rows=nothing,
        held_out=nothing,
        prompts=(prompt,),
        model=GPT(vocab_size=5000, embed_dim=8, num_heads=1, num_layers=1, max_seq_len=128),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_rows_beyond_the_tokenizers_ids_are_never_drawn() -> None:
    run, read = ready(), list[int]()
    run.model.model.embed_tokens.register_forward_hook(lambda module, ids, out: read.extend(ids[0][0].tolist()))
    assert run.continue_prompt(run.prompts[0], model=run.model, seed=0).startswith("a")
    assert len(read) > 10
    assert max(read) < 260


def test_broken_weights_are_an_error() -> None:
    run = ready()
    with torch.no_grad():
        run.model.model.norm.get_parameter("weight").fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="must be finite, got nan for"):
        run.continue_prompt(run.prompts[0], model=run.model, seed=0)
