"""Inspection: rows of tokens with what is found in them: a page, a record, a table, coloured text; shows itself."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX, require
from lmhead.inspection.finding import Finding, counted_rows
from lmhead.inspection.report import Report
from lmhead.inspection.tokens.coloured_text import coloured_text, wants_colour
from lmhead.inspection.tokens.row_table import row_table
from lmhead.record.own_file import PAGE_BEGINS, RECORD_BEGINS, require_own
from lmhead.record.record import Line, Record
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece, as_object
from lmhead.report.token_page import token_page
from lmhead.shown import shown_line
from lmhead.training.run.files import replace_file


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection(Report):
    """What `lmhead.inspect` made: rows token by token, and the findings about them.

        seen = lmhead.inspect(batch, tokenizer=tokenizer)
        seen                        # in a notebook: the page; print(seen): text in colour, where the terminal has any
        seen.save("report.html")    # one file, needs no network
        print(seen.table())         # position, token, id, target, learns or why not
        seen.record("rows.jsonl")   # JSON lines, for programs (docs/seeing/record.md)

    `.ok` is false where there is an error, and `"code" in seen` where there is that finding.
    """

    rows: tuple[TokenRow, ...]
    vocabulary: Mapping[int, Piece] = field(repr=False)
    header: Mapping[str, Any] = field(repr=False)

    @property
    def scored(self) -> int:
        """Number of positions that are scored."""
        return sum(int((row.targets != IGNORE_INDEX).sum()) for row in self.rows)

    @property
    def tokens(self) -> int:
        """Number of tokens, padding not counted where it is not learnt."""
        return sum(len(row.ids) if row.document is None else _tokens(row, row.document) for row in self.rows)

    def lines(self) -> Iterator[Line]:
        """Everything as the lines of a record."""
        yield dict(self.header)
        yield {"vocabulary": as_object(self.vocabulary)}
        for row in self.rows:
            yield row.line()
        for finding in self.findings:
            yield {"finding": _line_of(finding)}

    def record(self, file: str | Path) -> Path:
        """Write everything to a file of JSON lines.

        Raises:
            ArgumentError: there is a file of that name that is no record.
            InputError: the file cannot be written.
        """
        path = Path(file)
        require_own(path, RECORD_BEGINS, "record")
        replace_file(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.lines()))
        return path

    def page(self) -> str:
        """The page as HTML: one file without a network."""
        return token_page(
            Record(
                header=dict(self.header),
                rows=list(self.rows),
                vocabulary=dict(self.vocabulary),
                findings=list(map(_line_of, self.findings)),
            )
        )

    def save(self, file: str | Path) -> Path:
        """Write the page to a file.

        Raises:
            ArgumentError: there is a file of that name that is no page.
            InputError: the file cannot be written.
        """
        path = Path(file)
        require_own(path, PAGE_BEGINS, "page")
        replace_file(path, self.page())
        return path

    def table(self, row: int = 0) -> str:
        """A line for each token of a row: position, token, id, target, loss where there is one, learns or why not.

        Raises:
            ArgumentError: there is no such row.
        """
        require(0 <= row < len(self.rows), "row", f"be in [0, {len(self.rows)})", row)
        return row_table(self.rows[row], self.vocabulary)

    def text(self, *, colour: bool = False, tokens: int | None = None) -> str:
        """The tokens as they flow, what is learnt marked, by colour or by brackets; then the findings.

        Args:
            colour: with a terminal's colours: of the loss where there is one.
            tokens: at most so many; None: all.
        """
        flowing = coloured_text(self.rows, self.vocabulary, colour=colour, tokens=tokens)
        notes = [shown_line(note) for note in self.header.get("notes", ())]
        return "\n".join([*self._head(), *notes, "", flowing, "", *map(str, self.findings)]).rstrip()

    def __str__(self) -> str:
        return self.text(colour=wants_colour(), tokens=_SHOWN)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """For notebooks: the page in a frame of its own, which may run its script and reach nothing."""
        return (
            f'<iframe srcdoc="{escape(self.page())}" sandbox="allow-scripts" title="lmhead inspect" '
            'style="width: 100%; height: 44rem; border: 1px solid #8884" loading="lazy"></iframe>'
        )

    def _figures(self) -> dict[str, Any]:
        return {"rows": len(self.rows), "tokens": self.tokens, "scored": self.scored}

    def summary(self) -> str:
        """Rows, tokens, what is scored of them, and whether anything is wrong, in a line."""
        share = f" ({self.scored / self.tokens:.0%})" if self.tokens else ""
        tokens = f"{self.tokens:,} token{'' if self.tokens == 1 else 's'}"
        return f"{counted_rows(len(self.rows))}, {tokens}, {self.scored:,} scored{share}: {self.verdict()}"

    def _head(self) -> list[str]:
        return [self.summary()]


_SHOWN: Final = 400  # tokens of what shows itself


def _tokens(row: TokenRow, document: npt.NDArray[np.int64]) -> int:
    learnt = np.zeros(len(row.ids), np.bool_)
    learnt[1:] = row.targets[:-1] != IGNORE_INDEX
    return int(((document >= 0) | learnt).sum())


def _line_of(finding: Finding) -> dict[str, Any]:
    return finding.to_dict() | {"spots": [list(spot) for spot in finding.spots]}
