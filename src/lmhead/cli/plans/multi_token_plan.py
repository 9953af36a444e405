"""The plan of multi-token prediction: what stands behind the model, what it weighs in the loss, what it costs."""

from collections.abc import Iterator

from lmhead.cli.plans.pretrained_plan import module_parameters
from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, flop_count
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.train_config import TrainConfig


def further_tokens(config: TrainConfig) -> FurtherTokens | None:
    """What the estimate has to know of it; None where there is none."""
    mtp = config.resolved().mtp
    if mtp.depth is None:
        return None
    return FurtherTokens(
        depth=mtp.depth, kind=mtp.kind, isolated=bool(mtp.isolated), frozen=mtp.frozen, against=mtp.against
    )


def multi_token_lines(config: TrainConfig) -> Iterator[str]:
    """One line, or none where only the next token is predicted."""
    mtp, further = config.resolved().mtp, further_tokens(config)
    if further is None:
        return
    tokens = "1 further token" if further.depth == 1 else f"{further.depth} further tokens"
    by = {
        "sequential": "a module" if further.depth == 1 else f"a chain of {further.depth} modules",
        "recurrent": "one module again and again",
        "parallel": "a head of its own" if further.depth == 1 else "a head of its own for each",
    }[further.kind]
    begun = "" if mtp.drawn else f", those of {config.init}"
    yield f"mtp: {tokens} by {by} ({further.kind}){begun}; {_weighed(mtp)}; {_reaches(mtp)}{_cost(config, further)}"


def _weighed(mtp: MultiTokenConfig) -> str:
    """lambda 0.3, then 0.1 behind 67% of the steps."""
    sizes = {len(each) for each in (mtp.lambdas, mtp.later_lambdas) if each}
    shared = " times their mean" if mtp.reduction == "mean" and (mtp.depth or 1) > 1 else ""
    mixed, alone = len(sizes) > 1, shared if sizes == {1} else ""
    said, later = (
        " ".join(f"{each:g}" for each in given) + (shared if mixed and len(given) == 1 else "")
        for given in (mtp.lambdas, mtp.later_lambdas)
    )
    behind = "" if mtp.later_from is None else f", then {later} behind {mtp.later_from:.0%} of the steps"
    return f"lambda {said}{behind}{alone}"


def _reaches(mtp: MultiTokenConfig) -> str:
    learnt = "" if mtp.against == "labels" else ", from the model's own distributions"
    if mtp.frozen:
        return f"the model is frozen{learnt}"
    return f"isolated: their loss trains them alone{learnt}" if mtp.isolated else "their loss trains the model too"


def _cost(config: TrainConfig, further: FurtherTokens) -> str:
    if not isinstance(config.model, GPTConfig):
        return f"; about {module_parameters(config, config.model):,} parameters"
    more = flop_count(config.model, mtp=further).training / flop_count(config.model).training - 1
    return f"; {more:+.0%} work a token"
