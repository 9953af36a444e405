"""MultiTokenStyle: in what the modules of published models differ, each family's settings by its name. No torch.

    family        concatenated        main states    next module reads    position 0
    deepseek_v3   embedding, hidden   normed         before its norm      embedding zeroed
    ...

Not here: the names of the weights in a checkpoint (transformers/formats/).
"""

from dataclasses import dataclass
from typing import Final, Literal

from lmhead.errors import require_choice

Kind = Literal["sequential", "recurrent", "parallel"]
KINDS: Final[tuple[Kind, ...]] = ("sequential", "recurrent", "parallel")


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTokenStyle:
    """What one family's modules do where families differ."""

    family: str | None = None  # whose names the weights get in a checkpoint; None: as `FAMILIES` says of the decoder
    order: Literal["embedding_first", "hidden_first"] = "embedding_first"  # in what eh_proj reads
    main: Literal["normed", "unnormed"] = "normed"  # the decoder's states, behind its final norm or before it
    chain: Literal["normed", "unnormed"] = "unnormed"  # a module's states that the next module reads
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
