"""What it costs to look: token scores beside an evaluation of the same tokens, and what an evaluation leaves beside it.

    python -m benchmarks.inspecting                a table, and JSON in benchmarks/results/inspecting.json
    python -m benchmarks.inspecting --quick        a tiny model and few rows: does it run?

Two evaluations of a drawn decoder, in turn with what is measured against them:

    all scored     rows of one document each, every token of which is scored: what `inspect` scores, too. Scores are
                   nll, rank, entropy and five alternatives of each token; `inspect` makes rows, findings and
                   vocabulary of them besides.
    conversations  a third of the tokens is scored. An evaluation in a run hears what its losses are by class, which
                   takes every eighth prompt's; and writes one of 32 rows, the worst, token by token.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import lmhead
from benchmarks.harness import Case, Report, interleave
from lmhead.batches.chat import ChatRows, HeldOutChat
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.evaluation.held_out.evaluate import evaluate_held_out
from lmhead.evaluation.held_out.token_classes import TokenClasses
from lmhead.evaluation.token_scores import token_scores
from lmhead.labels.example import Example
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.training.config.train_config import default_model
from lmhead.training.held_out_watch import HeldOutWatch, worst_held_out

_CPU = torch.device("cpu")
_TOP = 5
_MOST_OF_INSPECTING, _MOST_BESIDE = 1.3, 1.1  # of an evaluation's time


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The sizes of a comparison."""

    model: GPTConfig
    rows: int = 64
    rounds: int = 7


def held_out(setting: Setting, *, scored: float, seed: int) -> HeldOutChat:
    """Rows of the model's length, of which a share at the end of each is scored."""
    return HeldOutChat(_labelled(setting, scored, seed), train_tokenizer(["ab"], 258), length=setting.model.max_seq_len)


def _labelled(setting: Setting, scored: float, seed: int) -> list[Labelled]:
    draw, length = np.random.default_rng(seed), setting.model.max_seq_len
    trained = [place >= length * (1 - scored) for place in range(length)]
    return [
        Labelled(
            place=Place(source=f"{number % 3}.jsonl", number=number + 1),
            example=Example.of(_ids(draw, setting).tolist(), trained=trained),
        )
        for number in range(setting.rows)
    ]


def _ids(draw: np.random.Generator, setting: Setting) -> Any:
    """About as frequent as words are: the rank of each falls as 1/x."""
    V = setting.model.vocab_size
    return np.minimum(np.exp(draw.uniform(0, np.log(V), setting.model.max_seq_len)), V - 1).astype(np.int64)


def compare(setting: Setting) -> Report:
    """The table, with goals."""
    report = Report(name="inspecting", title="Looking at tokens", columns=("", "seconds", "of the evaluation's time"))
    torch.manual_seed(0)
    model = GPT.from_config(setting.model)
    dtype = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    every, chats = held_out(setting, scored=1.0, seed=0), held_out(setting, scored=1 / 3, seed=1)
    for name, base, cases in (
        ("all scored", every, _inspections(model, every, dtype)),
        ("conversations", chats, _beside(setting, model, chats, dtype)),
    ):
        plain = _evaluation(model, base, dtype)
        timings = interleave(
            [Case(name="evaluation", run=plain), *(Case(name=each, run=run) for each, run in cases.items())],
            rounds=setting.rounds,
            label=f"{name}: ",
        )
        for each in ("evaluation", *cases):
            ratio = timings.ratio(each, "evaluation")
            report.rows.append((f"{name}: {each}", f"{timings.median(each):.3f}", f"{ratio:.2f}"))
            report.measured[f"{name}: {each}"] = {"seconds": timings.seconds[each], "ratio": ratio}
        for each in cases:
            most = _MOST_OF_INSPECTING if name == "all scored" else _MOST_BESIDE
            report.goal(f"{name}: {each}", timings.ratio(each, "evaluation"), at_most=most)
        report.notes.append(f"{name}: {timings.note()}")
    report.notes.append(f"{setting.rows} rows of {setting.model.max_seq_len} tokens, {dtype}.")
    return report


def _evaluation(model: GPT, data: HeldOutChat, dtype: torch.dtype, **options: Any) -> Callable[[], object]:
    return lambda: evaluate_held_out(model, data, device=_CPU, dtype=dtype, **options)


def _inspections(model: GPT, data: HeldOutChat, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    def scores(top_k: int | None) -> Callable[[], object]:
        return lambda: [token_scores(model, batch, device=_CPU, dtype=dtype, top_k=top_k) for batch in data.batches()]

    def inspected() -> object:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return lmhead.inspect(data.examples, model, top=_TOP)

    return {
        "scores without alternatives": scores(None),
        f"scores with {_TOP} alternatives": scores(_TOP),
        "lmhead.inspect": inspected,
    }


def _beside(setting: Setting, model: GPT, data: HeldOutChat, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    rows = ChatRows(_labelled(setting, 1 / 3, 2), length=setting.model.max_seq_len, seed=0, pad_id=0)
    classes = TokenClasses.of(rows, data)
    tokenizer = SimpleNamespace(backend=train_tokenizer(["ab"], 258))
    ready: Any = SimpleNamespace(model=model, held_out=data, device=_CPU, dtype=dtype, tokenizer=tokenizer)

    def watched() -> HeldOutWatch:
        watch = HeldOutWatch(classes)
        evaluate_held_out(model, data, device=_CPU, dtype=dtype, seen=watch.add)
        watch.classes.means()
        return watch

    def written() -> object:
        return worst_held_out(watched().worst, ready, model=ready.model, name="run", step=1)

    return {"with losses by class": watched, "and the worst rows": written}


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the JSON's path")
    given = parser.parse_args()
    # a head of zeros would make all tokens equally probable
    model = dataclasses.replace(default_model(), zero_init_head=False, zero_init_projections=False)
    setting = Setting(model=model)
    if given.quick:
        tiny = GPTConfig(vocab_size=300, embed_dim=32, num_heads=2, num_layers=1, max_seq_len=32)
        setting = Setting(model=tiny, rows=40, rounds=1)
    report = compare(setting)
    print(report.table())
    if given.out is not None or not given.quick:
        report.save(given.out)


if __name__ == "__main__":
    main()
