"""Event: something that a loss should not do, and where."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["not finite", "spike", "jump", "climb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a loss should not do."""

    kind: Kind
    step: int  # where it began
    until: int | None  # the last step of it; None: it lasts
    before: float | None  # nats: the level that it came from
    worst: float | None  # nats: the highest of it
    figure: str = "loss"
    count: int = 1  # logged steps
