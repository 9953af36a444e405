"""Findings about a conversation's turns, whatever becomes of its labels: the wording of each oddity."""

from collections.abc import Iterator
from typing import Final

from lmhead.data.labelling.conversation_facts import Oddity
from lmhead.data.labelling.tally import Tally
from lmhead.inspection.finding import Finding, Severity
from lmhead.options import option

# code -> severity, message, remedy. `{rows}` and `{first}` are how many rows, and what to show of the first.
ODDITIES: Final[dict[Oddity, tuple[Severity, str, str]]] = {
    "empty_answer": (
        "warning",
        "an assistant's turn is empty in {rows}, {first} of the first",
        'the model would learn to end at once: leave the row out, or write "train": false in that message',
    ),
    "assistant_first": (
        "warning",
        "an assistant's turn comes before any question in {rows}",
        'add what it answers, or write "train": false in that message',
    ),
    "consecutive_roles": (
        "warning",
        "two turns of one role follow each other in {rows}, in the first {first}",
        "join them, or find the turn that was lost between them; many chat templates refuse such rows",
    ),
    "no_last_answer": (
        "warning",
        "nothing is learnt of what follows the last answer in {rows}; the first ends with a turn of {first}",
        "cut the conversation behind the last answer, or find the answer that was lost",
    ),
    "unknown_role": (
        "warning",
        "a role is none of system, developer, user, assistant and tool in {rows}, the first {first}",
        "nothing of such a turn is learnt, and few chat templates render it: rename the role",
    ),
    "calls_without_tools": (
        "warning",
        "tools are called in {rows} that name no tools",
        "give the tools' schemas in a column `tools`, as inference will",
    ),
    "late_system_prompt": (
        "info",
        "a system prompt stands behind other turns in {rows}, {first} of the first",
        f"many chat templates drop it there: look at the tokens with {option('show', 1)}",
    ),
}


def oddity_findings(found: Tally) -> Iterator[Finding | None]:
    """A finding for each oddity that was met."""
    for code, (severity, message, remedy) in ODDITIES.items():
        yield Finding.counted(code, severity, found, message, remedy)
