"""Record: what a run or an inspection leaves behind, as JSON lines; all that a report reads (docs/seeing/record.md)."""
