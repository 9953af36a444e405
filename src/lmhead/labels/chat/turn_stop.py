"""Where generation would stop: whether the token that ends a turn ends a generation, or the next one behind it does.

GLM ends no turn: what stops its generation is `<|user|>` or `<|observation|>`, the token that opens what follows. Where
the next control token behind a turn is known to stop a generation, the assistant has to produce it.
"""

from dataclasses import dataclass

from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.example import NoteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How many characters behind a turn's last marker are the turn's; what to note of its end."""

    size: int
    notes: tuple[tuple[NoteKind, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """The tokens that a tokenizer has to end something.

    Args:
        tokens: those that are known to end a generation; empty: nothing is known.
        special: the tokenizer's special tokens. A closing tag that is none of them closes what it encloses, such as a
            call, and no turn.
    """

    atoms: Atoms
    tokens: frozenset[str]
    special: frozenset[str]

    def through_stop(self, text: str, ending: Ending) -> Ending:
        """The ending of a turn with the token that stops generation, where that is the next behind it.

        Args:
            text: what stands behind the turn's last marker, up to the next message.
        """
        last = self._last(text[: ending.size])
        if last in self.tokens:
            return ending
        behind = self.atoms.through_first_control(text[ending.size :])
        if behind.strip() in self.tokens:
            return Ending(size=ending.size + len(behind))
        kinds = [kind for kind, _ in ending.notes]
        if "no_terminator" in kinds:
            return ending
        if last.startswith("</") and last not in self.special:
            return Ending(
                size=ending.size, notes=(("no_terminator", f"{last} alone ends the turn, and closes a part"),)
            )
        if not self.tokens or not last:
            return ending
        note = f"ends with {last}, at which no generation stops: it stops at {', '.join(sorted(self.tokens))}"
        return Ending(size=ending.size, notes=(*ending.notes, ("no_stop", note)))

    def _last(self, text: str) -> str:
        """The control token that a text ends with; empty where it ends with none."""
        controls = self.atoms.controls(text)
        return controls[-1] if controls and text.endswith(controls[-1]) else ""
