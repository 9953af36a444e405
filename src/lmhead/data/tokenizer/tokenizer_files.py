"""A tokenizer as it lies on a disk or on the Hub: what encodes, and what is said beside it. Needs no transformers.

tokenizer.json                  the tokenizer itself; the only file that must be there
tokenizer_config.json           special tokens by name, chat templates, whether a BOS is added
special_tokens_map.json         special tokens by name, in older folders, whose config has no added_tokens_decoder
chat_template.jinja             the chat template; wins over the config's, as in transformers
additional_chat_templates/      further ones by name, of which `tool_use` is for conversations with tools
chat_template.json              the template of older processors; read where there is no other
generation_config.json          the ids that end a generation
config.json                     the same, where there is no generation_config.json
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from lmhead.errors import InputError, require_path

_SLOW_FILES: Final = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES: Final = ("*.json", "*.jinja", "additional_chat_templates/*")  # of which most are not there
_GENERATION: Final = "generation_config.json"
_MOST_IDS: Final = 2**31
_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")
ENDS_OF_TEXT: Final = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>")  # the usual names


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """What a tokenizer's files say, as plain data: it can be compared, hashed and sent to another process."""

    json: str  # tokenizer.json
    chat_template: str | None = None
    tool_template: str | None = None  # where another one is meant for conversations with tools
    special_tokens: dict[str, str] = field(default_factory=dict)  # by the name that templates call them: bos_token
    source: str = "tokenizer"  # where it comes from, for messages
    add_bos: bool | None = None  # whether transformers would put a BOS before a text; None: the config does not say
    add_eos: bool | None = None
    generation_eos: tuple[int, ...] = ()  # ids that end a generation, by generation_config.json
    model_eos: tuple[int, ...] = ()  # by config.json, where there is no generation_config.json

    def shared_backend(self) -> Tokenizer:
        """The same for reading alone: one object for all who ask, since a large tokenizer takes half a second to make.

        Raises:
            InputError: tokenizer.json is not one.
        """
        return _shared(self.json, self.source)

    def backend(self) -> Tokenizer:
        """The tokenizer, without truncation and padding.

        Raises:
            InputError: tokenizer.json is not one.
        """
        try:
            tokenizer = Tokenizer.from_str(self.json)
        except Exception as error:  # noqa: BLE001  (the Rust side raises Exception itself)
            raise InputError(
                f"{self.source} must be a tokenizer.json of the tokenizers library, got {_one_line(error)}: save it "
                "anew with save_pretrained of a fast tokenizer, and update tokenizers where the file is newer"
            ) from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def end_of_text(self) -> str | None:
        """The token that ends a text: the eos_token, else one of those that usually do; None where there is none.

        Of these a control token rather than an ordinary one, which may be a piece of a text.
        """
        if "eos_token" in self.special_tokens:
            return self.special_tokens["eos_token"]
        backend = self.shared_backend()
        special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
        known = [token for token in ENDS_OF_TEXT if token in special] or list(ENDS_OF_TEXT)
        return next((token for token in known if backend.token_to_id(token) is not None), None)


def read_tokenizer(source: str) -> TokenizerFiles:
    """The tokenizer at `source`: a tokenizer.json, a folder with one (a model's, or a run's), or a name on the Hub.

    Raises:
        InputError: there is none, it is slow, or a file contradicts itself or another one.
    """
    require_path("source", source)
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path, source)
        if path.is_file():
            return _read_folder(path.parent, source, tokenizer=path)
    except OSError as error:
        raise InputError(
            f"tokenizer must be a file that can be read, got {source[:200]}: {error.strerror or error}"
        ) from None
    if not _HUB_NAME.fullmatch(source) or source.endswith((".json", ".jinja", ".model")):
        raise InputError(
            f"tokenizer must be a tokenizer.json, a folder that holds one, or a name on the Hub, got {source[:200]!r}: "
            "no such file or folder"
        )
    return _read_folder(_download(source), source)


def _read_folder(folder: Path, source: str, *, tokenizer: Path | None = None) -> TokenizerFiles:
    file = tokenizer or folder / "tokenizer.json"
    if not file.is_file():
        raise _no_tokenizer(folder, source)
    alone = tokenizer is not None and tokenizer.name != "tokenizer.json"  # its neighbours belong to somebody else
    config = {} if alone else _object(folder / "tokenizer_config.json")
    templates = {} if alone else _templates(folder, config)
    older = {} if alone or "added_tokens_decoder" in config else _object(folder / "special_tokens_map.json")
    found = TokenizerFiles(
        json=_text(file),
        chat_template=templates.get("default"),
        tool_template=templates.get("tool_use"),
        special_tokens=_special_tokens({**config, **older}),
        source=source,
        add_bos=_flag(config.get("add_bos_token")),
        add_eos=_flag(config.get("add_eos_token")),
        generation_eos=() if alone else _eos(folder / _GENERATION),
        model_eos=() if alone or (folder / _GENERATION).is_file() else _eos(folder / "config.json"),
    )
    return _with_configured_tokens(found, config.get("added_tokens_decoder"))


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates by name; of two places that give one, the first of the module's list wins."""
    found = _named_templates(config.get("chat_template"), folder / "tokenizer_config.json")
    if not found:
        file = folder / "chat_template.json"
        found = _named_templates(_object(file).get("chat_template"), file)
    more = folder / "additional_chat_templates"
    files = {file.stem: file for file in sorted(more.glob("*.jinja"))} if more.is_dir() else {}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    if files:
        found = {name: _text(file) for name, file in files.items()}
    if found and not {"default", "tool_use"} & found.keys():
        raise InputError(
            f"chat_template of {folder} must have one named default, got {', '.join(sorted(found))}: copy the one that "
            "is meant to a file and give that as the template"
        )
    return found


def _named_templates(value: object, file: Path) -> dict[str, str]:
    """A template alone is the default; several are a list of {"name", "template"}, or a dict by name."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list) and all(
        isinstance(item, dict) and {"name", "template"} <= item.keys() for item in value
    ):
        value = {item["name"]: item["template"] for item in value}
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return {str(name): text for name, text in value.items()}
    raise InputError(
        f"chat_template in {file} must be a text or a list of names and templates, got {_short(value)}: save the "
        "tokenizer anew with save_pretrained"
    )


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Names such as bos_token; a token is a string, or an AddedToken written out as a dict."""
    extra = config.get("extra_special_tokens")
    named = {**(extra if isinstance(extra, dict) else {}), **config}
    found = {}
    for name, value in named.items():
        token = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(token, str):
            found[name] = token
    return found


def _with_configured_tokens(files: TokenizerFiles, configured: object) -> TokenizerFiles:
    """The tokenizer with the added tokens of tokenizer_config.json: transformers lets these win."""
    backend = files.backend()
    known = backend.get_added_tokens_decoder()
    changed = False
    for number, fields in sorted(_by_id(configured, files.source).items()):
        token = AddedToken(fields["content"], **{flag: bool(fields[flag]) for flag in _FLAGS if flag in fields})
        if known.get(number) == token and _flags(known[number]) == _flags(token):
            continue
        add = backend.add_special_tokens if token.special else backend.add_tokens
        add([token])
        changed = True
        if backend.token_to_id(token.content) != number:
            raise InputError(
                f"tokenizer_config.json of {files.source} must agree with tokenizer.json, got the id {number} for "
                f"{token.content!r}, which is {backend.token_to_id(token.content)} there: save the tokenizer anew with "
                "save_pretrained"
            )
    return replace(files, json=backend.to_str()) if changed else files


def _by_id(configured: object, source: str) -> dict[int, dict[str, Any]]:
    if configured is None:
        return {}
    try:
        assert isinstance(configured, dict)
        found = {int(number): dict(fields) for number, fields in configured.items()}
        assert all(isinstance(fields["content"], str) for fields in found.values())
    except (AssertionError, KeyError, TypeError, ValueError):
        raise InputError(
            f"added_tokens_decoder in tokenizer_config.json of {source} must hold tokens by id, got "
            f"{_short(configured)}: save the tokenizer anew with save_pretrained"
        ) from None
    return found


def _flags(token: AddedToken) -> tuple[bool, ...]:
    return tuple(getattr(token, flag) for flag in _FLAGS)


def _eos(file: Path) -> tuple[int, ...]:
    value = _object(file).get("eos_token_id")
    numbers = value if isinstance(value, list) else [value]
    return tuple(number for number in numbers if type(number) is int and 0 <= number < _MOST_IDS)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(_text(file))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text, and no tokenizer takes it
    except (ValueError, RecursionError) as error:  # no JSON, integers too long, or nested too deeply
        raise InputError(f"{file} must be JSON, got {error}: fetch it anew") from None
    if not isinstance(value, dict):
        raise InputError(f"{file} must be a JSON object, got {_short(value)}: fetch it anew")
    return value


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file} must be UTF-8 text, got other bytes: fetch it anew") from None
    except OSError as error:
        raise InputError(f"{file} must be a file that can be read, got {error.strerror or error}") from None


def _no_tokenizer(folder: Path, source: str) -> InputError:
    slow = [name for name in _SLOW_FILES if (folder / name).is_file()]
    if slow:
        return InputError(
            f"tokenizer must be a fast one, with a tokenizer.json, got {source} with {', '.join(slow)} alone: make one "
            f'with AutoTokenizer.from_pretrained("{source}").save_pretrained("FOLDER") of transformers, and give FOLDER'
        )
    return InputError(f"tokenizer must be a folder with a tokenizer.json, got {source} without one: give another")


def _download(name: str) -> Path:
    """A folder with the tokenizer's files of a repository on the Hub."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            f"tokenizer must be a file or a folder where huggingface_hub is not installed, got {name!r}: no such file "
            'or folder; for a name on the Hub pip install "lmhead[hf]"'
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES), ignore_patterns=["*.index.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"tokenizer must be a file, a folder or a name on the Hub, got {name!r}: no such file or folder, and the "
            f"Hub says {_one_line(error)}"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _short(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


@lru_cache(maxsize=2)
def _shared(text: str, source: str) -> Tokenizer:
    return TokenizerFiles(json=text, source=source).backend()
