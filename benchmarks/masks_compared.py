"""One conversation under two masks: the stretches of text that one of them alone trains, and what inference does there.

What is right is not a matter of opinion: a model is given the generation prompt, and writes what follows until a token
stops it. So each stretch is held against the prompt that the template writes for the messages before the turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Final, Literal

from tests.labels.chat.chat_cases import CASES
from tests.labels.chat.chat_renders import OURS, in_forms
from tests.labels.chat.wide_cases import WIDE_CASES
from tokenizers import Tokenizer

from lmhead.errors import TemplateError
from lmhead.labels.example import Example
from lmhead.labels.offsets.token_bytes import BYTE_OF
from lmhead.labels.template.chat_template import ChatTemplate

Side = Literal["before", "behind", "inside", "apart"]  # of what both train
Inference = Literal[
    "gives it", "asks for it", "gives other text", "stops with it", "has stopped before", "has no prompt", "unknown"
]
_SIDES: Final[dict[tuple[bool, bool], Side]] = {  # by what both train right before it, and right behind it
    (False, True): "before",
    (True, False): "behind",
    (True, True): "inside",
    (False, False): "apart",
}
Prompts = Callable[[int], list[str]]  # the prompts that could stand before a message; by its index
WIDE: Final = CASES | {  # what others know too: no message says itself whether it is learnt
    case: messages for case, messages in WIDE_CASES.items() if not any(key in OURS for one in messages for key in one)
}
_CONTEXT: Final = 12  # bytes of text before a stretch by which its place in a prompt is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One stretch of text that one of the two trains."""

    template: str
    case: str
    ours: bool  # we train it, the other does not
    side: Side
    inference: Inference
    text: str

    @property
    def kind(self) -> str:
        """What it is, in words."""
        blank = not self.text.strip()
        if self.side == "behind":
            return "white space behind the terminator" if blank else "a control token behind the text"
        if "think" in self.text:
            return "a tag of reasoning"
        if blank:
            return "white space behind the role's header"
        if self.inference == "asks for it":
            return "the first of the answer"
        return "other text" if self.side == "apart" else "the role's header"

    @property
    def speaks_against_us(self) -> bool:
        """Whether inference does the other thing, or nothing of this explains the stretch."""
        right = ("gives it", "has stopped before") if self.ours else ("asks for it", "stops with it")
        return self.inference in right or self.kind == "other text"


@dataclass(frozen=True, slots=True)
class Masked:
    """A text in bytes, and which of them are trained."""

    text: bytes
    trained: list[bool]

    @staticmethod
    def of(backend: Tokenizer, ids: Sequence[int], mask: Sequence[object]) -> "Masked":
        """The text of a byte-level tokenizer's ids."""
        pieces = token_texts(backend, ids)
        trained = [bool(learnt) for piece, learnt in zip(pieces, mask, strict=True) for _ in piece]
        return Masked(b"".join(pieces), trained)


def token_texts(backend: Tokenizer, ids: Sequence[int]) -> list[bytes]:
    """The bytes of each token of a byte-level tokenizer."""
    added = backend.get_added_tokens_decoder()
    return [
        added[number].content.encode()
        if number in added
        else bytes(BYTE_OF[character] for character in backend.id_to_token(number) or "")
        for number in ids
    ]


def prompts_of(template: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompts:
    """What the template writes for inference before each message."""
    return lambda index: renders(template, messages[:index], tools, add_generation_prompt=True)


def renders(
    template: ChatTemplate,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    add_generation_prompt: bool = False,
) -> list[str]:
    """The conversation in the forms in which people write it; what the template refuses is left out."""
    found = []
    for shown in forms(messages):
        with suppress(TemplateError):
            found.append(template.render(shown, tools=tools, add_generation_prompt=add_generation_prompt))
    return list(dict.fromkeys(found))


def forms(messages: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The messages as they are, and in each form that the judge of the tests knows."""
    return [messages, *(written for written in in_forms(messages) if written != messages)]


def differences(
    backend: Tokenizer,
    example: Example,
    theirs: Masked,
    prompts: Prompts,
    *,
    stops: Sequence[str] = (),
    names: Mapping[str, str],
) -> Iterator[Difference]:
    """The stretches in which an Example's mask and another of the same text differ, in order.

    Args:
        stops: tokens that end generation.
        names: the Difference's `template` and `case`.
    """
    ours = Masked.of(backend, example.ids.tolist(), example.trained.tolist())
    assert ours.text == theirs.text
    ends = [0, *accumulate(len(piece) for piece in token_texts(backend, example.ids.tolist()))]
    turns = [(ends[span.stop], span.index) for span in example.spans if span.role == "assistant"]
    runs = [(pair, len(list(group))) for pair, group in groupby(zip(ours.trained, theirs.trained, strict=True))]
    shared = [False, *(all(pair) for pair, _ in runs), False]
    start = 0
    for place, ((we, they), length) in enumerate(runs):
        piece = ours.text[start : start + length]
        if we != they:
            text = piece.decode(errors="replace")
            side = _SIDES[shared[place], shared[place + 2]]
            inference = _behind(we, text in stops) if side == "behind" else "unknown"
            index = next((index for stop, index in turns if stop > start), None)
            if side != "behind" and index is not None:
                inference = _in_prompt(prompts(index), ours.text[max(0, start - _CONTEXT) : start], piece)
            yield Difference(ours=we, side=side, inference=inference, text=text, **names)
        start += length


def _behind(ours: bool, stops: bool) -> Inference:
    """What inference does with text behind a turn that both train up to there."""
    if stops:
        return "stops with it"
    return "unknown" if ours else "has stopped before"


def _in_prompt(prompts: list[str], before: bytes, text: bytes) -> Inference:
    """What stands in a prompt where a text has `text` behind `before`."""
    if not prompts:
        return "has no prompt"
    tails = [prompt.encode().rpartition(before) for prompt in prompts]
    given = [tail for _, found, tail in tails if found or not before]
    if any(tail.startswith(text) for tail in given):
        return "gives it"
    if b"" in given:
        return "asks for it"
    return "gives other text" if given else "unknown"
