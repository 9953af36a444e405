"""Texts as training data: documents end to end in wrapped rows, held-out ones in windows that overlap by half."""

from collections.abc import Iterator
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from lmhead.labels.packing import TokenStream, WrappedRows, sliding_windows
from lmhead.labels.targets import Targets
from lmhead.training.corpus import Document
from lmhead.training.tokenizer import encode_documents, end_of_text
from lmhead.training.training_data import Batch, Part, Prompt

_ROWS: Final = 32  # windows at a time
_QUICK_WINDOWS: Final = 64  # of an evaluation along the way
_PROMPT: Final = "def read("


@final
class TextRows:
    """Rows of `length` inputs of the training documents. Documents that share a row see one another."""

    def __init__(self, tokenizer: Tokenizer, documents: list[Document], *, length: int, seed: int) -> None:
        self.stream = TokenStream.of(encode_documents(tokenizer, [document.text for document in documents]))
        self._rows = WrappedRows(self.stream, length=length, seed=seed)
        self._names = [document.name for document in documents]

    def take(self, first: int, count: int) -> Batch:
        """The rows first, first + 1, ..., count of them."""
        ids, document = (torch.from_numpy(array) for array in self._rows.take(first, count))
        targets = Targets.from_labels(ids, document=document)
        return Batch(ids=ids[:, :-1], targets=targets.ids[:, :-1])

    def names(self, first: int, count: int) -> list[str]:
        """The documents in these rows."""
        _, document = self._rows.take(first, count)
        return [self._names[i] for i in sorted(set(document.ravel().tolist()))]

    def fingerprint(self) -> str:
        """Of the tokens and their documents."""
        return self.stream.fingerprint()


@final
class HeldOutText:
    """Every token but the first of each document, the closing end-of-text included."""

    answers = False

    def __init__(self, tokenizer: Tokenizer, documents: list[Document], *, length: int) -> None:
        self.stream = TokenStream.of(encode_documents(tokenizer, [document.text for document in documents]))
        self.tokens = len(self.stream)
        self.scored = int((self.stream.document[1:] == self.stream.document[:-1]).sum())
        self.text = "".join(document.text for document in documents)
        self.bytes = len(self.text.encode())
        self.window, self.stride = length, max(1, length // 2)

    def batches(self, part: Part | None = None) -> Iterator[Batch]:
        """The windows, in their order."""
        ids, document, scored = sliding_windows(self.stream, length=self.window, stride=self.stride)
        picked = self._picked(part)
        if len(picked) < len(ids):
            ids, document, scored = ids[picked], document[picked], scored[picked]
        for start in range(0, len(ids), _ROWS):
            rows = slice(start, start + _ROWS)
            tokens, owner, wanted = (torch.from_numpy(array[rows]) for array in (ids, document, scored))
            targets = Targets.from_labels(tokens.where(wanted, -100), document=owner).ids[:, :-1]
            yield Batch(ids=tokens[:, :-1], targets=targets)

    def read(self, part: Part | None = None) -> int:
        """Positions of the windows."""
        return len(self._picked(part)) * self.window

    def _picked(self, part: Part | None) -> npt.NDArray[np.int64]:
        """Numbers of the windows that are taken."""
        windows = max(1, -(-(self.tokens - 1 - (self.window - self.stride)) // self.stride))
        wanted = windows
        if part is not None:
            # each scores `stride` tokens but the first, which has no window before it and scores them all
            overlap = self.window - self.stride
            wanted = _QUICK_WINDOWS if part.tokens is None else max(1, (part.tokens - overlap) // self.stride)
        return np.linspace(0, windows - 1, min(wanted, windows)).astype(np.int64)


def text_prompt(tokenizer: Tokenizer, prompt: str | None) -> Prompt:
    """The beginning of a document."""
    end = end_of_text(tokenizer)
    ids = tokenizer.encode(_PROMPT if prompt is None else prompt, add_special_tokens=False).ids
    return Prompt(ids=[end, *ids], hidden=1, stop_ids=(end,), control_tokens=False)
