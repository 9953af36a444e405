"""Findings about a tokenizer beside its chat template: where generation stops, padding, BOS."""

from collections.abc import Iterator

from lmhead.data.sets.refusals import FILE
from lmhead.inspection.doctor.examined_template import ExaminedTemplate
from lmhead.inspection.doctor.probe import TemplateFacts
from lmhead.inspection.finding import Finding, Severity
from lmhead.inspection.remedies import OWN_PADDING, RENDERED, STOP_AT_BOTH


def tokenizer_findings(template: ExaminedTemplate, facts: TemplateFacts, *, chat: bool) -> Iterator[Finding | None]:
    """Every finding about the tokenizer. `chat`: there are conversations, or no data at all."""
    if chat:
        yield _no_template(template)
        yield _new_tokens(template)
        yield _generation_goes_on(template, facts)
        yield _ends_differ(template, facts)
        yield _bos(template, facts)
    yield _pad_is_end(template, facts, chat)


def stops(template: ExaminedTemplate) -> frozenset[str]:
    """The tokens at which generation stops: those of generation_config.json or config.json, else the eos_token."""
    files = template.recipe.tokenizer
    ids = [template.backend.id_to_token(number) for number in files.generation_eos or files.model_eos]
    named = [files.special_tokens[name] for name in ("eos_token",) if name in files.special_tokens]
    return frozenset(token for token in ids if token) or frozenset(named)


def _ends(facts: TemplateFacts) -> list[str]:
    """The tokens that end a turn, the last one's first."""
    return [token for token in dict.fromkeys((facts.end_of_last, facts.end_of_earlier)) if token]


def _no_template(template: ExaminedTemplate) -> Finding | None:
    recipe = template.recipe
    if not recipe.built_in or recipe.config.template is not None:
        return None
    return _finding(
        "no_chat_template",
        "info",
        "the tokenizer brings no chat template: ChatML is used",
        f"right for a model that starts from nothing; for a trained one give its own template ({FILE})",
    )


def _new_tokens(template: ExaminedTemplate) -> Finding | None:
    """The built-in template needs tokens that the tokenizer has not."""
    added = template.recipe.added_tokens
    if not added:
        return None
    return _finding(
        "new_tokens",
        "warning",
        f"the tokenizer has no {' and no '.join(added)}, which ChatML needs: new ids are given",
        "right for a model that starts from nothing; the embeddings of a trained one have to be resized",
    )


def _generation_goes_on(template: ExaminedTemplate, facts: TemplateFacts) -> Finding | None:
    """A turn's end is no token that stops generation."""
    ends, stop = _ends(facts), stops(template)
    if not ends or stop.intersection(ends) or (not stop and template.recipe.built_in):
        return None  # where nothing else is said, the built-in template's end is the one to stop at
    said = f"generation stops at {_listed(stop)} alone" if stop else "no eos_token tells generation where to stop"
    return _finding(
        "eos_differs",
        "warning",
        f"the chat template ends a turn with {ends[0]}, and {said}: it would go on behind the answer",
        f"for a trained model add the id of {ends[0]} to eos_token_id of generation_config.json, unless it was trained "
        "with another template; for one that starts from nothing make it the eos_token",
    )


def _ends_differ(template: ExaminedTemplate, facts: TemplateFacts) -> Finding | None:
    ends, stop = _ends(facts), stops(template)
    if len(ends) < 2:
        return None
    all_stop = stop.issuperset(ends)
    return _finding(
        "terminator_differs",
        "info" if all_stop else "warning",
        f"the chat template ends the last turn with {ends[0]}, and earlier ones with {ends[1]}"
        + ("" if all_stop or not stop else f"; generation stops at {_listed(stop)} alone"),
        STOP_AT_BOTH,
    )


def _bos(template: ExaminedTemplate, facts: TemplateFacts) -> Finding | None:
    """What happens to a rendered text that somebody tokenises with special tokens."""
    files = template.recipe.tokenizer
    bare = template.backend.encode("a", add_special_tokens=False).ids
    added = template.backend.encode("a", add_special_tokens=True).ids
    before = added[: added.index(bare[0])] if bare and bare[0] in added and len(added) > len(bare) else []
    bos = template.backend.id_to_token(before[0]) if before else None
    if files.add_bos and bos is None:
        bos = files.special_tokens.get("bos_token")
    if bos is None:
        return None
    if facts.first_token == bos:
        return _finding(
            "double_bos",
            "warning",
            f"the chat template writes {bos}, and the tokenizer adds another: a rendered text that is tokenised begins "
            "with two",
            f"none is added here; elsewhere {RENDERED}",
        )
    return _finding(
        "no_bos",
        "info",
        f"the tokenizer puts {bos} before a text, and the chat template writes none: conversations begin without",
        "right if inference renders with this template too; else let the template write {{ bos_token }}",
    )


def _pad_is_end(template: ExaminedTemplate, facts: TemplateFacts, chat: bool) -> Finding | None:
    named = template.recipe.tokenizer.special_tokens
    pad = named.get("pad_token")
    ends = [*([named["eos_token"]] if "eos_token" in named else []), *(_ends(facts) if chat else [])]
    if pad is None or pad not in ends:
        return None
    return _finding(
        "pad_equals_eos",
        "warning",
        f"padding and the end of a {'turn' if chat and pad in _ends(facts) else 'text'} are one token, {pad}: a "
        "collator that masks padding by its id hides the end from the loss, and the model does not learn to stop",
        f"{OWN_PADDING}; here padding is told by its place, and the end is learnt",
    )


def _listed(tokens: frozenset[str]) -> str:
    return " and ".join(sorted(tokens))


def _finding(code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, count=1, message=message, remedy=remedy)
