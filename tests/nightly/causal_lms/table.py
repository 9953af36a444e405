"""The page of the docs that tells of every type."""

import datetime
from collections.abc import Sequence

import torch
import transformers
from tests.nightly.causal_lms.verdict import Verdict, seconds_of_a_patch, summary

from lmhead.version import __version__

_HEAD = """# Every causal LM of transformers, patched

Made by `python -m tests.nightly.causal_lms --table docs/models/transformers_table.md`, not by hand:
{date}, lmhead {lmhead}, transformers {transformers}, torch {torch} on a CPU.

{summary}.

Each type of `MODEL_FOR_CAUSAL_LM_MAPPING_NAMES` is built tiny, with random weights, in float32; caps, scales and cuts
that its default config leaves off are on. *parity*: [`lmhead.patch`](transformers.md) proves it, and loss (to 1e-5) and
gradients of all parameters (to 1e-4 of their norm) are stock's, in training mode, with dropout, as initialised and with
logits as large as a trained model's, with `num_items_in_batch` and with the loss of a router where the type has one;
the output has no logits, the statistics are those of the labels, and evaluation gives stock's logits to the last bit.
A patch that leaves out the scale, the cap, the bias or the cut is refused in every type that has it, and the proof
holds in bfloat16 too. A patch with its proof takes {median:.2f} s of one core in the median, {largest:.2f} s at most.

Empty cells: nothing but a cast lies between head and loss, the loss is transformers' `loss_function` on labels that it
shifts, the head has no bias and is not tied to the embedding.

| type | class | between head and loss | loss | head | outcome |
| --- | --- | --- | --- | --- | --- |
"""


def table(verdicts: Sequence[Verdict]) -> str:
    """Markdown."""
    median, largest = seconds_of_a_patch(verdicts)
    head = _HEAD.format(
        date=datetime.date.today(),
        lmhead=__version__,
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        summary=summary(verdicts),
        median=median,
        largest=largest,
    )
    return head + "".join(f"{_row(verdict)}\n" for verdict in verdicts)


def _row(verdict: Verdict) -> str:
    outcome = verdict.outcome + (f": {verdict.said}" if verdict.said else "")
    cells = (
        verdict.model_type,
        verdict.class_name,
        verdict.between,
        verdict.loss.removeprefix("`loss_function`").removeprefix(", "),
        verdict.head,
        f"{outcome}; {verdict.notes}" if verdict.notes else outcome,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
