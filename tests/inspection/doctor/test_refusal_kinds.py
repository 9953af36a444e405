"""Every kind of refusal is documented, and says what to do about it."""

import re
from pathlib import Path
from typing import get_args

from tests.data.labelling.recipes import recipe

from lmhead.data.formats.sample import Place, TokenSample
from lmhead.data.labelling.label_files import label_samples
from lmhead.data.sets.refusals import REMEDIES
from lmhead.errors import RefusalKind
from lmhead.inspection.batch.audit import audit
from lmhead.inspection.doctor.refusals import BY_AUDIT, IN_THE_ERROR

KINDS = set(get_args(RefusalKind))
DOCS = Path(__file__).parents[3] / "docs"
PLACE = Place(source="x", number=1)
X = -100


def test_every_kind_says_what_to_do() -> None:
    told = [*REMEDIES, *IN_THE_ERROR, *BY_AUDIT]
    assert sorted(told) == sorted(KINDS)
    assert all(REMEDIES.values())


def test_every_kind_is_documented_once() -> None:
    page = (DOCS / "data" / "labels.md").read_text(encoding="utf-8")
    section = page.partition("## What is refused")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(kind for cell in cells for kind in re.findall(r"`(\w+)`", cell)) == sorted(KINDS)


def test_what_refuses_rows_of_ids_is_what_the_audit_finds_in_them() -> None:
    size = recipe().tokenizer.backend().get_vocab_size()
    rows = {
        "ids_out_of_vocabulary": ([5, 6, size, 7], None),
        "labels_already_shifted": ([5, 6, 7, 8], [6, 7, 8, X]),
        "labels_are_not_input_ids": ([5, 6, 7, 8], [X, 9, 7, 8]),
    }
    assert set(rows) == BY_AUDIT
    for kind, (ids, labels) in rows.items():
        (row,) = label_samples([TokenSample(place=PLACE, ids=ids, labels=labels)], recipe())
        assert row.refusal is not None
        assert row.refusal.kind == kind
        found = audit({"input_ids": [ids], "labels": [labels or ids]}, recipe().tokenizer.backend())
        assert found.findings[0].code == kind
        if kind == "labels_already_shifted":
            assert found[kind].remedy.partition(";")[0] in row.refusal.message
