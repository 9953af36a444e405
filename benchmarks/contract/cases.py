"""Every case by name, and what became of one."""

import warnings
from dataclasses import dataclass

import torch

from benchmarks.contract import gradients, modes, numbers
from benchmarks.contract.subject import Case, Subject
from benchmarks.peers import one_line

CASES: dict[str, Case] = {case.__name__: case for case in (*gradients.CASES, *modes.CASES, *numbers.CASES)}

_TRUNCATES = "Triton's interpreter cuts off to bfloat16 where a GPU rounds"
_UNTRACED = "torch.compile knows Triton's kernels, not its interpreter"
BEYOND_THE_INTERPRETER = {
    modes.autocast_of_float32_hidden.__name__: _TRUNCATES,
    modes.autocast_of_bfloat16_hidden.__name__: _TRUNCATES,
    modes.compile_fullgraph_dynamic.__name__: _UNTRACED,
    modes.compile_inductor.__name__: _UNTRACED,
    numbers.bfloat16_loss_is_as_good_as_plain.__name__: _TRUNCATES,
    numbers.bfloat16_gradients_are_as_good_as_plain.__name__: _TRUNCATES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether a case holds, None where it cannot be judged; `says` is the choice made, what is wrong, or why not."""

    holds: bool | None
    says: str = ""


def attempt(name: str, subject: Subject, *, fresh: bool = False, interpreted: bool = False) -> Outcome:
    """Run one case in its guard; a peer's warnings are its own affair.

    fresh: forget what was compiled before, so that no case runs into torch's limit of recompilations for others' sake.
    """
    if interpreted and name in BEYOND_THE_INTERPRETER:
        return Outcome(holds=None, says=BEYOND_THE_INTERPRETER[name])
    if fresh:
        torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Outcome(holds=True, says=CASES[name](subject) or "")
        except AssertionError as error:
            return Outcome(holds=False, says=str(error).partition("\n")[0] or one_line(error))
        except Exception as error:  # noqa: BLE001  # whatever a peer raises is what is wrong with it
            return Outcome(holds=False, says=one_line(error))
