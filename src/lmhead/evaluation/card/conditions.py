"""What stands behind the figures of a card: model, tokenizer, data, how texts were read, and what it was made with."""

from dataclasses import dataclass, field
from typing import Any, Final

AGGREGATION: Final = "summed nll of all scored tokens / their number; never a mean of means"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConditions:
    """The model."""

    name: str
    kind: str  # its class
    parameters: int
    weights_sha256: str | None  # of its parameters, as `weights_sha256` makes it
    weights_dtype: str  # as they lie in memory; of several, joined by commas
    dtype: str  # of the products: autocast
    device: str
    step: int | None = None  # of its training, of a checkpoint
    context: int  # tokens that it can read


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConditions:
    """The tokenizer."""

    name: str
    sha256: str
    vocab_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConditions:
    """What was read."""

    paths: tuple[str, ...]
    forms: dict[str, int]  # documents by what they are: texts, conversations, completions, rows of ids
    fingerprint: str | None  # SHA-256 of the scored text, document by document
    refused: dict[str, int] = field(default_factory=dict)  # rows that could not be scored, by kind of refusal
    lost: int = 0  # documents whose text does not come back from their tokens
    limit: int | None = None  # documents that were asked for, where there are more; None: all
    trained_on: str | None = None  # which of them the model was trained on, in words; None: none is known


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixConditions:
    """What the first token of a text is predicted from."""

    policy: str  # as it was asked for: auto, bos, eos, none
    ids: tuple[int, ...]  # what is put there; none: nothing is, and the first token is not scored
    tokens: tuple[str, ...]  # their names
    told: str  # what the first token is predicted from, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConditions:
    """How texts are read."""

    context: str  # "document": each alone; "stream": end to end
    window: int  # tokens that are read at a time
    stride: int  # tokens that each next window ends further on
    prefix: PrefixConditions
    end_scored: bool  # the end of a text is a token to be predicted
    aggregation: str = AGGREGATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """With what, when, and how long."""

    versions: dict[str, str]  # of lmhead, python, torch, and what else is installed that counts
    system: str
    processor: str
    device: str
    threads: int
    date: str  # UTC, ISO 8601
    seconds: float
    command: str | None = None  # as it was typed; None: called from Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where all tokens of the data went: scored + skipped = all."""

    tokens: int  # all, prefixes among them
    scored: int
    skipped: dict[str, int]  # by reason (labels.targets.Reason, in small letters)
    documents: int
    empty: int  # documents without a scored token
    windowed: int  # documents longer than a window
    positions: int  # that the model read, windows' overlaps among them
    longest: int  # tokens of the longest document


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstEntry:
    """A document that the model finds hard, as the page links it."""

    document: str  # where it stands
    source: str
    tokens: int  # scored
    nll: float  # nats per scored token
    bits_per_byte: float | None
    row: int | None = None  # in tokens.jsonl and inspect.html; None: it is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What another part has to tell on a card: KL to a base, an audit, a comparison."""

    title: str
    lines: tuple[str, ...] = ()  # sentences
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)  # the same for programs: JSON
