"""EvaluationDocument: one text or conversation as a model reads it: tokens, which are scored, bytes, source."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.data.rows.row import Place
from lmhead.labels.example import Example

_DIGEST: Final = 16  # bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationDocument:
    """One document. Everything is aligned with the ids: entry t speaks of the token AT t; nothing is shifted here.

    The first id is never scored, as nothing predicts it: a prefix (the beginning of sequence) is there to be it.
    """

    place: Place
    source: str  # by which losses are told apart: a file, a data set's name, or what a column says
    example: Example  # ids; `trained` is: the token AT t is scored; `reason` says why each of the others is not
    utf8: bytes | None = None  # the raw text that the scored tokens stand for, end to end; None: tokens do not say
    ends: npt.NDArray[np.int64] | None = None  # [T]: bytes of `utf8` up to and with token t; None: nobody knows

    def __len__(self) -> int:
        return len(self.example)

    @property
    def name(self) -> str:
        """Where it stands, as a person finds it."""
        return str(self.place)

    @property
    def bytes(self) -> int | None:
        """Of the raw text that is scored."""
        return None if self.utf8 is None else len(self.utf8)

    @property
    def digest(self) -> str | None:
        """Of the raw text that is scored, hex: equal texts are equal in any tokenizer. None where tokens do not say."""
        return None if self.utf8 is None else hashlib.blake2b(self.utf8, digest_size=_DIGEST).hexdigest()

    @cached_property
    def scored(self) -> npt.NDArray[np.bool_]:
        """bool [T]: the token AT t is scored."""
        learnt = self.example.learnt.copy()
        learnt[:1] = False
        return learnt
