"""Findings about rows once they are labelled: notes of the labeler, and what a length would cut."""

from collections.abc import Iterator
from typing import Final

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.tally import Tally
from lmhead.inspection.doctor.statistics import Lengths, Statistics
from lmhead.inspection.finding import Finding, Severity, counted_rows
from lmhead.inspection.remedies import STOP_AT_BOTH
from lmhead.options import option

_REFUSE: Final = option("dropped_text", "refuse")
# code -> severity, message, remedy. A code in _OF_TEMPLATE is left out where the template's own finding has told it.
_NOTES: Final[dict[str, tuple[Severity, str, str]]] = {
    "control_token_in_text": (
        "warning",
        "a text becomes control tokens in {rows}: {first}",
        "who writes it in a question can speak for the assistant: take it out of the data, or let it be if it is meant",
    ),
    "rendered_text": (
        "error",
        "a text begins with a control token in {rows}, as a rendered conversation does, and is split into characters "
        "there: {first}",
        "write the conversation as messages, and let the chat template render it; or take the tokens out of the text",
    ),
    "control_token_as_text": (
        "warning",
        "control tokens are written in {rows}, where they stay plain text: {first}",
        "a rendered conversation belongs in messages, with its chat template",
    ),
    "prompt_not_prefix": (
        "warning",
        "the tokens of the prompt do not begin those of prompt and completion in {rows}",
        "here the two are tokenised apart, as inference does; who masks by the prompt's length masks wrongly: "
        "end a prompt without a space, and begin its completion with it",
    ),
    "regions_tokenized_apart": (
        "info",
        "a token would reach over the border of an answer in {rows}",
        "the two sides are tokenised apart, as inference does; who masks by offsets of the whole text masks wrongly",
    ),
    "message_dropped": (
        "warning",
        "the chat template leaves a text out in {rows}: {first}",
        f"take a template that renders it, or give {_REFUSE}, so that such rows are not trained",
    ),
    "reasoning_dropped": (
        "warning",
        "the chat template leaves out reasoning in {rows}",
        "it is not learnt there: take a template that keeps it, or make a row of each answer",
    ),
    "reasoning_guessed": (
        "warning",
        "a tag without its partner decides what is reasoning in {rows}: {first}",
        "write reasoning as reasoning_content, or with both of its tags at the beginning of the content",
    ),
    "python_text": (
        "warning",
        "the chat template writes what Python's repr makes of it, not text or JSON, in {rows}: {first}",
        "take a template that writes JSON (`| tojson`), or let it be if inference does so too",
    ),
    "printed_block": (
        "warning",
        "the chat template writes a block of a content as JSON in {rows}: {first}",
        "write these blocks as text, or take a template that reads blocks",
    ),
    "null_dropped": (
        "info",
        "the chat template leaves out an argument that is null in {rows}: {first}",
        "leave such arguments out of the data if they mean nothing",
    ),
    "no_features": (
        "warning",
        "an image, a sound or a file is part of a prompt in {rows}: {first}",
        f"a model of text gets nothing of it: give {_REFUSE}, so that such rows are not trained",
    ),
    "no_end_token": (
        "error",
        "no control token ends an assistant's turn in {rows}",
        "the model would not learn to stop there: let the template write behind every turn the token at which "
        "generation stops",
    ),
    "no_stop": (
        "warning",
        "a turn ends at no token that stops a generation in {rows}: {first}",
        "for a trained model add that token's id to eos_token_id of generation_config.json, or let the template end "
        "the turn with one that is there; for one that starts from nothing make it the eos_token",
    ),
    "generation_prompt_differs": (
        "warning",
        "inference would begin a turn with other text than the training text has in {rows}: {first}",
        f"make the two agree in the template, or by what it reads ({option('template_arguments')})",
    ),
    "terminator_differs": (
        "info",
        "a turn ends otherwise where it is the last, in {rows}: {first}",
        STOP_AT_BOTH,
    ),
}
_OF_TEMPLATE: Final = {
    "message_dropped": ("system_prompt_dropped", "tools_dropped"),
    "reasoning_dropped": ("reasoning_dropped", "reasoning_dropped_earlier"),
    "no_end_token": ("no_end_token",),
    "no_stop": ("eos_differs", "terminator_differs"),
    "generation_prompt_differs": ("generation_prompt_differs",),
    "terminator_differs": ("terminator_differs",),
}


def note_findings(found: Tally, told: frozenset[str]) -> Iterator[Finding | None]:
    """Findings about notes; `told` are the codes of what the template's findings say of some row already."""
    for code, (severity, message, remedy) in _NOTES.items():
        if not told.intersection(_OF_TEMPLATE.get(code, ())):
            yield Finding.counted(code, severity, found, message, remedy)


def length_findings(lengths: Lengths, sums: Statistics, found: Tally, config: ChatConfig) -> Iterator[Finding | None]:
    """Rows that are longer than the length, and those of which it leaves nothing to learn."""
    cut, refused = sums.cut, config.overflow == "refuse"
    stops = refused and config.on_error == "stop"
    longest, place = lengths.longest
    if cut.rows:
        share = cut.trained / sums.trained if sums.trained else 0.0
        would = "they are refused" if refused else f"the {cut.side} is cut off"
        yield Finding(
            code="too_long",
            severity="error" if stops else "warning",
            count=cut.rows,
            places=found.places("too_long"),
            message=f"{counted_rows(cut.rows)} of more than {cut.length:,} tokens, the longest {longest:,} at {place}: "
            f"{would}; cut, they would lose {cut.trained:,} tokens that are learnt ({share:.1%})",
            remedy=f"give a larger {option('length')}, or {option('overflow', 'truncate_end')} or truncate_start"
            if refused
            else f"give a larger {option('length')}, or cut the rows where it hurts least",
        )
    yield Finding.counted(
        "answer_truncated",
        "error",
        found,
        f"cut to {cut.length:,} tokens at the {cut.side}, nothing is left to learn of {{rows}}: {{first}}",
        f"give a larger {option('length')}, cut the other side ({option('overflow')}), or shorten what stands before "
        "the answer",
    )


def end_findings(found: Tally) -> Iterator[Finding | None]:
    """Texts that nothing ends."""
    yield Finding.counted(
        "end_not_trained",
        "error",
        found,
        "nothing ends the text or completion of {rows}: the tokenizer has no end-of-text token, and the model would "
        "not learn to stop",
        "name one as eos_token in tokenizer_config.json, or add <|endoftext|> to the tokenizer",
    )
