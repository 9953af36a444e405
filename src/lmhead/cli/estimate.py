"""`lmhead estimate`: parameters, memory and time of a config, before anything is run; here, or on ranks elsewhere."""

from collections.abc import Sequence
from typing import Any, Final

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import EstimateFlags, train_config
from lmhead.training.config.train_config import TrainConfig

ABOUT = (
    "What a training run would take: the flags are those of lmhead train, --config FILE.yaml included. With --nproc "
    "(of all machines), --mesh or --hardware: memory of a rank, bytes that it sends, time of a step; exit status 1 "
    "where a rank's memory does not do."
)

CONFIG: Final = EstimateFlags  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Print the plan of a run that is not started; nothing is read but the config."""
    flags = given(EstimateFlags, arguments, command="estimate", about=ABOUT)
    config = train_config(flags)
    if flags.get("hardware") is not None or config.nproc > 1 or config.mesh is not None:
        return _on_ranks(config, flags)

    from lmhead.cli.console import console
    from lmhead.cli.plans.plan import plan_lines
    from lmhead.models.device import choose_device, choose_precision

    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    out = console()
    for line in plan_lines(config, device, dtype):
        out.print(line)
    return 0


def _on_ranks(config: TrainConfig, flags: dict[str, Any]) -> int:
    from lmhead.cli.console import console
    from lmhead.cli.plans.plan import work_lines
    from lmhead.cli.plans.planned_run import planned_run
    from lmhead.cli.plans.scaling_lines import scaling_lines

    plan = planned_run(config, **{name: flags.get(name) for name in ("hardware", "per_host", "efficiency")})
    out = console()
    for line in (*work_lines(config), *scaling_lines(plan)):
        out.print(line)
    return 0 if plan.fits else 1
