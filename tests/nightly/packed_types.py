"""The nightly command: which types keep the documents of a packed row apart, and which are sampled through a cache.

    python -m tests.nightly.packed_types [TYPE ...]

Every type of causal LM that can be built is wrapped in a PretrainedCausalLM, whose losses are compared with those of
its own logits. Status 1 where one differs, or where fewer types keep documents apart than did.
"""

import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence

import torch
import transformers
from tests.models.transformers.causal_lms.build import CLASSES, build
from tests.nightly.causal_lms.judge import STOCK_ERRORS
from transformers.utils import logging

from lmhead.errors import LmheadError
from lmhead.inspection.isolation.mixed_documents import why_documents_mix
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.models.transformers.cached_reader import CachedReader
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

APART = {"5.23.0": 124}  # types that are trained on packed rows
LENGTH = 48  # tokens of a row


def main(types: Sequence[str]) -> int:
    """Print what became of each type; 0 where all is as it was."""
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")  # transformers' own
    found: dict[str, list[str]] = defaultdict(list)
    for model_type in types or list(CLASSES):
        for outcome in outcomes(model_type):
            found[outcome].append(model_type)
    for outcome, names in sorted(found.items()):
        print(f"{outcome} ({len(names)}): {', '.join(names)}")
    apart = len(found["apart, by positions"]) + len(found["apart, by masks"])
    return int(bool(found["WRONG LOSS"]) or (not types and apart < APART.get(transformers.__version__, 0)))


def outcomes(model_type: str) -> list[str]:
    """What is found of one type."""
    try:
        stock = build(model_type).eval()
    except STOCK_ERRORS:
        return ["not built"]
    try:
        model = PretrainedCausalLM(stock)
    except LmheadError as refused:
        return [f"refused: {refused}"]
    ids = torch.randint(4, 88, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = cross_entropy(model(ids).float(), ids.roll(-1, 1), reduction="none")
        loss = model.loss(ids, ids.roll(-1, 1), reduction="none")
        for parameter in stock.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)  # freshly made, attention hardly matters
    read = "sampled through its cache" if isinstance(model.reader(9), CachedReader) else "sampled by reading anew"
    why = why_documents_mix(model, length=min(LENGTH, model.max_seq_len))
    packed = f"apart, by {model.tells_documents_by}" if why is None else "documents mix"
    return [packed, read, *([] if torch.allclose(loss, exact, rtol=1e-4, atol=1e-4) else ["WRONG LOSS"])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
