"""A recipe's chat template with its tokenizer, as the doctor asks it: label this, render that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Final

from tokenizers import Tokenizer

from lmhead.data.formats.sample import ChatSample
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.sample_labeler import SampleLabeler
from lmhead.data.rows.row import Place
from lmhead.errors import ConversationError, RefusalKind, TemplateError
from lmhead.labels.conversation.content_form import ContentForm, in_form, wanted_form
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.example import Example
from lmhead.labels.template.chat_template import ChatTemplate
from lmhead.labels.template.sandbox_budget import PatienceError, briefly
from lmhead.options import Message

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None

_OWN: Final = Place(source="a conversation of the doctor", number=1)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A conversation that cannot be labelled."""

    kind: RefusalKind
    message: Message


class ExaminedTemplate:
    """Labels as the recipe does, but for texts that the template leaves out: here they are noted and never refused."""

    def __init__(self, recipe: Recipe, tools: Tools = None) -> None:
        self._tools = tools  # that every conversation has which brings none
        config = replace(recipe.config, dropped_text="note", train_on="all", train_reasoning=True)
        self.recipe = replace(recipe, config=config, max_length=None)

    def at(self, now: datetime) -> "ExaminedTemplate":
        """The same at another time."""
        return ExaminedTemplate(replace(self.recipe, now=now), self._tools)

    def labelled(self, messages: Messages, tools: Tools = None) -> Example | Refused:
        """The Example of a conversation, or why there is none."""
        try:
            with briefly():
                return self._labeler(ChatSample(place=_OWN, messages=messages, tools=tools or self._tools))
        except ConversationError as error:
            return Refused(kind=error.kind, message=Message(error.message.marked.removeprefix(f"{_OWN}: ")))
        except PatienceError as error:
            return Refused(kind="template", message=Message(str(error)))

    def render(self, messages: Messages, tools: Tools = None, *, prompt: bool = False) -> str | None:
        """The text; None where the template refuses."""
        try:
            return self._rendered(messages, tools, prompt)
        except TemplateError:
            return None

    def refusal(self, messages: Messages, tools: Tools = None) -> str:
        """What the template says against a conversation; empty where it takes it."""
        try:
            self._rendered(messages, tools, False)
        except TemplateError as error:
            return str(error).partition("got ")[2]
        return ""

    def end_of_turn(self, example: Example, which: int) -> str | None:
        """The token that ends the first (0) or the last (-1) of the assistant's turns; None where none does."""
        span = [span for span in example.spans if span.role == "assistant"][which]
        if any(note.kind == "no_terminator" and note.message == span.index for note in example.notes):
            return None
        return str(self.backend.decode([int(example.ids[span.stop - 1])], skip_special_tokens=False))

    def first_token(self, text: str) -> str:
        """The special token that a text begins with; empty where it begins with none."""
        ids = self.backend.encode(text, add_special_tokens=False).ids[:1]
        return self._added.get(ids[0], "") if ids else ""

    @cached_property
    def backend(self) -> Tokenizer:
        """The tokenizer."""
        return self.recipe.tokenizer.backend()

    @cached_property
    def added_tokens(self) -> frozenset[str]:
        """Tokens that are never split."""
        return frozenset(self._added.values())

    @cached_property
    def _added(self) -> dict[int, str]:
        return {number: token.content for number, token in self.backend.get_added_tokens_decoder().items()}

    @cached_property
    def _labeler(self) -> SampleLabeler:
        return self.recipe.labeler()

    @cached_property
    def _compiled(self) -> dict[bool, ChatTemplate]:
        """Without and with tools, as FastTokenizer.source chooses."""
        files = self.recipe.tokenizer
        plain, tool = files.chat_template or files.tool_template or "", files.tool_template or files.chat_template or ""
        return {
            with_tools: ChatTemplate(source, special_tokens=files.special_tokens, now=self.recipe.now)
            for with_tools, source in ((False, plain), (True, tool))
        }

    @cached_property
    def _forms(self) -> dict[bool, ContentForm]:
        """In which form each of the two shows texts, as labelling finds it."""
        arguments: dict[str, Any] = {"add_generation_prompt": False, **self.recipe.template_arguments}
        return {
            with_tools: wanted_form(partial(template.render, **arguments))
            for with_tools, template in self._compiled.items()
        }

    def _rendered(self, messages: Messages, tools: Tools, prompt: bool) -> str:
        conversation = Conversation.of(messages, tools or self._tools)
        with_tools = conversation.tools is not None
        try:
            with briefly():
                return self._compiled[with_tools].render(
                    in_form(conversation.messages, self._forms[with_tools]),
                    tools=conversation.tools,
                    add_generation_prompt=prompt,
                    **self.recipe.template_arguments,
                )
        except PatienceError as error:
            raise TemplateError(f"messages must be such that the template renders them, got {error}") from error
