"""One type: built, run as stock, patched, and run again in every way that a training or an evaluation runs it."""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from tests.models.transformers.causal_lms.build import CLASSES, build, inputs_for
from tests.models.transformers.causal_lms.exceptions import NOT_BUILT
from tests.models.transformers.causal_lms.mutants import parts_of, without
from tests.models.transformers.causal_lms.parity import TRAINED, Step, disagreement, step
from tests.nightly.causal_lms.facts import head_in_words, loss_in_words
from tests.nightly.causal_lms.verdict import Verdict
from transformers import PreTrainedModel
from transformers.utils import logging

import lmhead
from lmhead.errors import LmheadError

STOCK_ERRORS: Final = (  # what stock raises at a config, an input or an option that does not suit it
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
    *(NotImplementedError, RuntimeError, StrictDataclassError, TypeError, ValueError),
)
_ITEMS: Final = torch.tensor(37)  # a num_items_in_batch that is no count of these labels
_DEVIATIONS: Final = (None, TRAINED)
Inputs = Mapping[str, Any]


def judge(model_type: str) -> Verdict:
    """Build, patch, compare."""
    logging.set_verbosity_error()
    about = {"model_type": model_type, "class_name": CLASSES[model_type]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own
        try:
            model = build(model_type)
            model(**inputs_for(model)).loss.backward()
        except STOCK_ERRORS as error:
            return Verdict(**about, outcome="not built", said=NOT_BUILT.get(model_type) or _in_a_line(error))
        inputs, started = inputs_for(model), time.process_time()
        try:
            example, record = _patched_once(model, inputs)
        except LmheadError as refused:
            return Verdict(**about, outcome="refused", said=str(refused), head=head_in_words(model))
        seconds = time.process_time() - started
        notes = ["needs `example=batch`"] if example else []
        loss, head = loss_in_words(model, inputs), head_in_words(model)
        said = _wrong(model, inputs, example, notes)
    return Verdict(
        **about,
        outcome="wrong" if said else "parity",
        said=said or "",
        between=record,
        loss=loss,
        head=head,
        notes="; ".join(notes),
        seconds=seconds,
    )


def _patched_once(model: PreTrainedModel, inputs: Inputs) -> tuple[Inputs | None, str]:
    """(the example that it took, what lies between head and loss).

    Raises:
        LmheadError: the patch is refused.
    """
    try:
        with lmhead.patch(model) as patched:
            return None, patched.proof.record
    except LmheadError as refused:
        if "example=batch" not in str(refused):
            raise
    with lmhead.patch(model, example=inputs) as patched:
        return inputs, patched.proof.record


def _wrong(model: PreTrainedModel, inputs: Inputs, example: Inputs | None, notes: list[str]) -> str | None:
    """What differs from stock; what stock itself does not run is noted."""
    for way, given, fields in _ways(model, inputs):
        with _config_with(model, fields):
            try:
                stock = [step(model, given, deviation=deviation) for deviation in _DEVIATIONS]
            except STOCK_ERRORS as error:
                notes.append(f"stock raises {type(error).__name__} {way}")
                continue
            with lmhead.patch(model, example=example):
                patched = [step(model, given, deviation=deviation) for deviation in _DEVIATIONS]
                said = _wrong_statistics(model, inputs, patched[1]) if given is inputs and not fields else None
            again = step(model, given)
        said = said or next(
            (told for pair in zip(patched, stock, strict=True) if (told := _unlike(*pair, without="logits"))), None
        )
        if said or (said := _unlike(again, stock[0])):
            return f"{way}: {said}"
    return (
        _wrong_evaluation(model, inputs, example)
        or _slips_through(model.train(), example)
        or _wrong_in_bfloat16(model, example, notes)
    )


def _ways(model: PreTrainedModel, inputs: Inputs) -> Iterator[tuple[str, Inputs, dict[str, Any]]]:
    """(in words, the forward's keywords, fields of the config)."""
    yield "in training", inputs, {}
    yield "with num_items_in_batch", {**inputs, "num_items_in_batch": _ITEMS}, {}
    if hasattr(model.config, "output_router_logits"):
        yield "with output_router_logits", inputs, {"output_router_logits": True}


@contextmanager
def _config_with(model: PreTrainedModel, fields: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(model.config, name) for name in fields}
    for name, value in fields.items():
        setattr(model.config, name, value)
    yield
    for name, value in before.items():
        setattr(model.config, name, value)


def _unlike(found: Step, right: Step, *, without: str | None = None) -> str | None:
    if found.keys != (keys := tuple(key for key in right.keys if key != without)):
        return f"the output has {', '.join(found.keys)} for {', '.join(keys)}"
    return disagreement(found, right)


def _wrong_statistics(model: PreTrainedModel, inputs: Inputs, last: Step) -> str | None:
    """Of the last step: every label that is not ignored is counted, and their mean is the loss."""
    statistics = lmhead.last_statistics(model)
    labels, scored = inputs["labels"], int(statistics.scored.sum())
    if scored != (wanted := int((labels != lmhead.IGNORE_INDEX).sum())):
        return f"{scored} tokens are scored for {wanted}"
    mean = float(statistics.nll[statistics.scored].mean())
    return None if abs(mean - last.loss) <= 1e-5 * abs(last.loss) else f"mean nll {mean:.6g} for a loss {last.loss:.6g}"


@torch.no_grad()
def _wrong_evaluation(model: PreTrainedModel, inputs: Inputs, example: Inputs | None) -> str | None:
    """In evaluation mode a patched model's output is stock's, with labels and without."""
    model.eval()
    for way, given in (("evaluated", inputs), ("evaluated without labels", _without_labels(inputs))):
        stock = model(**given)
        with lmhead.patch(model, example=example):
            found = model(**given)
        if type(found) is not type(stock) or tuple(found) != tuple(stock):
            return f"{way}: a {type(found).__name__} of {', '.join(found)}"
        if not torch.equal(found.logits, stock.logits):
            return f"{way}: other logits"
        if stock.get("loss") is not None and not torch.allclose(found.loss, stock.loss, rtol=1e-5):
            return f"{way}: loss {float(found.loss):.6g} for {float(stock.loss):.6g}"
    return None


def _slips_through(model: PreTrainedModel, example: Inputs | None) -> str | None:
    """A patch that leaves out one of the things between head and loss has to be refused."""
    for part in parts_of(model, example=example):
        try:
            with without(part), lmhead.patch(model, example=example):
                return f"proven without its {part}"
        except lmhead.ArgumentError:
            continue
    return None


def _wrong_in_bfloat16(model: PreTrainedModel, example: Inputs | None, notes: list[str]) -> str | None:
    """The proof again; the model stays in bfloat16."""
    model.to(torch.bfloat16)
    if example is not None:
        example = {name: each.bfloat16() if each.is_floating_point() else each for name, each in example.items()}
    try:
        with lmhead.patch(model, example=example):
            return None
    except lmhead.ArgumentError as refused:
        if not str(refused).startswith("model must run on"):
            return f"in bfloat16: {refused}"
        notes.append("stock does not run in bfloat16")
        return None


def _without_labels(inputs: Inputs) -> Inputs:
    return {name: value for name, value in inputs.items() if name != "labels"}


def _in_a_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
