"""Records of tokens, made by hand: conversations, texts of many scripts, two models, fifty thousand tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lmhead.labels.targets import Reason
from lmhead.record.record import Record
from lmhead.record.token_row import OtherSpan, Span, TokenRow, TokenScores
from lmhead.record.vocabulary import Piece

IGNORED = -100
PIECES = re.compile(r"<\|\w+\|>| ?\w+|\n| ?[^\w\s]+|\s")


def pieces_of(text: str) -> list[Piece]:
    """`text` as words with the space before them, control tokens as such."""
    return [Piece(kind="control" if found.startswith("<|") else "text", text=found) for found in PIECES.findall(text)]


def bytes_of(text: str, cut: Sequence[int] = (1, 2)) -> list[Piece]:
    """The bytes of `text`, cut where no character ends."""
    raw = text.encode()
    edges = [0, *cut, len(raw)]
    return [Piece(kind="bytes", text=raw[a:b].hex()) for a, b in pairwise(edges)]


@dataclass
class Writer:
    """Pieces -> rows of ids, and the vocabulary that they share."""

    seed: int = 0
    vocabulary: dict[int, Piece] = field(default_factory=dict)
    _known: dict[Piece, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def ids(self, pieces: Sequence[Piece]) -> list[int]:
        for piece in pieces:
            number = self._known.setdefault(piece, 100 + 7 * len(self._known))
            self.vocabulary[number] = piece
        return [self._known[piece] for piece in pieces]

    def row(
        self,
        parts: Sequence[tuple[list[Piece], Reason, str | None]],
        *,
        document: Sequence[int] | None = None,
        scored: bool = True,
        **more: Any,
    ) -> TokenRow:
        """A row of parts: its pieces, why they are not trained (SCORED: they are), whose message they are."""
        ids, why, spans = [], [], []
        for pieces, reason, role in parts:
            if role is not None:
                spans.append(Span(start=len(ids), stop=len(ids) + len(pieces), role=role))
            ids += self.ids(pieces)
            why += [int(reason)] * len(pieces)
        reasons = np.array([*why[1:], int(Reason.END_OF_ROW)], dtype=np.uint8)
        following = np.array([*ids[1:], IGNORED])
        known = np.ones(len(ids), dtype=bool)
        known[-1] = False
        if document is not None:
            numbers = np.array(document)
            boundary = np.append(numbers[1:] != numbers[:-1], True)
            reasons[:-1][boundary[:-1]] = int(Reason.DOCUMENT_BOUNDARY)
            reasons[:-1][numbers[1:] < 0] = int(Reason.PADDING)
            known &= ~boundary & (numbers >= 0)
            more["document"] = numbers
        return TokenRow(
            ids=np.array(ids),
            targets=np.where(reasons == 0, following, IGNORED),
            reason=reasons,
            spans=tuple(spans),
            scores=self.scores(following, known) if scored else None,
            **more,
        )

    def scores(self, following: Any, known: Any, *, k: int = 5) -> TokenScores:
        """Of a model that is rather good: most tokens are expected, some are not at all."""
        count = len(following)
        numbers = np.array(list(self.vocabulary))
        nll = np.where(
            self.random.random(count) < 0.72, self.random.gamma(0.8, 0.6, count), self.random.gamma(2, 1.9, count)
        )
        p = np.exp(-nll)
        others = (1 - p)[:, None] * 0.6 ** np.arange(1, k + 2) * 0.66
        rank = (others > p[:, None]).sum(1)
        top_ids = self.random.choice(numbers, (count, k + 1))
        merged = np.concatenate([others, p[:, None]], axis=1)
        order = np.argsort(-merged, axis=1, kind="stable")[:, :k]
        ids = np.concatenate([top_ids, np.asarray(following)[:, None]], axis=1)
        far = rank >= k
        rank = np.where(far, rank + self.random.integers(1, 300, count), rank)
        return TokenScores(
            nll=np.where(known, nll, np.nan),
            rank=np.where(known, rank, -1),
            entropy=np.where(known, self.random.gamma(3, 0.5, count), np.nan),
            top_ids=np.where(known[:, None], np.take_along_axis(ids, order, 1), -1),
            top_logprobs=np.where(known[:, None], np.log(np.take_along_axis(merged, order, 1)), np.nan),
        )

    def record(self, rows: Sequence[TokenRow], *, findings: Sequence[dict[str, Any]] = (), **header: Any) -> Record:
        return Record(
            header={"record": 1, "made_by": "lmhead 0", "tokenizer": {"name": "byte-bpe", "vocab_size": 4096}} | header,
            rows=list(rows),
            vocabulary=dict(self.vocabulary),
            findings=list(findings),
        )


def message(
    role: str, text: str, reason: Reason, tail: Reason = Reason.SCAFFOLD
) -> list[tuple[list[Piece], Reason, str | None]]:
    """A message in ChatML."""
    return [
        (pieces_of(f"<|im_start|>{role}\n"), Reason.SCAFFOLD, None),
        (pieces_of(text), reason, role),
        (pieces_of("<|im_end|>"), tail, None),
        (pieces_of("\n"), Reason.SCAFFOLD, None),
    ]


QUESTION = "What is the capital of France, and why do so many people like to visit it in spring?"
ANSWER = (
    "The capital of France is Paris. In spring the chestnut trees along the Seine are in flower, the cafés put\n"
    "their tables out, and the museums are not yet full:\n\n"
    "\t- the Louvre opens at nine\n\t- the Orsay at half past nine"
)


def conversation(*, trained_user: bool = False) -> list[tuple[list[Piece], Reason, str | None]]:
    """Two turns; trained_user: with the error that the user's words are trained, too."""
    user = Reason.SCORED if trained_user else Reason.USER
    return [
        *message("system", "You are a helpful assistant.", Reason.SYSTEM),
        *message("user", QUESTION, user),
        *message("assistant", ANSWER, Reason.SCORED, Reason.SCORED),
        *message("user", "Thanks! And of Germany?", user),
        *message("assistant", "Berlin.", Reason.SCORED, Reason.SCORED),
    ]


def chat_record(*, scored: bool = True, trained_user: bool = False, padding: int = 12) -> Record:
    """A conversation, and one of all reasons, with padding."""
    writer = Writer()
    parts = conversation(trained_user=trained_user)
    length = sum(len(pieces) for pieces, _, _ in parts)
    pad = (pieces_of("<|pad|>") * padding, Reason.PADDING, None)
    first = writer.row(
        [*parts, pad],
        document=[0] * length + [-1] * padding,
        scored=scored,
        names=("chat.jsonl, line 1",),
        sources=("chat.jsonl",),
    )
    second = writer.row(
        [
            *message("system", "Answer in one word.", Reason.SYSTEM),
            (pieces_of('{"name": "weather", "parameters": {"city": "string"}}\n'), Reason.TOOL_SCHEMA, "tools"),
            *message("user", "Is it warm in Lyon?", Reason.USER),
            *message("assistant", "Let me see.", Reason.EARLIER_TURN),
            *message("tool", '{"celsius": 31}', Reason.TOOL),
            *message("critic", "Be brief.", Reason.OTHER_ROLE),
            *message("assistant", "I thought about it", Reason.REASONING),
            *message("assistant", "It is.", Reason.EXCLUDED),
            *message("assistant", "Yes.", Reason.SCORED, Reason.SCORED),
            (pieces_of("Complete this:"), Reason.PROMPT, None),
            (pieces_of(" ignored"), Reason.IGNORED, None),
            (pieces_of(" weightless"), Reason.ZERO_WEIGHT, None),
            (pieces_of(" seen before"), Reason.OVERLAP, None),
            (pieces_of(" cut off"), Reason.TRUNCATED, None),
        ],
        scored=scored,
        names=("more.jsonl, line 7",),
        sources=("more.jsonl",),
    )
    return writer.record(
        [first, second],
        title="Two conversations",
        data=["chat.jsonl", "more.jsonl"],
        **({"models": ["runs/first"]} if scored else {}),
    )


SCRIPTS = {
    "arabic.txt": "مرحبا بالعالم، هذا نصّ عربي قصير فيه أرقام 123 وكلمة English في الوسط.\nسطر ثانٍ.",
    "hebrew.txt": "שלום עולם, זה טקסט קצר בעברית עם מילה English באמצע.",
    "japanese.txt": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "chinese.txt": "道可道、非常道。名可名、非常名。",
    "hindi.txt": "नमस्ते दुनिया, यह एक छोटा पाठ है।",
    "unseen.txt": "a\u202eb\u202cc \u200b \u00a0 \u2066x\u2069 tab\there\r\n"
    "null\x00 bell\x07 esc\x1b[31m e\u0301 \u200d \ufeff end  ",
}


def scripts_record() -> Record:
    """Right-to-left, CJK with characters cut into bytes, and characters that have no ink."""
    writer = Writer(seed=3)
    rows = []
    for name, text in SCRIPTS.items():
        pieces = [Piece(kind="text", text=part) for part in re.findall(r" ?[^\W\u3000-\u9fff]+|.|\n", text, re.DOTALL)]
        pieces += bytes_of("猫") + pieces_of(" and ") + bytes_of("😀", (1, 3)) + [Piece(kind="bytes", text="ff")]
        rows.append(writer.row([(pieces, Reason.SCORED, None)], names=(name,), sources=(name,)))
    return writer.record(rows, title="Many scripts", models=["small"])


def two_models_record(*, by_bytes: bool = False) -> Record:
    """One text by two models: of one tokenizer, or of two."""
    writer = Writer(seed=5)
    row = writer.row([(pieces_of(ANSWER + "\n" + QUESTION), Reason.SCORED, None)], names=("text.txt",))
    count = len(row.ids)
    if by_bytes:
        against: Any = tuple(
            OtherSpan(start=at, stop=min(count, at + 3), nll=float(writer.random.gamma(2, 2)), text="one| more|\n")
            for at in range(1, count, 3)
        )
    else:
        known = np.ones(count, dtype=bool)
        known[-1] = False
        against = writer.scores(np.append(row.ids[1:], IGNORED), known)
    made = TokenRow(
        ids=row.ids, targets=row.targets, reason=row.reason, names=row.names, scores=row.scores, against=against
    )
    return writer.record([made], title="Two models", models=["runs/small", "runs/large"])


COMMON = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which"
    " one you were all her she there would their we him been has when who will no more if out so up said what its about"
    " than into them can only other time new some could these two may first then do any like my now over such our man"
)


def long_record(tokens: int = 50_000, *, rows: int = 16, k: int = 5) -> Record:
    """Packed rows of documents of all lengths, from three sources; one document is broken."""
    writer = Writer(seed=7)
    random = writer.random
    made = []
    for row in range(rows):
        parts, document, names, sources = [], [], [], []
        while len(document) < tokens // rows:
            words = random.choice(COMMON.split(), int(random.integers(40, 900)))
            text = "".join(f" {word}" + (".\n" if random.random() < 0.03 else "") for word in words)
            pieces = pieces_of(text)[: tokens // rows - len(document)]
            document += [len(names)] * len(pieces)
            names.append(f"corpus/part-{row}.txt, line {len(names)}")
            sources.append(("books", "web", "code")[len(names) % 3])
            parts.append((pieces, Reason.SCORED, None))
        made.append(writer.row(parts, document=document, names=tuple(names), sources=tuple(sources)))
    return writer.record(made, title="Fifty thousand tokens", models=["runs/first"], data=["corpus"])
