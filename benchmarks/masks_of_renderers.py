"""The masks of `renderers`: programs written by hand, one a family of models, that say which tokens a model samples.

A renderer speaks for a template where it writes the same text. Which one that is, is found by what they write: for each
template the renderer, with its option for thinking, that writes most of the conversations, and then of the prompts.
Nothing is loaded: a renderer asks its tokenizer for the tokens that it writes, and they are added to a small one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from tests.labels.chat.chat_cases import CASES, tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.wide_cases import tools_of
from tokenizers import Tokenizer

from benchmarks.masks_compared import Difference, Masked, differences, prompts_of, renders, token_texts
from lmhead.errors import ConversationError, TemplateError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.template.chat_template import ChatTemplate

LEFT_OUT: Final = {"default": "it has no mask of its own", "gpt-oss": "it loads a vocabulary from the network"}
_THINKING: Final = ("enable_thinking", "thinking")  # options of renderers
_NOW: Final = datetime(2024, 7, 26)  # the day that the renderer of Llama 3 writes


def installed() -> str:
    """The oracle with its version."""
    return f"renderers {version('renderers')}"


class NamedTokens:
    """The small tokenizer, as renderers call one. What they ask for while they are made is a token, and is added."""

    name_or_path = ""
    unk_token_id = eos_token_id = None

    def __init__(self, *texts: str) -> None:
        self.backend: Tokenizer = tokenizer_for(*texts)
        self.asked = True

    def convert_tokens_to_ids(self, token: str) -> int | None:
        if self.asked:
            self.backend.add_special_tokens([token])
        return self.backend.token_to_id(token)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        if self.asked:
            self.backend.add_special_tokens([text])
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False, **_: object) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: object) -> dict[str, Any]:
        encoded = self.backend.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoded.ids, "offset_mapping": encoded.offsets}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A renderer with its option for thinking, and what it writes."""

    renderer: str
    options: tuple[tuple[str, bool], ...]
    special: dict[str, str]  # the template's names for the tokens that this family begins and ends with
    stops: tuple[str, ...]  # tokens that end generation
    texts: Mapping[str, str]  # of the conversations that it takes, by case
    prompts: Mapping[str, str]  # the same without the last message, with a generation prompt

    @property
    def name(self) -> str:
        return " ".join([self.renderer, *(f"{option}={value}" for option, value in self.options)])


def voices() -> list[Voice]:
    """What every renderer writes of the conversations.

    Raises:
        ImportError: renderers is not installed.
    """
    from renderers.base import RENDERER_REGISTRY, _populate_registry
    from renderers.configs import config_from_name

    _populate_registry()
    made = []
    for name in RENDERER_REGISTRY:
        if name not in LEFT_OUT:
            known = [option for option in _THINKING if option in type(config_from_name(name)).template_field_names()]
            choices = [(), *(((option, value),) for option in known for value in (True, False))]
            made += [_voice(name, options) for options in choices]
    return made


def _voice(name: str, options: tuple[tuple[str, bool], ...]) -> Voice:
    tokens = NamedTokens()
    renderer = _renderer(tokens, name, options)
    texts: dict[str, str] = {}
    prompts: dict[str, str] = {}
    for case, messages in CASES.items():
        texts |= _written(renderer, tokens, case, messages)
        prompts |= _written(renderer, tokens, case, messages[:-1], add_generation_prompt=True)
    first = renderer.render(CASES["single"]).token_ids[0]
    stops = token_texts(tokens.backend, renderer.get_stop_token_ids())
    special = {**SPECIAL, "bos_token": token_texts(tokens.backend, [first])[0].decode(), "eos_token": stops[0].decode()}
    return Voice(
        renderer=name,
        options=options,
        special=special,
        stops=tuple(stop.decode() for stop in stops),
        texts=texts,
        prompts=prompts,
    )


def _renderer(tokens: NamedTokens, name: str, options: tuple[tuple[str, bool], ...]) -> Any:
    from renderers.base import create_renderer
    from renderers.configs import config_from_name

    made = create_renderer(tokens, type(config_from_name(name))(**dict(options)))
    tokens.asked = False
    return made


def _written(
    renderer: Any, tokens: NamedTokens, case: str, messages: list[dict[str, Any]], **arguments: bool
) -> dict[str, str]:
    rendered = _rendered(renderer, messages, tools_of(case), **arguments)
    return {} if rendered is None else {case: tokens.decode(rendered.token_ids)}


def _rendered(
    renderer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, **arguments: bool
) -> Any:
    """The renderer's tokens; None where it refuses the conversation."""
    try:
        return renderer.render(messages, tools=tools, **arguments)
    except Exception:  # noqa: BLE001 (each renderer refuses in errors of its own)
        return None


def best(source: str, candidates: list[Voice]) -> Voice | None:
    """The voice that writes most of a template's conversations, then of its prompts; None: none writes any."""
    written = _Written(source)
    spoken = [(written.by(voice, voice.texts, prompts=False), voice) for voice in candidates]
    most = max((count for count, _ in spoken), default=0)
    equal = [voice for count, voice in spoken if count == most > 0]
    return max(equal, key=lambda voice: written.by(voice, voice.prompts, prompts=True), default=None)


class _Written:
    """What a template writes of the conversations and of their prompts, with a family's special tokens."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._known: dict[tuple[object, ...], dict[str, list[str]]] = {}

    def by(self, voice: Voice, texts: Mapping[str, str], *, prompts: bool) -> int:
        """How many of a voice's texts the template writes, with its special tokens."""
        key = (prompts, *(token for name, token in voice.special.items() if name in self._source))
        if key not in self._known:
            template = ChatTemplate(self._source, special_tokens=voice.special, now=_NOW)
            last = -1 if prompts else None
            self._known[key] = {
                case: renders(template, messages[:last], tools_of(case), prompts) for case, messages in CASES.items()
            }
        return sum(text in self._known[key][case] for case, text in texts.items())


def compared(
    name: str, source: str, voice: Voice, cases: Mapping[str, list[dict[str, Any]]] = CASES
) -> Iterator[tuple[str, list[Difference] | str]]:
    """Each case with its differences; a word where there is nothing to compare."""
    tokens = NamedTokens(source, str(cases))
    renderer = _renderer(tokens, voice.renderer, voice.options)
    label = ChatLabeler(
        tokens.backend,
        chat_template=source,
        special_tokens=voice.special,
        now=_NOW,
        dropped_text="note",
        stop_tokens=voice.stops,
    )
    template = ChatTemplate(source, special_tokens=voice.special, now=_NOW)
    for case, messages in cases.items():
        tools = tools_of(case)
        rendered = _rendered(renderer, messages, tools)
        if rendered is None:
            yield case, "the renderer refuses it"
            continue
        try:
            example = label(messages, tools)
        except TemplateError:
            yield case, "the template refuses it"
            continue
        except ConversationError as error:
            yield case, f"lmhead refuses it: {error.kind}"
            continue
        theirs = Masked.of(tokens.backend, rendered.token_ids, _sampled(rendered, messages))
        if tokens.decode(example.ids.tolist()).encode() != theirs.text:
            yield case, "the texts differ"
            continue
        prompts = prompts_of(template, messages, tools)
        names = {"template": name, "case": case}
        yield case, list(differences(tokens.backend, example, theirs, prompts, stops=voice.stops, names=names))


def _sampled(rendered: Any, messages: list[dict[str, Any]]) -> list[bool]:
    """The tokens that a model samples, of an assistant's messages: what their trainer learns."""
    roles = [message["role"] for message in messages]
    owners = [index >= 0 and roles[index] == "assistant" for index in rendered.message_indices]
    return [sampled and own for sampled, own in zip(rendered.sampled_mask, owners, strict=True)]
