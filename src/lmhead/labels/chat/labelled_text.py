"""From characters to tokens: a rendered conversation whose turns are known becomes an Example."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.rendered_text import Place, prefill_stop, reasoning_stretches
from lmhead.labels.chat.turns import Turn
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.example import Example, MessageSpan, Note
from lmhead.labels.offsets.token_bytes import TokenBytes
from lmhead.labels.offsets.token_map import TokenMap, tokenized
from lmhead.labels.targets import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """The render of a conversation, and in it the turns that are learnt."""

    conversation: Conversation
    text: str
    turns: list[Turn]
    places: list[Place]
    notes: list[Note]
    atoms: Atoms
    train_reasoning: bool

    def example(
        self, backend: Tokenizer, added: dict[int, str], control: set[str], token_bytes: TokenBytes
    ) -> tuple[Example, list[MessageSpan]]:
        """The Example, whole, and the spans of the turns that are learnt."""
        reason, borders = self._reason_of_characters()
        tokens = tokenized(backend, self.text, borders, added, token_bytes)
        reason_of_tokens = reason[np.minimum(tokens.anchors, len(self.text))]
        turns = {turn.index: self._span(turn.index, tokens, turn.start, turn.stop) for turn in self.turns}
        spans = self._other_spans(tokens, set(turns)) | turns
        notes = [*self.notes, *self._token_notes(tokens, control)]
        example = Example(
            ids=tokens.ids,
            trained=reason_of_tokens == int(Reason.SCORED),
            reason=reason_of_tokens,
            weight=self._weight(len(tokens.ids), turns),
            spans=tuple(spans[index] for index in sorted(spans)),
            notes=tuple(notes),
        )
        return example, list(turns.values())

    def _reason_of_characters(self) -> tuple[npt.NDArray[np.uint8], list[int]]:
        """Why each character is not learnt, and where what is learnt begins and ends."""
        reason = np.full(len(self.text) + 1, int(Reason.SCAFFOLD), np.uint8)  # one more, for tokens of no character
        borders: set[int] = set()
        for place in self.places:
            reason[place.start : place.stop] = int(self.conversation.reason(place.part.leaf.message))
        for turn in self.turns:
            start = prefill_stop(self.conversation, self.places, turn, self.text)
            reason[turn.start : start] = int(Reason.PROMPT)
            reason[start : turn.stop] = int(Reason.SCORED)
            borders |= {turn.start, start, turn.stop}
            if not self.train_reasoning:
                for begin, end in reasoning_stretches(self.conversation, self.places, turn, self.text, self.atoms):
                    reason[max(begin, start) : end] = int(Reason.REASONING)
                    borders |= {max(begin, start), max(end, start)}
        return reason, sorted(borders)

    def _span(self, index: int, tokens: TokenMap, start: int, stop: int) -> MessageSpan:
        first, last = tokens.span(start, stop)
        return MessageSpan(index=index, role=self.conversation.messages[index]["role"], start=first, stop=last)

    def _other_spans(self, tokens: TokenMap, learnt: set[int]) -> dict[int, MessageSpan]:
        """From the first to the last token of the text of each message that is not learnt."""
        extents: dict[int, tuple[int, int]] = {}
        for place in self.places:
            index = place.part.leaf.message
            if index >= 0 and index not in learnt:
                start, stop = extents.get(index, (place.start, place.stop))
                extents[index] = min(start, place.start), max(stop, place.stop)
        return {index: self._span(index, tokens, *extent) for index, extent in extents.items()}

    def _weight(self, T: int, turns: dict[int, MessageSpan]) -> npt.NDArray[np.float32] | None:
        """The weight of each token; None where no message that is learnt gives one."""
        if all(self.conversation.weight[index] == 1 for index in turns):
            return None
        weight = np.ones(T, np.float32)
        for index, span in turns.items():
            weight[span.start : span.stop] = self.conversation.weight[index]
        return weight

    def _token_notes(self, tokens: TokenMap, control: set[str]) -> list[Note]:
        notes = []
        if tokens.cuts:
            text = f"a token would have reached over the border at character {tokens.cuts[0]} of the rendered text"
            notes.append(Note(kind="regions_tokenized_apart", text=text))
        texts: dict[int, dict[int, str]] = {}
        for place in self.places:
            leaf = place.part.leaf
            texts.setdefault(leaf.message, {})[id(leaf)] = leaf.text
        for index, own in texts.items():
            imitated = sorted(set(self.atoms.controls("\n".join(own.values()))) & control)
            if imitated:
                whose = "the text holds" if index >= 0 else "what tools there are holds"
                note = f"{whose} {', '.join(imitated)}, which becomes a control token"
                about = index if index >= 0 else None
                notes.append(Note(kind="control_token_in_text", message=about, text=note))
        return notes
