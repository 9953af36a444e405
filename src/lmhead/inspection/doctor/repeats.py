"""Duplicates: rows that say again what an earlier one said, told by 16 bytes of a hash: rows are not kept."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample
from lmhead.data.labelling.conversation_facts import text_of
from lmhead.data.labelling.tally import SHOWN, Tally
from lmhead.data.rows.row import Place
from lmhead.inspection.doctor.template_rules import shortened
from lmhead.inspection.finding import Finding, counted_rows
from lmhead.labels.conversation.conversation import ASSISTANT

MOST: Final = 1_000_000  # rows that are kept in mind, about 200 bytes each
_OFTEN_SHARE: Final = 0.05  # of the rows, from which on one answer is told
_OFTEN: Final = 10  # rows, from which on one answer is told


class Repeats:
    """Finds rows that are equal, rows of one prompt with other answers, and an answer that many rows share."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._rows = 0
        self._seen: set[bytes] = set()
        self._answer_to: dict[bytes, bytes] = {}
        self._answers: Counter[bytes] = Counter()
        self._often: dict[bytes, tuple[str, list[Place]]] = {}
        self.found = Tally()

    def look_at(self, sample: Sample) -> None:
        """Count a row; those behind the first `most` are not looked at."""
        if self._rows >= self._most:
            return
        self._rows += 1
        prompt, answer = _parts(sample)
        asked, answered = _digest(prompt), _digest(answer)
        own = hashlib.blake2b(asked + answered, digest_size=16).digest()
        if own in self._seen:
            self.found.add("duplicate_rows", sample.place)
            return
        self._seen.add(own)
        if not isinstance(sample, ChatSample | CompletionSample):
            return
        if self._answer_to.setdefault(asked, answered) != answered:
            self.found.add("other_answers", sample.place)
        self._answers[answered] += 1
        if 1 < self._answers[answered] <= _OFTEN + SHOWN:
            self._often.setdefault(answered, (_shown(answer), []))[1].append(sample.place)

    def findings(self) -> Iterator[Finding | None]:
        """What was found."""
        among = f" among the first {self._most:,}" if self._rows >= self._most else ""
        yield Finding.counted(
            "duplicate_rows",
            "warning",
            self.found,
            "an earlier row is repeated word for word in {rows}" + among,
            "leave them out: they weigh twice, and what is held out may be trained on",
        )
        yield Finding.counted(
            "other_answers",
            "info",
            self.found,
            "what an earlier row asks has another answer in {rows}" + among,
            "right where several answers are good",
        )
        answer, count = (self._answers.most_common(1) or [(b"", 0)])[0]
        if count >= max(_OFTEN, _OFTEN_SHARE * self._rows):
            text, places = self._often[answer]
            yield Finding(
                code="repeated_answer",
                severity="info",
                count=count,
                places=tuple(map(str, places[:SHOWN])),
                message=f"{counted_rows(count)}, {count / self._rows:.0%}, have one and the same answer: {text}",
                remedy="look whether so many are meant: the model will give it often",
            )


def _parts(sample: Sample) -> tuple[object, object]:
    """What is asked and what is answered; of what is no question, all and nothing."""
    match sample:
        case ChatSample():
            own = [
                index
                for index, message in enumerate(sample.messages)
                if isinstance(message, Mapping) and message.get("role") == ASSISTANT
            ]
            last = own[-1] if own else len(sample.messages)
            return [sample.messages[:last], sample.tools], sample.messages[last:]
        case CompletionSample():
            return sample.prompt, sample.completion
        case TextSample():
            return sample.text, None
    return [list(sample.ids), None if sample.labels is None else list(sample.labels)], None


def _digest(value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _shown(answer: object) -> str:
    messages = answer if isinstance(answer, list | tuple) else ()
    text = "".join(text_of(message) for message in messages if isinstance(message, Mapping))
    return repr(shortened(answer if isinstance(answer, str) else text))
