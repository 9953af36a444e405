"""The scalars of a run: what its log says of updates and evaluations, by the names that trackers show in groups."""

from typing import Final

from lmhead.evaluation.evaluate import Evaluation
from lmhead.training.reporter import StepRecord

_STEP: Final = ("loss", "grad_norm", "rate", "tokens", "seconds", "tokens_per_second", "trained_per_second")
_EVALUATION: Final = ("nll", "bits_per_byte", "perplexity", "accuracy", "tokens", "answers", "exact")


def step_scalars(record: StepRecord) -> dict[str, float]:
    """train/NAME -> value, of one update."""
    return {f"train/{name}": getattr(record, name) for name in _STEP}


def evaluation_scalars(result: Evaluation) -> dict[str, float]:
    """eval_full/NAME -> value, or eval_quick/NAME of a part: of one evaluation, without what it does not know."""
    group = "eval_full" if result.whole else "eval_quick"
    known = {name: getattr(result, name) for name in _EVALUATION}
    if not result.answers:
        del known["answers"], known["exact"]
    return {f"{group}/{name}": value for name, value in known.items() if value is not None}
