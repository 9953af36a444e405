"""Labelled or packed Examples as a `datasets.Dataset`, the one kind that both Trainer and TRL's SFTTrainer take.

    rows of Examples       input_ids, labels
    rows of packed ones    input_ids, labels, seq_lengths, position_ids

Labels are as transformers' models take them: aligned with the ids, the models shift them. The first token of a document
has none, for nothing of its document predicts it: so every label is scored, and a trainer that counts labels counts
scored tokens. TRL drops position_ids and Trainer drops seq_lengths, and either tells the documents of a row.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, InputError, require_kind
from lmhead.labels.example import Example
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.packing.packed_rows import PackedRows

if TYPE_CHECKING:
    from datasets import Dataset
    from pyarrow import ListArray

Ids = npt.NDArray[np.int32]
Row = dict[str, Ids]
_BLOCK: Final = 1024


def trainer_dataset(examples: Iterable[Example] | PackedRows) -> "Dataset":
    """The `datasets.Dataset` of Examples, one a row, or of `lmhead.pack`'s rows, for Trainer and SFTTrainer.

    Raises:
        ArgumentTypeError: they are neither.
        ArgumentError: a token has another weight than 0 and 1, which the models' own loss cannot give it.
        InputError: nothing can be learnt of an example, or there is none, or `datasets` is missing.

    Example:
        >>> examples = [Example.of([7, 8, 9], trained=[True, True, True])] * 2
        >>> trainer_dataset(examples)[0]
        {'input_ids': [7, 8, 9], 'labels': [-100, 8, 9]}
    """
    try:
        import datasets
    except ImportError:
        raise InputError('trainer_dataset needs datasets: pip install "lmhead[hf]"') from None
    import pyarrow

    rows = map(_packed, examples.rows) if isinstance(examples, PackedRows) else map(_alone, _pieces(examples))
    blocks = [pyarrow.table(_columns(block)) for block in _blocks(rows)]
    if not blocks:
        raise InputError("examples must be at least one, got none: nothing would be learnt")
    return datasets.Dataset(pyarrow.concat_tables(blocks))


def document_labels(piece: Piece) -> Ids:
    """Labels [T] of one document: the id AT t where it is learnt and something predicts it, else -100.

    Raises:
        ArgumentError: a token has another weight than 0 and 1.
    """
    example = piece.example
    weight = example.weight
    if weight is not None and not np.isin(weight[example.trained], (0, 1)).all():
        raise ArgumentError(
            "weight must be 0 or 1 where a transformers model takes the loss, got another: its loss knows no weights; "
            "take the loss of weighted targets yourself, or train with lmhead train"
        )
    labels = np.where(example.learnt, example.ids, np.int32(IGNORE_INDEX))[piece.start : piece.stop]
    labels[:1] = IGNORE_INDEX
    return labels


def _pieces(examples: Iterable[Example]) -> Iterator[Piece]:
    require_kind("examples", examples, Iterable, "Examples, or what lmhead.pack gives")
    for index, example in enumerate(examples):
        if not isinstance(example, Example):
            raise ArgumentTypeError(
                f"examples[{index}] must be an Example, got {type(example).__name__}: a ChatLabeler makes one of "
                "messages, and LabelledData has examples()"
            )
        piece = Piece.whole(index, example)
        if not piece.scored():
            raise InputError(
                f"examples[{index}] must have something to learn, got {len(example)} tokens of which none is trained "
                "behind the first: leave it out"
            )
        yield piece


def _alone(piece: Piece) -> Row:
    return {"input_ids": piece.example.ids, "labels": document_labels(piece)}


def _packed(row: Sequence[Piece]) -> Row:
    """Several documents; padding is a collator's part."""
    return {
        "input_ids": np.concatenate([piece.example.ids[piece.start : piece.stop] for piece in row]),
        "labels": np.concatenate([document_labels(piece) for piece in row]),
        "seq_lengths": np.array([len(piece) for piece in row], np.int32),
        "position_ids": np.concatenate([np.arange(len(piece), dtype=np.int32) for piece in row]),
    }


def _blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows, so many together that Arrow's 32-bit ends of lists do."""
    while block := list(islice(rows, _BLOCK)):
        yield block


def _columns(rows: Sequence[Row]) -> "dict[str, ListArray]":
    """Arrow's lists of int32, without an object for each number."""
    import pyarrow

    def column(name: str) -> "ListArray":
        ends = np.cumsum([0, *(len(row[name]) for row in rows)], dtype=np.int32)
        return pyarrow.ListArray.from_arrays(ends, np.concatenate([row[name] for row in rows]).astype(np.int32))

    return {name: column(name) for name in rows[0]}
