"""The scalars of a run: what its log says of updates and evaluations, by the names that trackers show in groups."""

from typing import Final

from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.shown import shown_line
from lmhead.training.reporter import StepRecord

_STEP: Final = ("loss", "grad_norm", "rate", "tokens", "seconds", "tokens_per_second", "trained_per_second")
_EVALUATION: Final = (
    *("nll", "bits_per_byte", "perplexity", "accuracy", "tokens", "answers", "exact"),
    *("accepted_length", "sampled_length", "decoded_length"),
)
_DEPTH: Final = ("nll", "accuracy", "acceptance")  # of a depth of multi-token prediction


def step_scalars(record: StepRecord) -> dict[str, float]:
    """train/NAME -> value, of one update; train/loss/SOURCE -> nats a token, where there are several sources."""
    further = {f"train/mtp_loss_{k}": loss for k, loss in enumerate(record.depths, 1) if loss is not None}
    sources = {f"train/loss/{shown_line(name)}": nll for name, (nll, _) in record.sources.items()}
    return {f"train/{name}": getattr(record, name) for name in _STEP} | further | sources


def evaluation_scalars(result: Evaluation) -> dict[str, float]:
    """eval_full/NAME -> value, or eval_quick/NAME of a part: of one evaluation, without what it does not know.

    And eval_full_by_KIND/CLASS -> nats a token, of each kind of its tokens.
    """
    group = "eval_full" if result.whole else "eval_quick"
    known = {name: getattr(result, name) for name in _EVALUATION}
    if not result.answers:
        del known["answers"], known["exact"]
    scalars = {f"{group}/{name}": value for name, value in known.items() if value is not None}
    for k, depth in enumerate(result.depths or (), 1):
        scalars |= {f"{group}/{name}_{k}": value for name in _DEPTH if (value := getattr(depth, name)) is not None}
    for kind, means in result.classes.items():
        scalars |= {f"{group}_by_{kind}/{shown_line(name)}": nll for name, (nll, _) in means.items()}
    return scalars
