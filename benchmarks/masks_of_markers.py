"""The masks that transformers makes of `{% generation %}` markers in templates, TRL's training templates above all."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat.chat_cases import tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.wide_cases import tools_of
from transformers import PreTrainedTokenizerFast

from benchmarks.masks_compared import WIDE, Difference, Masked, differences, forms, prompts_of
from benchmarks.masks_templates import templates
from lmhead.errors import ConversationError, TemplateError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.template.chat_template import ChatTemplate


def sources() -> dict[str, str]:
    """Templates with markers, by name."""
    return templates(marked=True)


def installed() -> str:
    """The oracle with its version."""
    try:
        return f"TRL {version('trl')}"
    except PackageNotFoundError:
        return "shared templates alone: trl is not installed"


def compared(name: str, source: str, case: str) -> list[Difference] | str:
    """The differences of one conversation; a word where there is nothing to compare."""
    messages, tools = WIDE[case], tools_of(case)
    backend = tokenizer_for(source, str(messages))
    label = ChatLabeler(backend, chat_template=source, special_tokens=SPECIAL, dropped_text="note")
    try:
        example = label(messages, tools)
    except TemplateError:
        return "the template refuses it"
    except ConversationError as error:
        return f"lmhead refuses it: {error.kind}"
    text = Masked.of(backend, example.ids.tolist(), example.trained.tolist()).text
    theirs = next((masked for masked in _marked(backend, source, messages, tools) if masked.text == text), None)
    if theirs is None:
        return "the texts differ"
    prompts = prompts_of(ChatTemplate(source, special_tokens=SPECIAL), messages, tools)
    return list(differences(backend, example, theirs, prompts, names={"template": name, "case": case}))


def _marked(backend: Any, source: str, messages: list[Any], tools: list[Any] | None) -> list[Masked]:
    """What transformers renders and trains, of the forms in which people write a conversation."""
    made: Any = PreTrainedTokenizerFast  # transformers does not annotate it
    tokenizer = made(tokenizer_object=backend, chat_template=source, **SPECIAL)
    found = []
    for shown in forms(messages):
        try:
            out = tokenizer.apply_chat_template(shown, tools=tools, return_dict=True, return_assistant_tokens_mask=True)
        except (JinjaError, TypeError, ValueError):
            continue
        found.append(Masked.of(backend, out["input_ids"], out["assistant_masks"]))
    return found
