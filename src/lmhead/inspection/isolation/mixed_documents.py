"""Does a causal language model read each document of a packed row as it reads it alone? Proven on drawn ones.

Two things are looked at: no document reaches another (check_isolation), and each one's logits in the row are those that
it has alone: so positions restart for it, and its sliding windows are its own.
"""

from typing import Any, Final

import torch
from torch import Tensor

from lmhead.errors import LmheadError, require
from lmhead.inspection.isolation.isolation import check_isolation
from lmhead.labels.example import Example
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import Precision, precision_of
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.models.transformers.told_documents import WAYS

_SMALL: Final = 4  # tokens of the documents beside the middle one
_PADDING: Final = 2
_LEAST: Final = 3 * 2  # tokens of a row with three documents
# Of the logits' deviation. Kernels may round otherwise beside other tokens; what a leak or a wrong position does is
# of the size of the deviation.
_MOVED: Final[dict[Precision, float]] = {"float32": 1e-4, "16 bits": 0.03, "8 bits": 0.15}
_APART: Final[dict[Precision, float]] = {"float32": 1e-3, "16 bits": 0.1, "8 bits": 0.15}


@torch.no_grad()
def why_documents_mix(model: CausalLM, *, length: int) -> str | None:
    """Why a model must not be given several documents in rows of `length` tokens; None where it is proven to be right.

    Takes some forward passes of two rows, short unless the model has a sliding window that matters in `length`.
    A PretrainedCausalLM tells its documents from then on in the way that was proven.

    Raises:
        ArgumentError: no leak could be seen in the model: its outputs follow nothing, or vary by themselves.
    """
    require(length >= _LEAST, "length", f"be >= {_LEAST} tokens, for three documents", length)
    was_training = model.training
    model.eval()
    try:
        if not isinstance(model, PretrainedCausalLM):
            return _difference(model, _drawn(model, length, window=None))
        return _difference_in_any_way(model, _drawn(model, length, window=model.window))
    finally:
        model.train(was_training)


def _difference_in_any_way(model: PretrainedCausalLM, batch: PackedBatch) -> str | None:
    """None where one of the ways to tell of documents holds, else why the first does not."""
    found = list[str]()
    for way in WAYS:
        model.tells_documents_by = way
        try:
            why = _difference(model, batch)
        except LmheadError:
            raise
        except RUN_ERRORS as error:
            why = f"it does not run with {way} that tell of documents, {type(error).__name__}"
        if why is None:
            return None
        found.append(why)
    model.tells_documents_by = WAYS[0]
    return f"{type(model.base).__name__} mixes the documents of a row: {found[0]}"


def _difference(model: CausalLM, batch: PackedBatch) -> str | None:
    logits: Tensor = _logits(model, batch.ids, batch.document)
    deviation = float(logits.float().std())
    kind = precision_of(model)
    report = check_isolation(model, batch, tolerance=_MOVED[kind] * deviation)
    if not report.ok:
        leak = max(report.leaks, key=lambda each: each.difference)
        source = "padding" if leak.source < 0 else f"document {leak.source + 1}"
        return f"a change of {source} of a row moves the outputs of document {leak.into + 1} by {leak.difference:.3g}"
    for row, documents in enumerate(batch.document):
        for number in range(3):
            within = documents == number
            alone = _logits(model, batch.ids[row : row + 1, within], None)
            apart = float(
                (logits[row, within].float() - alone[0].float()).abs().mean(-1).max()
            )  # of the worst position
            if not apart <= _APART[kind] * deviation:
                return (
                    f"document {number + 1} of a row has other outputs than alone, by {apart:.3g} of a deviation of "
                    f"{deviation:.3g}: its positions do not restart, or a window of its layers is not its own"
                )
    return None


def _logits(model: CausalLM, ids: Tensor, document: Tensor | None) -> Tensor:
    made: Any = model(ids=ids, document=document)
    logits: Tensor = made[0] if isinstance(made, tuple) else made
    return logits


def _drawn(model: CausalLM, length: int, *, window: int | None) -> PackedBatch:
    """Rows of three documents and padding, one longer than the model's window, where a row has room.

    Two rows, cut in other places: kernels that take documents out of positions may do so of a single row alone.
    """
    (small, middle, last), padding = _sizes(length, window)
    generator = torch.Generator().manual_seed(0)

    def drawn(sizes: tuple[int, ...]) -> list[Piece]:
        rows = [torch.randint(0, model.vocab_size, (size,), generator=generator).tolist() for size in sizes]
        return [Piece.whole(number, Example.of(ids, trained=[True] * len(ids))) for number, ids in enumerate(rows)]

    rows = [drawn((small, middle, last)), drawn((middle, small, last))]
    device = next(model.parameters()).device
    return PackedBatch.of(rows, length=small + middle + last + padding).to(device)


def _sizes(length: int, window: int | None) -> tuple[tuple[int, int, int], int]:
    """(tokens of the documents, tokens of padding) in at most `length`."""
    ends = 2 * _SMALL + _PADDING
    if length < ends + 2:
        return (2, 2, length - 4), 0
    wanted = 2 * _SMALL if window is None else window + 3
    return (_SMALL, min(wanted, length - ends), _SMALL), _PADDING
