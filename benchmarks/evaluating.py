"""What an evaluation costs: every figure of a card against the model's own forward over the same tokens.

    python -m benchmarks.evaluating                      # all: tables, and benchmarks/results/evaluating.json
    python -m benchmarks.evaluating --only time --vocab 131072 --model Llama --dtype bfloat16     # some of it
    python -m benchmarks.evaluating --quick              # tiny sizes, nothing saved: does it run?

In turn, in one process, on the same batches of windows:

    trunk       the model's hidden states, no head
    logits      the model's own forward: hidden states and logits
    losses      and log_softmax and gather of them in float32, as programs that score texts do
    statistics  and entropy, rank, hit and the most probable token's log-probability: what a card is made of
    lmhead      document_scores, and all sums of a card (EvaluationTotals, DocumentSums, WorstDocuments)

growth: twice the tokens, and a stride of half a window, which reads nearly twice the positions. memory: what document
scores add to the trunk's peak, and what logits do, each in a fresh interpreter.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Case, Report, in_a_process, interleave, mib, peak_memory, print_memory
from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import document_scores
from lmhead.evaluation.scores.window_batches import WindowBatch, window_batches
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.evaluation.sums.worst_documents import WorstDocuments
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason
from lmhead.models.causal_lm import CausalLM
from lmhead.models.config import GPTConfig
from lmhead.models.device import autocast
from lmhead.models.gpt import GPT
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.ops.products.plan import default_memory_budget

_CPU = torch.device("cpu")
_MOST = 1.10  # of the model's own forward
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_PEERS = ("trunk", "logits", "losses", "statistics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The sizes of a comparison."""

    vocab_size: int
    embed_dim: int
    window: int = 512
    batch: int = 2048  # tokens
    tokens: int = 2048
    long: bool = True  # documents of two windows and a half; else of 20 to 100 tokens
    model: str = "GPT"
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """For a table."""
        documents = "long" if self.long else "short"
        return f"{self.model}, V {self.vocab_size}, D {self.embed_dim}, {documents} documents, {self.dtype}"


def made(setting: Setting) -> CausalLM:
    """A model with weights that were drawn."""
    torch.manual_seed(0)
    heads, layers = max(1, setting.embed_dim // 64), max(2, setting.embed_dim // 128)
    if setting.model == "GPT":
        shape = GPTConfig(
            vocab_size=setting.vocab_size,
            max_seq_len=setting.window,
            embed_dim=setting.embed_dim,
            num_heads=heads,
            num_layers=layers,
            zero_init_head=False,
        )
        return GPT.from_config(shape).eval()
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=setting.vocab_size,
        hidden_size=setting.embed_dim,
        intermediate_size=setting.embed_dim * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=setting.window,
    )
    return PretrainedCausalLM(LlamaForCausalLM(config)).eval()


def documents(setting: Setting, *, times: int = 1) -> list[EvaluationDocument]:
    """So many tokens, about as frequent as words are: the rank of each falls as 1/x."""
    draw, found, left = np.random.default_rng(0), list[EvaluationDocument](), setting.tokens * times
    while left > 0:
        size = 1 + min(left, setting.window * 5 // 2 if setting.long else int(draw.integers(20, 100)))
        ids = np.minimum(np.exp(draw.uniform(0, np.log(setting.vocab_size), size)), setting.vocab_size - 1)
        reason = np.full(size, int(Reason.SCORED), np.uint8)
        reason[0] = int(Reason.SCAFFOLD)
        place = Place(source="drawn", number=len(found) + 1)
        example = Example(ids=ids.astype(np.int32), trained=reason == int(Reason.SCORED), reason=reason)
        found.append(EvaluationDocument(place=place, source=f"{len(found) % 3}", example=example))
        left -= size - 1
    return found


def evaluated(
    setting: Setting, model: CausalLM, given: Sequence[EvaluationDocument], windows: Windows
) -> EvaluationTotals:
    """Every sum of a card."""
    totals, worst = EvaluationTotals(windows), WorstDocuments()
    dtype = _DTYPES[setting.dtype]
    for each in document_scores(model, given, windows, device=_CPU, dtype=dtype, tokens=setting.batch):
        totals.add(each)
        worst.add(each, DocumentSums.of(each))
    assert math.isfinite(totals.nll)
    return totals


def plain(setting: Setting, model: CausalLM, batches: Sequence[WindowBatch], what: str) -> float:
    """The model's own forward, and what is asked for beside it."""
    total = 0.0
    for each in batches:
        ids, targets = each.batch.ids, each.batch.targets.ids
        with torch.no_grad(), autocast(_CPU, _DTYPES[setting.dtype]):
            if what == "trunk":
                model.hidden_and_head(ids)
                continue
            logits = _logits(model, ids)
        if what != "logits":
            total += _read(logits, targets, every=what == "statistics")
    return total


def _logits(model: CausalLM, ids: torch.Tensor) -> torch.Tensor:
    if isinstance(model, GPT):
        made: torch.Tensor | None = model(ids)[0]
        assert made is not None
        return made
    assert isinstance(model, PretrainedCausalLM)
    logits: torch.Tensor = model.base(ids, use_cache=False).logits
    return logits


def _read(logits: torch.Tensor, targets: torch.Tensor, *, every: bool) -> float:
    logprobs = logits.float().log_softmax(-1)
    at = targets.clamp(min=0)[..., None]
    of_target = logprobs.gather(-1, at)
    if every:
        -(logprobs.exp() * logprobs).sum(-1)
        (logprobs > of_target).sum(-1)
        _, first = logprobs.max(-1)
        first == targets  # noqa: B015
    return -(of_target[..., 0] * (targets >= 0)).sum().item()


def cases(setting: Setting, model: CausalLM) -> list[Case]:
    """All of them, on the same windows."""
    given, windows = documents(setting), Windows(window=setting.window, stride=setting.window)
    batches = list(window_batches(given, windows, tokens=setting.batch))

    def peer(what: str) -> Case:
        return Case(name=what, run=lambda: plain(setting, model, batches, what))

    found = evaluated(setting, model, given, windows)
    expected = plain(setting, model, batches, "losses")
    assert abs(found.nll / expected - 1) < (1e-4 if setting.dtype == "float32" else 1e-2), (found.nll, expected)
    return [Case(name="lmhead", run=lambda: evaluated(setting, model, given, windows)), *map(peer, _PEERS)]


def settings(given: argparse.Namespace) -> Iterator[Setting]:
    """Those that were asked for."""
    if given.quick:
        for model in ("GPT", "Llama"):
            for long in (True, False):
                yield Setting(vocab_size=300, embed_dim=64, window=32, batch=128, tokens=300, long=long, model=model)
        return
    for model in given.model:
        for dtype in given.dtype:
            for vocab_size in given.vocab:
                for embed_dim in given.width:
                    for long in (True, False):
                        sizes = {"vocab_size": vocab_size, "embed_dim": embed_dim, "tokens": given.tokens}
                        yield Setting(model=model, dtype=dtype, long=long, **sizes)


def times(given: argparse.Namespace, report: Report) -> None:
    """Seconds and ratios of every setting."""
    for setting in settings(given):
        model = made(setting)
        timings = interleave(cases(setting, model), rounds=given.rounds, label=f"{setting.name}: ")
        ratios = {peer: timings.ratio("lmhead", peer) for peer in _PEERS}
        seconds = f"{timings.median('lmhead'):.3f}"
        report.rows.append((setting.name, seconds, *(f"{ratios[peer]:.2f}" for peer in _PEERS)))
        report.measured[setting.name] = {"seconds": timings.seconds, "ratios": ratios, "note": timings.note()}
        for peer in ("logits", "losses"):
            report.goal(f"{setting.name}: of its own forward, {peer}", ratios[peer], at_most=_MOST)


def growth(given: argparse.Namespace, report: Report) -> None:
    """Twice the tokens, and windows that overlap."""
    setting = next(settings(given))
    model, once, twice = made(setting), documents(setting), documents(setting, times=2)
    whole = Windows(window=setting.window, stride=setting.window)
    half = Windows(window=setting.window, stride=setting.window // 2)

    def case(name: str, given: Sequence[EvaluationDocument], windows: Windows) -> Case:
        return Case(name=name, run=lambda: evaluated(setting, model, given, windows))

    named = [case("once", once, whole), case("twice", twice, whole), case("half", once, half)]
    timings = interleave(named, rounds=given.rounds, label="growth: ")
    read = {
        name: evaluated(setting, model, once, windows).positions_read for name, windows in (("w", whole), ("h", half))
    }
    for name, what in (
        ("twice", "twice the tokens"),
        ("half", f"a stride of half: {read['h'] / read['w']:.2f} x positions"),
    ):
        report.notes.append(f"{setting.name}: {what} took {timings.ratio(name, 'once'):.2f} times as long.")
    report.goal("twice the tokens", timings.ratio("twice", "once"), at_most=2.2)
    report.measured["growth"] = {"seconds": timings.seconds, "positions": read}


def memory(given: argparse.Namespace, report: Report) -> None:
    """Peaks, each in an interpreter of its own."""
    V, N = (2048, 256) if given.quick else (131_072, 2048)
    budget = default_memory_budget(_CPU, N, V)
    for dtype in ["float32"] if given.quick else given.dtype:
        found = {
            what: in_a_process("benchmarks.evaluating", "--memory-of", what, str(V), str(N), dtype)
            for what in ("trunk", "logits", "losses", "lmhead")
        }
        told = ", ".join(f"{what} {mib(each.allocator)} ({mib(each.process)})" for what, each in found.items())
        report.notes.append(f"Peak MiB at V {V}, {N} tokens, {dtype}, by allocator (and process): {told}.")
        extra = found["lmhead"].allocator - found["trunk"].allocator
        report.goal(f"{dtype}: MiB beyond the trunk at V {V}", extra / 2**20, at_most=budget / 2**20)
        report.measured[f"memory {dtype}"] = {what: [each.allocator, each.process] for what, each in found.items()}


def memory_of(what: str, vocab_size: int, tokens: int, dtype: str) -> None:
    """The other end of `memory`."""
    setting = Setting(vocab_size=vocab_size, embed_dim=256, batch=tokens, tokens=tokens, dtype=dtype)
    model, given = made(setting), documents(setting)
    windows = Windows(window=setting.window, stride=setting.window)
    batches = list(window_batches(given, windows, tokens=setting.batch))
    run: Callable[[], Any] = lambda: plain(setting, model, batches, what)  # noqa: E731
    if what == "lmhead":
        run = lambda: evaluated(setting, model, given, windows)  # noqa: E731
    print_memory(peak_memory(run, before_each=lambda: None))


_PARTS = {"time": times, "growth": growth, "memory": memory}


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--model", nargs="+", default=["GPT", "Llama"])
    parser.add_argument("--dtype", nargs="+", choices=list(_DTYPES), default=list(_DTYPES))
    parser.add_argument("--vocab", nargs="+", type=int, default=[8192, 32_768, 131_072])
    parser.add_argument("--width", nargs="+", type=int, default=[256, 768])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the JSON's path")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        what, vocab_size, tokens, dtype = given.memory_of
        memory_of(what, int(vocab_size), int(tokens), dtype)
        return
    columns = ("all figures of a card", "seconds", *(f"times {peer}" for peer in _PEERS))
    report = Report(name="evaluating", title="An evaluation beside the model's own forward", columns=columns)
    given.rounds = 1 if given.quick else given.rounds
    for part in given.only:
        _PARTS[part](given, report)
    print(report.table())
    if given.out is not None or not given.quick:
        report.save(given.out)


if __name__ == "__main__":
    main()
