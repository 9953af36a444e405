"""The header of a run's log: its config, the environment, and the data card; what a report tells of a run."""

import dataclasses
import hashlib
import time
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from lmhead.batches.contract import DocumentTable
from lmhead.batches.sources import grouped
from lmhead.data.tokenizer.chatml import CHATML
from lmhead.data.tokenizer.run_tokenizer import TEMPLATE_FILE
from lmhead.models.causal_lm import CausalLM
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ranks.ranks import Ranks
from lmhead.record.header import header
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.environment import environment
from lmhead.training.run.log import Record
from lmhead.training.setup import Ready

_TOLD = ("documents", "tokens", "scored")


def run_header(config: TrainConfig, ready: Ready, *, fingerprint: str) -> Record:
    """The header of a run's log. Where the run lies is not in it: a folder can be moved.

    Args:
        fingerprint: of the data.
    """
    said = dataclasses.asdict(config)
    del said["out"]
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in ready.model.parameters()]
    return header(
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tokenizer=tokenizer_card(ready.tokenizer.backend, _tokenizer_name(config)),
        data=list(config.data.paths) or None,
        config=said,
        model={
            "parameters": sum(size for size, _ in sizes),
            "trained": sum(size for size, trained in sizes if trained),
            **_modules(ready.model),
        },
        environment=environment(ready.device, ready.dtype) | _ranks(ready.ranks),
        data_card=_data_card(config, ready) | {"fingerprint": fingerprint},
    )


def _ranks(ranks: Ranks) -> dict[str, Any]:
    """How many processes train, and how they share the work, where there are several."""
    return {} if ranks.size == 1 else {"ranks": ranks.size, "mesh": str(ranks.plan)}


def _modules(model: CausalLM) -> dict[str, int]:
    """Parameters of what stands behind the model for multi-token prediction, where something does."""
    if not isinstance(model, MultiTokenModel):
        return {}
    return {"mtp": sum(parameter.numel() for parameter in model.mtp.parameters())}


def tokenizer_card(tokenizer: Tokenizer, name: str) -> dict[str, Any]:
    """Its name, its size, and the sum of the tokenizer.json that a run's folder has of it."""
    return {
        "name": name,
        "vocab_size": tokenizer.get_vocab_size(),
        "sha256": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
    }


def _tokenizer_name(config: TrainConfig) -> str:
    return config.data.tokenizer or config.init or "trained on the data"


def _data_card(config: TrainConfig, ready: Ready) -> dict[str, Any]:
    """Documents, tokens and scored tokens of both sets, in all and by source; the template."""
    tables = {"train": ready.rows.table(), "held_out": ready.held_out.table()}
    groups = grouped(*tables.values())
    sources: dict[str, dict[str, dict[str, int]]] = {}
    for name, table in tables.items():
        for source, sums in _by_source(table).items():
            told = sources.setdefault(groups[source], {}).setdefault(name, dict.fromkeys(_TOLD, 0))
            for each in _TOLD:
                told[each] += sums[each]
    card: dict[str, Any] = {
        "kind": "conversations" if ready.held_out.answers else "texts",
        "train": _sums(tables["train"]),
        "held_out": _sums(tables["held_out"]) | {"bytes": ready.held_out.bytes},
        "sources": sources,
    }
    template = ready.tokenizer.files.get(TEMPLATE_FILE)
    if ready.held_out.answers and template is not None:
        name = "ChatML, the built-in one" if template == CHATML else config.chat.template or "the tokenizer's own"
        card["template"] = {"name": name, "sha256": hashlib.sha256(template.encode()).hexdigest()}
    return card


def _sums(table: DocumentTable) -> dict[str, int]:
    sums = (len(table.tokens), int(table.tokens.sum()), int(table.scored.sum()))
    return dict(zip(_TOLD, sums, strict=True))


def _by_source(table: DocumentTable) -> dict[str, dict[str, int]]:
    count = len(table.sources)
    weights = (None, table.tokens, table.scored)
    columns = [np.bincount(table.source, each, count).astype(np.int64).tolist() for each in weights]
    return {
        source: dict(zip(_TOLD, sums, strict=True))
        for source, *sums in zip(table.sources, *columns, strict=True)
        if sums[0]
    }
