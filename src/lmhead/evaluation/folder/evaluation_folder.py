"""EvaluationFolder: where an evaluation is written while it runs, so that an interrupted one goes on where it was.

documents.jsonl   the header, and a line for each document that is done
.state.json       how many of them count, and the totals over these; gone when all is done
card.json ...     written last
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmhead.errors import InputError, require
from lmhead.evaluation.folder.document_lines import (
    BEGINS,
    DOCUMENTS_FILE,
    document_line,
    header_line,
    read_document_lines,
    read_settings,
)
from lmhead.evaluation.folder.losses_file import LOSSES_FILE, LossesWriter
from lmhead.evaluation.scores.byte_losses import ByteLosses
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.options import option
from lmhead.record.own_file import require_own
from lmhead.training.run.files import replace_file, writing

STATE_FILE: Final = ".state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What an earlier call has done."""

    documents: int
    totals: dict[str, Any]
    seconds: float


def require_own_folder(path: Path, *marks: str) -> None:
    """Refuse to write into a folder that holds anything, unless one of these files shows that it was written here.

    Raises:
        ArgumentError: it is somebody else's: a run, data, another command's.
    """
    if path.is_dir() and not any((path / mark).exists() for mark in marks):
        there = next((each for each in path.iterdir() if each.suffix != ".tmp"), None)  # what was being written
        rule, remedy = "be a new or an empty folder, or this evaluation's", "give another name"
        require(there is None, option("out"), rule, f"{path}, which holds {there.name if there else ''}", remedy)


class EvaluationFolder:
    """One evaluation's folder.

    Args:
        path: is made where it is not there.
        settings: everything that the sums depend on, as plain JSON; another evaluation's folder is refused by it.

    Raises:
        InputError: the folder holds another evaluation, or cannot be written.
        ArgumentError: it holds somebody else's documents.jsonl.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self._settings = path, json.loads(json.dumps(settings))
        self._lines: list[str] = []
        self._losses: list[ByteLosses | None] = []
        self._written, self._size = 0, 0  # documents, and bytes of their file, that count
        file = self.documents_file
        require_own_folder(path, DOCUMENTS_FILE, STATE_FILE)
        require_own(file, BEGINS, "documents.jsonl of an evaluation")
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        if file.is_file() and file.stat().st_size:
            self._require_same(read_settings(file))

    @property
    def documents_file(self) -> Path:
        """A line for each document."""
        return self.path / DOCUMENTS_FILE

    @property
    def losses_file(self) -> Path:
        """The tokens of each."""
        return self.path / LOSSES_FILE

    @property
    def finished(self) -> bool:
        """Whether all documents are there already."""
        return self.documents_file.is_file() and not self._state.exists() and self.documents_file.stat().st_size > 0

    def begin(self, *, anew: bool = False) -> Unfinished | None:
        """What is there to go on from; None: nothing is, and the file is begun.

        Args:
            anew: whatever is there.

        Raises:
            InputError: what is there is damaged, or the disk refuses.
        """
        state = None if anew else self._read_state()
        if state is not None:
            self._written, self._size = state["documents"], state["size"]
            with writing(self.documents_file), self.documents_file.open("r+b") as stream:
                stream.truncate(self._size)  # lines behind the state are of documents that come again
            return Unfinished(documents=state["documents"], totals=state["totals"], seconds=state["seconds"])
        header = header_line(self._settings)
        self._written, self._size = 0, len(header.encode())
        replace_file(self._state, self._state_text(0, {}, 0.0, self._size))  # first: without it all would be done
        replace_file(self.documents_file, header)
        with writing(self.losses_file):
            self.losses_file.unlink(missing_ok=True)
        return None

    def add(self, sums: DocumentSums, losses: ByteLosses | None = None) -> None:
        """Keep a document's line, and its losses where it has bytes; `save` writes them."""
        self._lines.append(document_line(sums))
        self._losses.append(losses)

    def save(self, totals: Mapping[str, Any], *, documents: int, seconds: float) -> None:
        """Everything so far on the disk to stay. A call that was interrupted may be made again.

        Args:
            totals: over all documents so far, as plain JSON.
            documents: so many.
            seconds: that they took, earlier calls included.

        Raises:
            InputError: the disk refuses.
        """
        with writing(self.losses_file), LossesWriter(self.losses_file) as writer:
            for number, losses in enumerate(self._losses, self._written):
                if losses is not None:
                    writer.add(number, losses)
        lines = "".join(self._lines).encode()
        size = self._size + len(lines)
        state = self._state_text(documents, totals, seconds, size)
        with writing(self.documents_file), self.documents_file.open("r+b") as stream:
            stream.truncate(self._size)  # lines behind it are of a save that was interrupted, and come again
            stream.seek(self._size)
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        replace_file(self._state, state)
        self._written, self._size = self._written + len(self._losses), size
        self._lines, self._losses = [], []

    def finish(self) -> None:
        """All documents are done, and all that is made of them is written."""
        self._state.unlink(missing_ok=True)

    def documents(self) -> list[DocumentSums]:
        """The sums of all documents.

        Raises:
            InputError: the file is damaged.
        """
        return read_document_lines(self.documents_file)

    @property
    def _state(self) -> Path:
        return self.path / STATE_FILE

    def _require_same(self, there: Mapping[str, Any]) -> None:
        names = sorted(set(there) | set(self._settings))
        other = [name for name in names if there.get(name) != self._settings.get(name)]
        if other:
            raise InputError(
                f"{self.path} must be a new folder, or that of this evaluation, got one that differs in "
                f"{', '.join(other)}: give another name, or remove it"
            )

    def _read_state(self) -> dict[str, Any] | None:
        if not self._state.is_file():
            return None
        try:
            state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            whole = state["documents"] == 0 or self.documents_file.stat().st_size >= state["size"]
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise InputError(f"{self._state} is damaged: remove {self.path}, and evaluate again")
        return state if state["documents"] else None

    @staticmethod
    def _state_text(documents: int, totals: Mapping[str, Any], seconds: float, size: int) -> str:
        state = {"documents": documents, "size": size, "seconds": seconds, "totals": totals}
        return json.dumps(state, allow_nan=False) + "\n"
