"""Padding probes: rows that are padded at the right or at the left must be read as they are without padding."""

from typing import Final

from lmhead.evaluation.audit.audited_model import AuditedModel
from lmhead.evaluation.audit.probe_result import Change, Fault, ProbeResult
from lmhead.evaluation.audit.readings import Nll, Side, Told, read_padded
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

_SEEN_UNTOLD: Final = Fault(
    code="padding_seen",
    message="tokens follow what stands behind them, in the padding at the right: attention is not causal, or something "
    "is normalised over all positions of a row",
    remedy="mask attention causally, and normalise each position by itself; as it is, read one document at a time",
)
_SEEN: Final = Fault(
    code="padding_seen",
    message="tokens follow the ids in the padding: attention sees it",
    remedy="give attention_mask to every layer's attention, as 0 where there is padding; pad at the right, where a "
    "causal model cannot see it, or read documents of one length together",
)
_POSITIONS: Final = Fault(
    code="positions_not_restarted",
    message="tokens do not follow the ids in the padding, but where a row begins behind it: positions do not restart",
    remedy="number positions from the first token, (attention_mask.cumsum(-1) - 1).clamp(min=0), and see that the "
    "model uses position_ids; or pad at the right",
)


def padding_probes(audited: AuditedModel) -> list[ProbeResult]:
    """At the right, as evaluations here do, and with a mask; at the left, where positions restart; and where not."""
    found = [_probe(audited, "padding right, not told", "right", "nothing")]
    found.append(_probe(audited, "padding right, mask", "right", "mask and positions"))
    found.append(_probe(audited, "padding left, mask", "left", "mask and positions"))
    main = audited.reader.main
    if isinstance(main, PretrainedCausalLM) and main.takes_positions:
        found.append(_without_positions(audited))
    return found


def _without_positions(audited: AuditedModel) -> ProbeResult:
    """As most call a model: with a mask, which must hide the padding; positions are theirs to give."""
    name, nll = "padding left, mask alone", _read(audited, "left", "mask", 0)
    change = Change.between(audited.rows, audited.alone, nll)
    if change.largest <= audited.tolerance:
        return ProbeResult.may_change(name, change, audited.tolerance)
    if _follows_padding(audited, "left", "mask", nll):
        return ProbeResult.must_not_change(name, change, audited.tolerance, _SEEN)
    note = "its positions are absolute: give position_ids with padding at the left, as `generate` does"
    return ProbeResult.may_change(name, change, audited.tolerance, note)


def _probe(audited: AuditedModel, name: str, side: Side, told: Told) -> ProbeResult:
    nll = _read(audited, side, told, 0)
    change = Change.between(audited.rows, audited.alone, nll)
    fault = _SEEN_UNTOLD if told == "nothing" else _SEEN
    if change.largest > audited.tolerance and told != "nothing" and not _follows_padding(audited, side, told, nll):
        fault = _POSITIONS
    return ProbeResult.must_not_change(name, change, audited.tolerance, fault)


def _read(audited: AuditedModel, side: Side, told: Told, pad_id: int) -> Nll:
    return audited.read(
        lambda rows: read_padded(audited.reader, rows, side=side, told=told, pad_id=pad_id), size=audited.at_once
    )


def _follows_padding(audited: AuditedModel, side: Side, told: Told, nll: Nll) -> bool:
    """Whether other ids in the padding give tokens other scores."""
    return Change.between(audited.rows, nll, _read(audited, side, told, 1)).largest > audited.tolerance
