"""A step of a model with one module behind it against the model alone, over sizes, beside the counted operations."""

from dataclasses import replace
from functools import partial

import torch

import lmhead
from benchmarks.harness import Case, Report, interleave
from lmhead.models.estimate import FurtherTokens, flop_count
from lmhead.training.config.train_config import default_model

_ROWS = 4
_DEFAULT = default_model()
_SIZES = {
    "2 layers, D 128, V 2k": replace(_DEFAULT, num_layers=2, embed_dim=128, num_heads=2, vocab_size=2048, mlp_dim=None),
    "the default run's": _DEFAULT,
    "6 layers, D 512, V 8k": replace(_DEFAULT, num_layers=6, embed_dim=512, num_heads=8, vocab_size=8192, mlp_dim=None),
    "12 layers, D 512, V 8k": replace(
        _DEFAULT, num_layers=12, embed_dim=512, num_heads=8, vocab_size=8192, mlp_dim=None
    ),
    "6 layers, D 512, V 50k": replace(
        _DEFAULT, num_layers=6, embed_dim=512, num_heads=8, vocab_size=50257, mlp_dim=None
    ),
    "24 layers, D 512, V 50k": replace(
        _DEFAULT, num_layers=24, embed_dim=512, num_heads=8, vocab_size=50257, mlp_dim=None
    ),
}


def step_time(*, quick: bool) -> Report:
    """Seconds of forward and backward with D = 1 by those with D = 0; counted alike."""
    report = Report(
        name="multi_token_steps",
        title=f"a step with D = 1 against D = 0: forward and backward of {_ROWS} rows, float32",
        columns=(
            "model", "D = 0, seconds", "sequential, measured", "counted", "isolated, measured", "counted",
            "parallel, measured", "counted",
        ),
        notes=["Measured and counted: more than D = 0, %. Counted: matrix products, `lmhead estimate`."],
    )  # fmt: skip
    for name, config in list(_SIZES.items())[: 1 if quick else None]:
        row, measured = _measure(name, config, quick=quick)
        report.rows.append(row)
        report.measured[name] = measured
    return report


def _measure(name: str, config: lmhead.GPTConfig, *, quick: bool) -> tuple[tuple[str, ...], dict[str, object]]:
    torch.manual_seed(0)
    main = lmhead.GPT.from_config(config)
    ids = torch.randint(config.vocab_size, (_ROWS, config.max_seq_len))
    targets = lmhead.Targets.from_labels(ids)
    ways = {
        "sequential": (lmhead.MultiTokenModel.behind(main), FurtherTokens(depth=1)),
        "isolated": (
            lmhead.MultiTokenModel.behind(main, isolated=True), FurtherTokens(depth=1, isolated=True),
        ),
        "parallel": (lmhead.MultiTokenModel.behind(main, kind="parallel"), FurtherTokens(depth=1, kind="parallel")),
    }  # fmt: skip

    def alone() -> None:
        main.zero_grad(set_to_none=True)
        main.loss(ids, targets, return_stats=True)[0].backward()  # type: ignore[no-untyped-call]

    def with_one(way: str) -> None:
        model = ways[way][0]
        model.zero_grad(set_to_none=True)
        model.multi_token_loss(ids, targets)[0].backward()  # type: ignore[no-untyped-call]

    cases = [Case(name="alone", run=alone)]
    cases += [Case(name=way, run=partial(with_one, way)) for way in ways]
    timings = interleave(cases, rounds=1 if quick else 5, label=f"steps, {name}: ")
    without = flop_count(config).training
    more = {way: 100 * (timings.ratio(way, "alone") - 1) for way in ways}
    counted = {way: 100 * (flop_count(config, mtp=mtp).training / without - 1) for way, (_, mtp) in ways.items()}
    pairs = [cell for way in ways for cell in (f"{more[way]:.0f}", f"{counted[way]:.0f}")]
    row = (name, f"{timings.median('alone'):.3f}", *pairs)
    return row, {"seconds": timings.seconds, "more": more, "counted": counted}
