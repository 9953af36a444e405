"""The texts of samples as a tokenizer meets them, without the control tokens that stand between them."""

import re
from collections.abc import Iterable, Iterator

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample, TokenSample
from lmhead.data.tokenizer.chatml import CHATML, CHATML_TOKENS
from lmhead.errors import ArgumentError, ArgumentTypeError, TemplateError
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.template.chat_template import ChatTemplate

_CONTROL = re.compile("|".join(re.escape(token) for token in CHATML_TOKENS))


def message_texts(samples: Iterable[Sample]) -> Iterator[list[str]]:
    """The texts of each sample; of conversations as ChatML writes them, roles and calls included.

    What cannot be rendered has none: its labels are refused later, with the reason.
    """
    template = ChatTemplate(CHATML)
    for sample in samples:
        match sample:
            case ChatSample():
                yield [text for text in _CONTROL.split(_rendered(template, sample)) if text]
            case CompletionSample():
                yield [sample.prompt, sample.completion]
            case TextSample():
                yield [sample.text]
            case TokenSample():
                yield []


def _rendered(template: ChatTemplate, sample: ChatSample) -> str:
    try:
        given = Conversation.of(sample.messages, sample.tools)
        return template.render(given.messages, tools=given.tools, **sample.template_arguments)
    except (TemplateError, ArgumentError, ArgumentTypeError):
        return ""
