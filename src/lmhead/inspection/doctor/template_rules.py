"""Findings about a chat template, one function each. What concerns no row of the data is not told.

`usage` counts the rows that have a system prompt, tools, reasoning, or a note of the labeler; None: there is no data,
and the template is judged for any.
"""

from collections.abc import Iterator
from typing import Final

from lmhead.data.labelling.tally import Tally
from lmhead.data.sets.refusals import CHATML, FILE, FILE_OR_CHATML
from lmhead.inspection.doctor.probe import TemplateFacts
from lmhead.inspection.finding import Finding, Severity, counted_rows
from lmhead.options import option

_ARGUMENTS: Final = '{"enable_thinking": false}'
_OTHER_TEMPLATE: Final = f"take a template that keeps it ({FILE_OR_CHATML})"


def template_findings(facts: TemplateFacts, usage: Tally | None, *, date_given: bool) -> Iterator[Finding | None]:
    """Every finding about the template."""
    if facts.failure is not None:
        yield _unusable(facts)
    else:
        yield _system(facts, usage)
        yield _tools(facts, usage)
        yield from _reasoning(facts, usage)
        yield _unended(facts, usage)
        yield _prompt_differs(facts, usage)
        yield _split(facts, usage)
        yield _own_prompt(facts, usage)
        yield from _refusals(facts, usage)
        yield _wants_tools(facts, usage)
    if facts.dated and not date_given:
        yield _dated(usage)


def _unusable(facts: TemplateFacts) -> Finding:
    assert facts.failure is not None
    message = f"the chat template cannot be used even for a question and its answer: {facts.failure.message.marked}"
    code, remedy = {
        "not_transparent": (
            "template_not_provable",
            f"give a template that renders texts as they are ({FILE})",
        ),
        "generation_prompt": (
            "generation_prompt_disagrees",
            "make its generation prompt what it writes before an assistant's text, or tell that by "
            f"{option('assistant_header')}",
        ),
        "dropped_text": (
            "template_drops_answers",
            f"give a template that renders an assistant's text ({FILE})",
        ),
    }.get(facts.failure.kind, ("template_unusable", f"mend the template, or give another ({FILE_OR_CHATML})"))
    return Finding(code=code, severity="error", count=1, message=message, remedy=remedy)


def _system(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if facts.system == "kept":
        return None
    if facts.system == "refused":
        said = facts.refused["system"]
        remedy = f"put its text in front of the first user's message, or take another template ({FILE})"
        return _found("system_prompt_refused", usage, "system", "info", f"refuses system prompts: {said}", remedy)
    when = " whenever a conversation ends with an assistant's turn, as those do that are trained"
    return _found(
        "system_prompt_dropped",
        usage,
        "system",
        "error",
        f"drops the system prompt{when if facts.system_before_answer else ''}",
        f"put its text in front of the first user's message, or {_OTHER_TEMPLATE}",
    )


def _tools(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if facts.tools == "kept":
        return None
    if facts.tools == "refused":
        said = facts.refused["tools"]
        return _found(
            "tools_refused",
            usage,
            "tools",
            "info",
            f"refuses calls of tools: {said}",
            "take a template that knows them",
        )
    message = "drops tools or calls of tools"
    return _found("tools_dropped", usage, "tools", "info", message, _OTHER_TEMPLATE)


def _reasoning(facts: TemplateFacts, usage: Tally | None) -> Iterator[Finding | None]:
    for where, name, alone in (
        ("field", "reasoning_content", "write it into the content between <think> and </think>, or "),
        ("inline", "reasoning between <think> and </think>", ""),
    ):
        found = facts.reasoning.get(where)
        if found is None or not (found.last or found.earlier):
            continue
        if found.last:
            always: Severity = "info" if where == "field" else "warning"
            message = f"drops {name} even in the last turn: it is not learnt"
            use = f"reasoning_{where}"
            yield _found("reasoning_dropped", usage, use, always, message, f"{alone}{_OTHER_TEMPLATE}", data="error")
        else:
            message = f"drops {name} in all turns but the last"
            remedy = "that is how such models are prompted; to learn it all, make a row of each answer"
            use = f"earlier_reasoning_{where}"
            yield _found("reasoning_dropped_earlier", usage, use, "info", message, remedy, data="info")


def _unended(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if not facts.unended:
        return None
    end = facts.end_of_earlier if facts.unended == "the last" else facts.end_of_last
    if end is None:
        what = "ends an assistant's turn with no control token: the model would not learn to stop"
        remedy = (
            "write one behind the turn: for a trained model the token at which its generation stops, for one that "
            "starts from nothing {{ eos_token }} or another that becomes it "
            f"(or {CHATML})"
        )
    else:
        which = {"the last": "the last assistant's turn", "an earlier": "an assistant's turn before the last"}
        what = f"ends {which[facts.unended]} with no control token, and others with {end}: only these teach to stop"
        behind = "the last turn" if facts.unended == "the last" else "every turn of the assistant's"
        remedy = (
            f"for a trained model let the template write {end} behind {behind} too (a copy of it, by {FILE}); "
            f"for one that starts from nothing {CHATML} will do"
        )
    return _found("no_end_token", usage, "noted_no_terminator", "error", what, remedy)


def _prompt_differs(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if not facts.prompt_differs:
        return None
    return _found(
        "generation_prompt_differs",
        usage,
        "noted_generation_prompt_differs",
        "warning",
        f"prompts otherwise than it trains: {facts.prompt_differs}",
        f"make the two agree in the template, or by what it reads ({option('template_arguments', _ARGUMENTS)})",
    )


def _split(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if not facts.split:
        return None
    return _found(
        "control_token_split",
        usage,
        "chat",
        "warning",
        f"writes {', '.join(facts.split)}, which the tokenizer splits",
        "add it to the tokenizer as a special token and resize the model's embeddings, or take the template of the "
        "tokenizer's own model",
    )


def _own_prompt(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if not facts.own_prompt:
        return None
    message = f"writes a system prompt of its own where a conversation has none: {shortened(facts.own_prompt)!r}"
    remedy = "right for a model that was trained with it; else give a system prompt in the data"
    return _found("default_system_prompt", usage, "chat", "info", message, remedy, data="info")


def _refusals(facts: TemplateFacts, usage: Tally | None) -> Iterator[Finding | None]:
    refused = facts.refused
    for name, what in (("consecutive", "turns of one role in a row"), ("assistant_first", "an assistant's turn first")):
        if name not in refused:
            continue
        if usage is None and name == "assistant_first" and refused[name] == refused.get("consecutive"):
            continue  # one rule: roles alternate, a user's is the first
        code = "consecutive_roles_refused" if name == "consecutive" else "assistant_first_refused"
        message = f"refuses {what}: {refused[name]}"
        yield _found(code, usage, f"uses_{name}", "info", message, "join such turns, or add the one that is missing")


def _wants_tools(facts: TemplateFacts, usage: Tally | None) -> Finding | None:
    if not facts.wants_tools:
        return None
    message = "fails on conversations without tools"
    remedy = f"give it as the template for tools, beside one for other conversations, or take another ({FILE})"
    return _found("template_wants_tools", usage, "without_tools", "warning", message, remedy, data="error")


def _dated(usage: Tally | None) -> Finding | None:
    return _found(
        "template_depends_on_date",
        usage,
        "chat",
        "warning",
        "writes today's date: another day gives other tokens, and every row has the day of its labelling",
        f"give the day by {option('date', 'YYYY-MM-DD')}, the same for every run",
    )


def _found(
    code: str,
    usage: Tally | None,
    use: str,
    severity: Severity,
    what: str,
    remedy: str,
    *,
    data: Severity | None = None,
) -> Finding | None:
    """A finding about the template; None where there is data, and none of its rows is concerned.

    Args:
        use: what rows have that are concerned.
        severity: where there is no data.
        data: where rows are concerned; None: as an error where texts are lost or refused, else as without data.
    """
    message = f"the chat template {what}"
    if usage is None:
        return Finding(code=code, severity=severity, count=1, message=message, remedy=remedy)
    count = usage.counts[use]
    if not count:
        return None
    loses = code.endswith(("_dropped", "_refused"))
    return Finding(
        code=code,
        severity=data or ("error" if loses else severity),
        count=count,
        places=usage.places(use) if use != "chat" else (),
        message=f"{message}: {counted_rows(count)}" if use != "chat" else message,
        remedy=remedy,
    )


def shortened(text: str, most: int = 60) -> str:
    """A text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
