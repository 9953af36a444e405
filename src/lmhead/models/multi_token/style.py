"""MultiTokenStyle: in what the modules of published models differ, each family's settings by its name. No torch.

    family        concatenated        main states    next module reads    position 0          denominator
    deepseek_v3   embedding, hidden   normed         before post_norm     embedding zeroed    main (the report's T)
    glm4_moe      embedding, hidden   normed         behind post_norm     as the others       own
    qwen3_next    embedding, hidden   normed         behind post_norm     as the others       own
    mellum        embedding, hidden   normed         behind post_norm     as the others       own
    mimo          hidden, embedding   unnormed       behind post_norm     embedding zeroed    own

Engines differ too: of GLM's modules vLLM reads before post_norm and zeroes position 0, as DeepSeek's; transformers and
SGLang do what the table says. With one module that is drafted from once only position 0 differs.
Not here: the names of the weights in a checkpoint (transformers/formats/), which decoders a family can hold
(family.py).
"""

import difflib
from dataclasses import dataclass
from typing import Final, Literal

from lmhead.errors import ArgumentError, require_choice
from lmhead.options import option

Kind = Literal["sequential", "recurrent", "parallel"]
KINDS: Final[tuple[Kind, ...]] = ("sequential", "recurrent", "parallel")
_FAMILIES: Final = ("deepseek_v3", "glm4_moe", "qwen3_next", "mellum", "mimo")


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTokenStyle:
    """What one family's modules do where families differ."""

    family: str | None = None  # whose names the weights get in a checkpoint; None: as `family.family_of` says
    order: Literal["embedding_first", "hidden_first"] = "embedding_first"  # in what eh_proj reads
    main: Literal["normed", "unnormed"] = "normed"  # the decoder's states, behind its final norm or before it
    chain: Literal["normed", "unnormed"] = "normed"  # a module's states that the next module reads
    zero_first: bool = False  # the embedding that a document's position 0 reads is 0
    denominator: Literal["own", "main"] = "own"  # of a depth's mean, as in DepthWeighting

    def __post_init__(self) -> None:
        for name, choices in (
            ("order", ("embedding_first", "hidden_first")),
            ("main", ("normed", "unnormed")),
            ("chain", ("normed", "unnormed")),
            ("denominator", ("own", "main")),
        ):
            require_choice(name, getattr(self, name), choices)
        if self.family is not None:
            require_family(self.family)


def require_family(family: str) -> None:
    """Refuse a family that there is not, and suggest the nearest.

    Raises:
        ArgumentError: it is none.
    """
    if family not in _FAMILIES:
        close = difflib.get_close_matches(str(family).lower().replace("-", "_"), _FAMILIES, n=1, cutoff=0.4)
        raise ArgumentError(
            f"{option('family')} must be one of {', '.join(_FAMILIES)}, got {family!r}"
            + (f": did you mean {close[0]}?" if close else "")
        )


FAMILIES: Final[dict[str, MultiTokenStyle]] = {
    style.family: style
    for style in (
        MultiTokenStyle(family="deepseek_v3", chain="unnormed", zero_first=True, denominator="main"),
        MultiTokenStyle(family="glm4_moe"),
        MultiTokenStyle(family="qwen3_next"),
        MultiTokenStyle(family="mellum"),
        MultiTokenStyle(family="mimo", order="hidden_first", main="unnormed", zero_first=True),
    )
    if style.family is not None
}
