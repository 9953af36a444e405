"""Length of a timed run: how many steps fit into its minutes, with all that is done beside and after them."""

import math
from dataclasses import dataclass
from typing import Final

from lmhead.training.config.train_config import TrainConfig

_MARGIN: Final = 0.98  # of the time that is left: a machine rather gets slower than faster


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """What each thing takes, as measured in the run itself."""

    step: float
    save: float
    sample: float
    part: float  # an evaluation along the way
    whole: float  # the last one
    closing: float  # what is made of the result


def steps_that_fit(seconds: Seconds, left: float, config: TrainConfig) -> int:
    """Steps that `left` seconds hold, at least one.

    Example:
        >>> each = Seconds(step=1.0, save=2.5, sample=0.0, part=5.0, whole=7.5, closing=0.0)
        >>> steps_that_fit(each, 112.5, TrainConfig(save_every=250, eval_every=500))  # (0.98 * 112.5 - 10) / 1.02
        98
    """
    saves = 1 / config.save_every
    if config.keep_best:  # each evaluated step is saved, too
        saves += 1 / config.eval_every - 1 / math.lcm(config.save_every, config.eval_every)
    along = saves * seconds.save + seconds.sample / config.sample_every + seconds.part / config.eval_every
    end = seconds.save + seconds.sample + seconds.whole + seconds.closing + (seconds.part if config.keep_best else 0.0)
    return max(1, int((_MARGIN * left - end) / (seconds.step + along)))
