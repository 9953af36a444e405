"""ChatLabeler: conversations -> Examples, for any chat template, or a refusal that says why.

    1  render the conversation, and again with transparent markers (markers.py); without them the two must be equal
    2  between the markers, find where each assistant's turn begins and ends (turns.py, probes.py)
    3  find the tokens of these characters (token_map.py)

Nothing knows a template by name, and nothing is guessed: what cannot be shown is refused with a ConversationError.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from lmhead.errors import ConversationError, NotTransparentError, TemplateError, require
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.kept_probes import Probes
from lmhead.labels.chat.labelled_text import LabelledText
from lmhead.labels.chat.markers import LEVELS, Marked, Marker, Part, Rendered, check_transparent
from lmhead.labels.chat.max_length import CHAT_OVERFLOWS, ChatOverflow, fitted
from lmhead.labels.chat.rendered_text import guess_notes, places, reasoning_notes
from lmhead.labels.chat.turn_stop import Stops
from lmhead.labels.chat.turns import TurnFinder
from lmhead.labels.chat.values import check_values
from lmhead.labels.conversation.content_form import Forms, in_form, written
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.conversation.roles import unread_role
from lmhead.labels.conversation.thoughts import opens_thought
from lmhead.labels.example import Example, MessageSpan
from lmhead.labels.offsets.fast_tokenizer import FastTokenizer
from lmhead.labels.offsets.token_bytes import TokenBytes
from lmhead.labels.template.chat_template import ChatTemplate, Message
from lmhead.labels.template.template_names import check_names
from lmhead.options import option
from lmhead.shown import shown_value

TrainOn = Literal["all", "last"]
DroppedText = Literal["refuse", "note"]


class ChatLabeler:
    """Labels conversations: `ChatLabeler(tokenizer)(messages)` is an Example.

    Learnt is what an assistant has to produce after the generation prompt: reasoning, text, calls, and the control
    token that ends its turn. A message may say `train: false` or `weight: 0.5` itself.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, or a fast tokenizer of transformers.
        chat_template: Jinja; None: the tokenizer's own.
        special_tokens: what the template may name, such as `{"bos_token": "<s>"}`; transformers' tokenizers bring them.
        template_arguments: further names that the template reads, such as `enable_thinking`.
        now: the time that `strftime_now` tells, the same for all conversations; None: when this object is made.
        train_on: all of an assistant's turns or the last one, where a message does not say.
        train_reasoning: whether an assistant's reasoning is learnt, with the tags around it.
        max_length: tokens; None: no limit.
        overflow: what becomes of a longer conversation.
        assistant_header: what stands right before an assistant's text, for a template whose generation prompt does not
            tell.
        dropped_text: what becomes of a conversation where the template leaves out a text that is not trained. A trained
            text that is missing is always refused; missing reasoning is always a note.
        stop_tokens: the tokens that end a generation, as `eos_token_id` of generation_config.json names them. One of
            them that stands behind a turn ends it, also where it opens what follows; a turn that ends otherwise is
            noted. None: not known.
        keep_probes: False: each conversation is examined anew; slower, and equal.

    Raises:
        ArgumentTypeError: the tokenizer is slow, or none.
        ArgumentError: an option breaks its rule, or the template is no Jinja.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> words = ["[U]", "[A]", "[E]", "Hi", "Hello"]
        >>> tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
        >>> _ = tokenizer.add_special_tokens(words[:3])
        >>> template = (
        ...     "{% for m in messages %}{{ '[U]' if m.role == 'user' else '[A]' }}{{ m.content }}[E]{% endfor %}"
        ...     "{% if add_generation_prompt %}[A]{% endif %}"
        ... )
        >>> label = ChatLabeler(tokenizer, chat_template=template)
        >>> label([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]).labels().tolist()
        [-100, -100, -100, -100, 4, 2]
    """

    def __init__(
        self,
        tokenizer: object,
        *,
        chat_template: str | None = None,
        special_tokens: Mapping[str, str] | None = None,
        template_arguments: Mapping[str, object] | None = None,
        now: datetime | None = None,
        train_on: TrainOn = "all",
        train_reasoning: bool = True,
        max_length: int | None = None,
        overflow: ChatOverflow = "refuse",
        assistant_header: str | None = None,
        dropped_text: DroppedText = "refuse",
        stop_tokens: Collection[str] | None = None,
        keep_probes: bool = True,
    ) -> None:
        require(train_on in ("all", "last"), option("train_on"), "be 'all' or 'last'", repr(train_on))
        require(overflow in CHAT_OVERFLOWS, "overflow", f"be one of {', '.join(CHAT_OVERFLOWS)}", repr(overflow))
        require(dropped_text in ("refuse", "note"), option("dropped_text"), "be 'refuse' or 'note'", repr(dropped_text))
        require(max_length is None or max_length >= 2, option("max_length"), "be >= 2 tokens or None", max_length)
        require(assistant_header != "", option("assistant_header"), "be a text or None", "''")
        self._tokenizer = FastTokenizer.of(tokenizer, chat_template=chat_template, special_tokens=special_tokens)
        self._added = self._tokenizer.added_tokens()
        self._control = self._tokenizer.control_tokens()
        self._token_bytes = TokenBytes(self._tokenizer.backend, self._added)
        self._atoms = Atoms(self._added.values())
        require(not isinstance(stop_tokens, str), "stop_tokens", "be a collection of tokens", repr(stop_tokens))
        self._stops = Stops(atoms=self._atoms, tokens=frozenset(stop_tokens or ()), special=frozenset(self._control))
        self._now = now or datetime.now()
        self._templates: dict[str, _Template] = {}
        self._template_arguments = dict(template_arguments or {})
        check_names(self._template_arguments, option("template_arguments"))
        self._only_last = train_on == "last"
        self._train_reasoning = train_reasoning
        self._max_length = max_length
        self._overflow = overflow
        self._assistant_header = assistant_header
        self._dropped_text = dropped_text
        self._keep_probes = keep_probes
        self.notes: Counter[str] = Counter()  # how many notes of each kind were made so far

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        template_arguments: Mapping[str, object] | None = None,
    ) -> Example:
        """The Example of one conversation.

        Args:
            messages: dicts with `role` and `content`, and what else the template reads: `reasoning_content`,
                `tool_calls`; `train`, `weight` and the other flags of turn_flags.py are for the labels.
            tools: schemas of the tools that the assistant may call.
            template_arguments: further names for this conversation alone.

        Raises:
            TemplateError: the template refuses the conversation or fails on it.
            NotTransparentError: where its texts went cannot be proven.
            ConversationError: a text is missing or misplaced in the render, or nothing is left to learn.
            ArgumentError, ArgumentTypeError: messages are not messages.
        """
        example, trained = self._whole(messages, tools, template_arguments)
        example = fitted(example, self._max_length, self._overflow, trained)
        self.notes.update(note.kind for note in example.notes)
        return example

    def whole(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        template_arguments: Mapping[str, object] | None = None,
    ) -> Example:
        """The Example of one conversation of any length, to be looked at: there may be nothing to learn in it.

        Raises as a call does, but for its length and for what is left to learn.
        """
        return self._whole(messages, tools, template_arguments)[0]

    def _whole(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        template_arguments: Mapping[str, object] | None,
    ) -> tuple[Example, list[MessageSpan]]:
        """(the Example before anything is cut off; its trained turns)."""
        conversation = Conversation.of(messages, tools)
        check_names(template_arguments or {}, option("template_arguments"))
        arguments = self._template_arguments | dict(template_arguments or {})
        template = self._template(conversation.tools is not None)
        _check_roles(conversation, template.literals)
        labelled = self._in_a_form(conversation, template, arguments)
        return labelled.example(self._tokenizer.backend, self._added, self._control, self._token_bytes)

    @property
    def train_reasoning(self) -> bool:
        """Whether an assistant's reasoning is learnt."""
        return self._train_reasoning

    def _in_a_form(
        self, conversation: Conversation, template: "_Template", arguments: dict[str, object]
    ) -> LabelledText:
        """The rendered text in the first form in which the template shows all of the conversation.

        Raises:
            ConversationError: there is none; of the form that the template reads calls in.
        """
        first: ConversationError | None = None
        for form in template.forms.of(conversation.messages):
            try:
                given = replace(conversation, messages=written(conversation.messages, form))
                return self._labelled(given, template, arguments)
            except ConversationError as error:
                first = first or error
        assert first is not None
        raise first

    def _labelled(
        self, conversation: Conversation, template: "_Template", arguments: dict[str, object]
    ) -> LabelledText:
        """The rendered text with its turns."""
        text = template.render(conversation.messages, conversation.tools, False, arguments)
        marked, rendered = _transparent(conversation, template, arguments, text)

        def render(messages: list[Message], add_generation_prompt: bool) -> str:
            return template.render(messages, marked.tools, add_generation_prompt, arguments)

        def without_tools(messages: list[Message], add_generation_prompt: bool) -> str:
            return template.render(messages, None, add_generation_prompt, arguments)

        finder = TurnFinder(
            marked=marked,
            full=rendered,
            atoms=self._atoms,
            stops=self._stops,
            assistant_header=self._assistant_header,
        )
        chosen = conversation.chosen(self._only_last)
        probes = template.probes.of(marked, repr(arguments), rendered, chosen, render, without_tools, finder.turn)
        turns = [finder.turn(index, probe) for index, probe in probes.items()]
        found = places(marked, rendered)
        notes = [note for turn in turns for note in turn.notes]
        notes += check_values(
            *(conversation, marked, rendered, found, turns),
            allowed=self._dropped_text == "note",
            prompt_thinks=lambda: template.prompt_thinks(arguments),
        )
        notes += reasoning_notes(conversation, marked, found)
        notes += guess_notes(conversation, found, turns, text, self._train_reasoning)
        return LabelledText(
            conversation=conversation,
            text=text,
            turns=turns,
            places=found,
            notes=notes,
            atoms=self._atoms,
            train_reasoning=self._train_reasoning,
        )

    def _template(self, with_tools: bool) -> "_Template":
        """The template for conversations with or without tools, compiled once."""
        source = self._tokenizer.source(with_tools)
        if source not in self._templates:
            self._templates[source] = _Template(source, self._tokenizer.special_tokens, self._now, self._keep_probes)
        return self._templates[source]


class _Template:
    """A compiled template with its marker and what is known of it. It reads contents in the form that it shows."""

    def __init__(self, source: str, special_tokens: dict[str, str], now: datetime, keep_probes: bool) -> None:
        self._compiled = ChatTemplate(source, special_tokens=special_tokens, now=now)
        self.literals = self._compiled.literals
        self.marker = Marker(self.literals, self._compiled.tested)
        self.probes = Probes(keep=keep_probes)
        self.forms = Forms(lambda messages: self._compiled.render(messages))

    def render(
        self,
        messages: list[Message],
        tools: list[Message] | None,
        add_generation_prompt: bool,
        arguments: dict[str, object],
    ) -> str:
        messages = in_form(messages, self.forms.content)
        return self._compiled.render(messages, tools=tools, add_generation_prompt=add_generation_prompt, **arguments)

    def prompt_thinks(self, arguments: dict[str, object]) -> bool:
        """Whether the generation prompt opens a thought, so that an answer begins inside of it."""
        try:
            return opens_thought(self.render([{"role": "user", "content": "?"}], None, True, arguments))
        except TemplateError:
            return False


def _check_roles(conversation: Conversation, named: Collection[str]) -> None:
    """Raise ConversationError where a role's text would be masked as somebody else's without a word."""
    for index, message in enumerate(conversation.messages):
        remedy = unread_role(message["role"], named)
        if remedy:
            rule = f"messages[{index}].role must be one that the chat template names"
            raise ConversationError(f"{rule}, got {shown_value(message['role'])}: {remedy}", kind="role")


def _transparent(
    conversation: Conversation, template: _Template, arguments: dict[str, object], text: str
) -> tuple[Marked, Rendered]:
    """The conversation with the strongest markers that its template lets through.

    Raises:
        NotTransparentError: it lets none through; of the strongest.
    """
    first: NotTransparentError | None = None
    owners: set[int] = set()
    tried: list[list[Part]] = []
    for level in LEVELS:
        marked = template.marker.marked(conversation.messages, conversation.tools, level, avoid=text)
        own = {part.leaf.message for part in marked.parts if part.leaf.message >= 0 and part.start < part.stop}
        owners |= own
        if own < owners or marked.parts in tried:
            continue  # a message without any marker would look as if its text were not there; or no text is empty
        tried.append(marked.parts)
        try:
            rendered = marked.read(template.render(marked.messages, marked.tools, False, arguments))
            check_transparent(text, rendered.text)
        except NotTransparentError as error:
            first = first or error
        except TemplateError as error:
            message = f"messages must render with markers as they do without, got a refusal: {error}"
            first = first or NotTransparentError(message)
        else:
            return marked, rendered
    assert first is not None
    raise first
