"""What an evaluation in a run leaves beside its figures: losses by class, and tokens.jsonl, its worst rows."""

import json
from typing import Final

from lmhead.evaluation.held_out.held_out_rows import scored_rows
from lmhead.evaluation.held_out.token_classes import TokenClasses
from lmhead.evaluation.held_out.worst_rows import WorstRows
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.models.causal_lm import CausalLM
from lmhead.ops.problem import TokenStatistics
from lmhead.record.header import header
from lmhead.record.vocabulary import as_object
from lmhead.training.setup import Ready

_ALTERNATIVES: Final = 5
_NOTE: Final = (
    "These held-out rows were chosen for the highest losses, of a document and of a token in turn: "
    "what is true of them is not true of the held-out data."
)


class HeldOutWatch:
    """Hears of each batch of one evaluation."""

    def __init__(self, classes: TokenClasses) -> None:
        self.classes, self.worst = classes.sums(), WorstRows()

    def add(self, batch: PackedBatch, statistics: TokenStatistics) -> None:
        """A batch with its statistics, which are brought to the CPU once for all."""
        statistics = statistics.each(lambda column: column.cpu())
        self.classes.add(batch, statistics)
        self.worst.add(batch, statistics)


def worst_held_out(worst: WorstRows, ready: Ready, *, model: CausalLM, name: str, step: int) -> str:
    """The lines of tokens.jsonl: a header, the worst rows with the model's scores and alternatives, the vocabulary.

    Args:
        model: a `plain_model`.
        name: of the run.
    """
    rows = scored_rows(model, worst.rows(), ready.held_out, device=ready.device, dtype=ready.dtype, top_k=_ALTERNATIVES)
    text = TokenText.of(ready.tokenizer.backend)
    head = header(
        step=step,
        title=f"{name}, step {step:,}: the worst held-out rows",
        models=[f"{name}, step {step:,}"],
        notes=[_NOTE],
    )
    known = sorted(number for number in set().union(*(row.every_id() for row in rows)) if number >= 0)
    vocabulary = as_object({number: text[number] for number in known})
    lines = [head, {"vocabulary": vocabulary}, *(row.line() for row in rows)]
    return "".join(json.dumps(line) + "\n" for line in lines)
