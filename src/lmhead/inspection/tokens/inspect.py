"""inspect: anybody's batch, Targets, Examples or files, token by token: what is trained, what is not, and why."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import require_files
from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require, require_kind
from lmhead.given.given_model import GivenModel, given_model
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.given.labelled_as import labelled_as
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.tokens.batch_rows import batch_rows
from lmhead.inspection.tokens.by_bytes import other_spans
from lmhead.inspection.tokens.data_rows import data_rows
from lmhead.inspection.tokens.inspection import Inspection
from lmhead.inspection.tokens.material import Material
from lmhead.inspection.tokens.own_rows import (
    NOT_GIVEN,
    beside_targets,
    example_rows,
    given_targets,
    lone_target_rows,
    packed_rows,
    target_rows,
)
from lmhead.inspection.tokens.scored_rows import scored_rows
from lmhead.inspection.tokens.wanted import Wanted
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import PackedRows
from lmhead.labels.targets import Targets
from lmhead.ops.checks import check_choices
from lmhead.options import Message, option
from lmhead.record.header import header
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece

TOP: Final = 5  # alternatives
_NAMED: Final = 3  # files in a title

Data = Mapping[str, Any] | PackedBatch | PackedRows | Targets | Example | Sequence[Example] | str | Path | Sequence[str]


def inspect(
    data: Data,
    model: object = None,
    *,
    tokenizer: object = None,
    against: object = None,
    against_tokenizer: object = None,
    top: int = TOP,
    ignore_index: int = IGNORE_INDEX,
    config: ChatConfig | None = None,
    wanted: Wanted | None = None,
    step: int | None = None,
    device: str = "auto",
    title: str | None = None,
    progress: Progress = unheard,
) -> Inspection:
    """What is trained of data and what is not, token by token; with a model, at what loss.

        lmhead.inspect(batch, tokenizer=tokenizer)                       # a dict of input_ids and labels
        lmhead.inspect(batch, model, tokenizer=tokenizer)                # and what the model makes of it
        lmhead.inspect(["chat.jsonl"], "runs/chat").save("report.html")

    Args:
        data: a batch out of any data loader (input_ids, and labels that a model shifts; what tells padding and
            documents is read too, as in `lmhead.audit`), input_ids beside targets, a PackedBatch, PackedRows, Targets,
            an Example or several; or paths of files, as `lmhead train` takes them.
        model: an lmhead.GPT, a model of transformers, or the path of a run or a model's folder. It is left as it was.
        tokenizer: of transformers or tokenizers, TokenizerFiles, or a path; None: the one beside the model, else ids
            are shown as numbers.
        against: another model, whose loss is shown beside the first one's.
        against_tokenizer: its tokenizer, where it has another: losses are compared over the same bytes then.
        top: so many of the most probable tokens, at each position.
        ignore_index: the label that is not scored.
        config: how rows of files are labelled; None, or where an option has its default: as the model's run labelled.
        wanted: how much of files is labelled and shown.
        step: which checkpoint of a run that is read from a path; None: the newest.
        device: of models that are read from a path.
        title: of the page.
        progress: hears how far reading and labelling are.

    Raises:
        ArgumentTypeError: the data, the model or the tokenizer is of another kind.
        ArgumentError: columns do not fit, or an option breaks its rule.
        InputError: a file cannot be read, or a tokenizer does not fit a model; both sizes are named.

    Example:
        >>> seen = inspect({"input_ids": [[5, 6, 7]], "labels": [[-100, 6, 7]]})
        >>> print(seen.table())
        position  token  id  target  target id  learns, or why not
               0  [5]     5  [6]             6  learns
               1  [6]     6  [7]             7  learns
               2  [7]     7               -100  end of row
    """
    check_choices(ignore_index, None)
    require(against is None or model is not None, option("model"), "be given where another is shown beside it", model)
    require_kind(option("top"), top, int)
    require(top >= 0, option("top"), "be >= 0", top)
    require_files(_paths(data))
    with ExitStack() as stack:
        first = None if model is None else stack.enter_context(given_model(model, device, step=step))
        own = None if tokenizer is None else GivenTokenizer.of(tokenizer)
        if own is None and first is not None:
            own = first.tokenizer
        elif own is not None and first is not None:
            first.require_fitting(own)
        chat, notes = labelled_as(config or ChatConfig(), first)
        material = _material(data, own, ignore_index, chat, wanted or Wanted(), progress)
        material = replace(material, notes=material.notes + (notes if material.data else ()))
        own = material.tokenizer or own
        rows: Sequence[TokenRow] = material.rows
        if first is not None:
            rows = _scored(material, first, top)
        head = _head(material, own, [] if first is None else [first.name], title)
        if against is not None:
            second = stack.enter_context(given_model(against, device))
            rows, beside = _compared(rows, material, own, second, against_tokenizer, top)
            head["models"] = _names(head["models"][0], second.name)
            head |= {} if beside is None else {"against_tokenizer": beside.header()}
        return Inspection(
            findings=material.findings, rows=tuple(rows), vocabulary=vocabulary_of(rows, own), header=head
        )


def _material(
    data: object,
    tokenizer: GivenTokenizer | None,
    ignore_index: int,
    config: ChatConfig,
    wanted: Wanted,
    progress: Progress,
) -> Material:
    special = SpecialIds() if tokenizer is None else tokenizer.special
    paths = _paths(data)
    if paths:
        return data_rows(paths, tokenizer, config, wanted, progress)
    if isinstance(data, PackedBatch):
        return packed_rows(data, special)
    if isinstance(data, PackedRows):
        count = data.rows_per_epoch
        return packed_rows(data.take(0, count), special, pieces=data.pieces(0, count))
    if isinstance(data, Targets):
        return lone_target_rows(data)
    examples = [data] if isinstance(data, Example) else data
    if isinstance(examples, Sequence) and examples and all(isinstance(each, Example) for each in examples):
        return example_rows(examples, special)
    if isinstance(data, Mapping):
        if beside_targets(data):
            return target_rows(data["input_ids"], given_targets(data, ignore_index), special)
        return batch_rows(data, special, ignore_index=ignore_index)
    raise ArgumentTypeError(
        f"data must be a batch, Targets, Examples or paths of files, got {_kind(data)}: give a dict of "
        "input_ids and labels (or targets), a PackedBatch, an Example or a list of them"
    )


def _kind(data: object) -> str:
    """What a value is, and what to do with what is likely to be given instead of a batch."""
    name = type(data).__name__
    if isinstance(data, Sequence) and data and all(isinstance(each, Mapping) for each in data):
        return f"a {name} of rows (give what the collator makes of them, or the file that they are from)"
    return f"{name} (give one of its batches: next(iter(...)))" if hasattr(data, "__iter__") else name


def _paths(data: object) -> list[str]:
    """The paths of files; none where the data are something else."""
    if isinstance(data, str | Path):
        return [str(data)]
    if isinstance(data, Sequence) and all(isinstance(each, str | Path) for each in data):
        return [str(each) for each in data]
    return []


def _scored(material: Material, given: GivenModel, top: int) -> list[TokenRow]:
    _require_inputs(material)
    scores = scored_rows(material.rows, given, crossing=material.crossing, top=top)
    return [replace(row, scores=each) for row, each in zip(material.rows, scores, strict=True)]


def _compared(
    rows: Sequence[TokenRow],
    material: Material,
    tokenizer: GivenTokenizer | None,
    second: GivenModel,
    its_tokenizer: object,
    top: int,
) -> tuple[list[TokenRow], GivenTokenizer | None]:
    """(the rows with what the other model makes of them, its tokenizer where that is another one)."""
    other = second.tokenizer if its_tokenizer is None else GivenTokenizer.of(its_tokenizer)
    if its_tokenizer is not None and other is not None:
        second.require_fitting(other)
    if other is None or tokenizer is None or tokenizer.same_tokens(other):
        scores = scored_rows(rows, second, crossing=material.crossing, top=top)
        return [replace(row, against=each) for row, each in zip(rows, scores, strict=True)], None
    spans = other_spans(rows, tokenizer, second, other, crossing=material.crossing)
    return [replace(row, against=each) for row, each in zip(rows, spans, strict=True)], other


def _names(first: str, second: str) -> list[str]:
    """Names by which two models are told apart."""
    return [first, second] if first != second else [f"{first} 1", f"{second} 2"]


def _require_inputs(material: Material) -> None:
    if not material.has_ids:
        raise ArgumentError(
            "model must be left out where Targets come without their inputs, got one: give "
            "{'input_ids': ids, 'targets': targets}"
        )


def vocabulary_of(rows: Iterable[TokenRow], tokenizer: GivenTokenizer | None) -> dict[int, Piece]:
    """What each id in the rows stands for."""
    numbers: set[int] = set().union(*(row.every_id() for row in rows))
    made = {number: _piece(number, tokenizer) for number in sorted(numbers - {IGNORE_INDEX, NOT_GIVEN})}
    if NOT_GIVEN in numbers and any(bool((row.ids == NOT_GIVEN).any()) for row in rows):
        made[NOT_GIVEN] = Piece(kind="control", text="[not given]")
    return made


def _piece(number: int, tokenizer: GivenTokenizer | None) -> Piece:
    return Piece(kind="control", text=f"[{number}]") if tokenizer is None else tokenizer.text[number]


def _head(
    material: Material, tokenizer: GivenTokenizer | None, models: Sequence[str], title: str | None
) -> dict[str, Any]:
    more = f" and {len(material.data) - _NAMED:,} more" if len(material.data) > _NAMED else ""
    return header(
        title=title or ", ".join(material.data[:_NAMED]) + more or "Tokens",
        tokenizer=None if tokenizer is None else tokenizer.header(),
        models=list(models),
        data=list(material.data),
        notes=list(map(Message, material.notes)),
    )
