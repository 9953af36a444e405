"""Findings of several batches add up, and tell their places shortly."""

from lmhead.inspection.finding import Finding


def finding(count, *places, rows=(), pattern="{count} labels are odd"):
    return Finding(
        code="odd",
        severity="warning",
        count=count,
        places=places,
        rows=rows,
        message=pattern.format(count=count),
        pattern=pattern,
    )


def test_places_of_one_file_are_told_at_once():
    assert finding(2, "chat.jsonl, line 3", "chat.jsonl, line 8").head() == (
        "warning: 2 labels are odd (chat.jsonl, lines 3, 8) [odd]"
    )
    assert finding(3, "a.json, row 1", "a.json, row 2", "b.jsonl, line 1").head() == (
        "warning: 3 labels are odd (a.json, rows 1, 2; b.jsonl, line 1) [odd]"
    )


def test_findings_of_two_batches_add_up():
    both = finding(2, "a, row 1", "a, row 2").joined(finding(9, *(f"a, row {number}" for number in range(5, 12))))
    assert (both.count, both.message) == (11, "11 labels are odd")
    assert both.head() == "warning: 11 labels are odd (a, rows 1, 2, 5, 6, 7, ...) [odd]"


def test_rows_without_places_are_numbers():
    assert str(finding(1, rows=(4,))) == "warning: 1 labels are odd (rows 4) [odd]"
    assert finding(1, rows=(4,)).to_dict() == {
        "code": "odd",
        "severity": "warning",
        "count": 1,
        "rows": [4],
        "places": [],
        "message": "1 labels are odd",
        "remedy": "",
    }
