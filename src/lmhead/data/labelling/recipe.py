"""Recipe: everything that decides what a sample's Example is. Plain data: it crosses to other processes, and has a key.

Imports no torch: the labeler does, when it is made.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.source_version import source_version
from lmhead.data.tokenizer.chatml import CHATML, CHATML_TOKENS, missing_tokens, with_chatml
from lmhead.data.tokenizer.text_ends import generation_stops, named_end
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import ArgumentError, InputError, require
from lmhead.options import option

if TYPE_CHECKING:
    from lmhead.data.labelling.sample_labeler import SampleLabeler

BUILT_IN: Final = "chatml"  # as a template's name
# Fields of ChatConfig that say where and how labelling is done, or that `Recipe.of` has turned into something else.
_NOT_DECIDING: Final = {"on_error", "workers", "cache", "template", "template_arguments", "date"}
_LABELS: Final = "data.labelling.label_files"  # the module that reads rows and labels them
_ASKS_FOR_TIME: Final = "strftime_now"  # the only clock that the sandbox gives a template


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How samples become Examples. Made by `Recipe.of`."""

    tokenizer: TokenizerFiles  # as it is used: the chosen template in it, and the tokens that the template needs
    config: ChatConfig
    max_length: int | None = None  # tokens
    now: datetime  # what a template that asks for the time is told
    template_arguments: dict[str, Any] = field(default_factory=dict)
    built_in: bool = False  # the template is ChatML
    added_tokens: tuple[str, ...] = ()  # control tokens that the tokenizer gained: rows that an embedding must gain

    @staticmethod
    def of(tokenizer: TokenizerFiles, config: ChatConfig, *, max_length: int | None = None) -> "Recipe":
        """The recipe that a tokenizer and options make. Without a date it is today's, at midnight.

        Raises:
            InputError: the template cannot be read, or the arguments or the date are not what they must be.
            ArgumentError: max_length is less than 2.
        """
        require(max_length is None or max_length >= 2, option("max_length"), "be >= 2 tokens or None", max_length)
        arguments, now = template_arguments(config.template_arguments), _moment(config.date)
        if config.template is not None and config.template != BUILT_IN:
            tokenizer = replace(tokenizer, chat_template=_template(config.template), tool_template=None)
        built_in = config.template == BUILT_IN or (tokenizer.chat_template is None and tokenizer.tool_template is None)
        added: tuple[str, ...] = ()
        if built_in:
            backend = tokenizer.backend()
            added = missing_tokens(backend)
            text = with_chatml(backend).to_str()
            tokenizer = replace(tokenizer, chat_template=CHATML, tool_template=None, json=text)
        return Recipe(
            tokenizer=tokenizer,
            config=config,
            max_length=max_length,
            now=now,
            template_arguments=arguments,
            built_in=built_in,
            added_tokens=added,
        )

    def labeler(self) -> "SampleLabeler":
        """A labeler of its own for whoever calls: one a process, one a thread.

        Raises:
            ArgumentError: the template is no Jinja, or an option breaks its rule.
            InputError: the tokenizer is none.
        """
        from lmhead.data.labelling.sample_labeler import SampleLabeler
        from lmhead.labels.chat.labeler import ChatLabeler
        from lmhead.labels.template.chat_template import ChatTemplate

        for source in (self.tokenizer.chat_template, self.tokenizer.tool_template):
            if source is not None:
                try:
                    ChatTemplate(source)  # a template that is broken is no fault of the first row
                except ArgumentError as error:
                    where = self.config.template or self.tokenizer.source
                    raise ArgumentError(f"{where}: {error}: mend the template, or take another") from error
        backend = self.tokenizer.backend()
        chat = ChatLabeler(
            _Templated(backend, self.tokenizer),
            template_arguments=self.template_arguments,
            now=self.now,
            train_on=self.config.train_on,
            train_reasoning=self.config.train_reasoning,
            max_length=self.max_length,
            overflow=self.config.overflow,
            assistant_header=self.config.assistant_header,
            dropped_text=self.config.dropped_text,
            stop_tokens=self.stop_tokens(),
        )
        end = self.tokenizer.end_of_text()
        return SampleLabeler(
            chat,
            backend,
            end_id=None if end is None else backend.token_to_id(end),
            max_length=self.max_length,
            overflow=self.config.overflow,
        )

    def stop_tokens(self) -> frozenset[str]:
        """The tokens at which generation stops, as far as the tokenizer's files tell; the built-in template's own too.

        A run that trains with the built-in template has its end of a turn in the generation_config.json that it writes.
        """
        files, backend = self.tokenizer, self.tokenizer.shared_backend()
        known = files.generation_eos or files.model_eos or named_end(files) is not None
        named = (backend.id_to_token(number) for number in generation_stops(files)) if known else ()
        return frozenset(token for token in named if token) | frozenset(CHATML_TOKENS[1:] if self.built_in else ())

    def key(self) -> str:
        """SHA-256, in hex, of all that decides an Example; of the library's own source too, as far as it labels."""
        files = self.tokenizer
        asks = any(_ASKS_FOR_TIME in (text or "") for text in (files.chat_template, files.tool_template))
        decides = {
            "code": source_version(_LABELS, "tokenizers", "jinja2"),
            "tokenizer": asdict(files) | {"source": None, "generation_eos": None, "model_eos": None},
            "options": {name: value for name, value in asdict(self.config).items() if name not in _NOT_DECIDING},
            "stop_tokens": sorted(self.stop_tokens()),
            "template_arguments": self.template_arguments,
            "max_length": self.max_length,
            "now": self.now.isoformat() if asks else None,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def template_arguments(text: str) -> dict[str, Any]:
    """What a template is told, from ChatConfig's JSON.

    Raises:
        InputError: it is no JSON object.
        ArgumentError: it names what the conversation says.
    """
    from lmhead.labels.template.template_names import check_names

    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        value = error
    if not isinstance(value, Mapping):
        raise InputError(
            f"{option('template_arguments')} must be a JSON object, got {text[:80]!r}: give one such as "
            '{"enable_thinking": false}'
        )
    check_names(value, option("template_arguments"))
    return dict(value)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


class _Templated:
    """A backend with its templates, in the shape in which ChatLabeler takes a tokenizer of transformers."""

    def __init__(self, backend: object, files: TokenizerFiles) -> None:
        named = {"default": files.chat_template, "tool_use": files.tool_template}
        self.backend_tokenizer = backend
        self.special_tokens_map = files.special_tokens
        self.chat_template = {name: text for name, text in named.items() if text is not None}


def _template(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{option('template')} must be UTF-8 text, got other bytes in {path}: give the Jinja file"
        ) from None
    except OSError as error:
        raise InputError(
            f"{option('template')} must be a Jinja file that can be read, or {BUILT_IN}, "
            f"got {path}: {error.strerror or error}"
        ) from None


def _moment(date: str | None) -> datetime:
    if date is None:
        return datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        raise InputError(
            f"{option('date')} must be YYYY-MM-DD, got {date[:40]!r}: give one such as 2025-01-31"
        ) from None
