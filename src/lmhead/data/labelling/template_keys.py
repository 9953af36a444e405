"""Keys of messages that a chat template reads, so that they are no keys that nothing reads."""

from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.recipe import Recipe
from lmhead.errors import ArgumentError, ArgumentTypeError, TemplateError
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.template.chat_template import ChatTemplate
from lmhead.labels.template.sandbox_budget import PatienceError, briefly


def without_those_of_templates(unread: Unread, recipe: Recipe) -> None:
    """Forget the keys of messages that the chat template reads: it names them, or its render shows that it does."""
    if not unread.keys:
        return
    files = recipe.tokenizer
    sources = {source for source in (files.chat_template, files.tool_template) if source is not None}
    try:
        templates = [ChatTemplate(each, special_tokens=files.special_tokens, now=recipe.now) for each in sources]
    except ArgumentError:
        return  # whoever labels with it says so
    named = frozenset[str]().union(*(template.names for template in templates))
    for key in list(unread.keys):
        if key in named or any(_shows(template, unread, key, recipe) for template in templates):
            del unread.keys[key]


def _shows(template: ChatTemplate, unread: Unread, key: str, recipe: Recipe) -> bool:
    """Whether a conversation renders otherwise without the key: a template may walk over all keys of a message."""
    sample = unread.met.get(key)
    if sample is None:
        return False
    without = [{name: item for name, item in message.items() if name != key} for message in sample.messages]
    texts = []
    for messages in (sample.messages, without):
        try:
            given = Conversation.of(messages, sample.tools)
            with briefly():
                arguments = {**recipe.template_arguments, **sample.template_arguments}
                texts.append(template.render(given.messages, tools=given.tools, **arguments))
        except (TemplateError, ArgumentError, ArgumentTypeError, PatienceError):
            return False
    return texts[0] != texts[1]
