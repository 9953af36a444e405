"""`lmhead estimate`: parameters, memory and time of a config, before anything is run."""

from collections.abc import Sequence
from typing import Final

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import EstimateFlags, train_config

ABOUT = "What a training run would take: the flags are those of lmhead train, --config FILE.yaml included."

CONFIG: Final = EstimateFlags  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Print the plan of a run that is not started; nothing is read but the config."""
    config = train_config(given(EstimateFlags, arguments, command="estimate", about=ABOUT))

    from lmhead.cli.console import console
    from lmhead.cli.plan import plan_lines
    from lmhead.models.device import choose_device, choose_precision

    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    out = console()
    for line in plan_lines(config, device, dtype):
        out.print(line)
    return 0
