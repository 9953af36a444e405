"""benchmarks/ranks/overheads.py: what its tables say of what was measured; nothing is measured here."""

import pytest
from benchmarks.ranks.overheads import Case, Setting, _covered, tables

from lmhead.models.config import GPTConfig


def test_time_that_several_spans_cover_counts_once():
    assert _covered([]) == 0
    assert _covered([(5, 9), (0, 2), (1, 3), (6, 7), (8, 12)]) == 3 + 7


def kept(case: Case, *, seconds: list[float], part: int) -> dict:
    memory = {"parameters": 100 // part, "gradients": 100 // part, "optimizer": 200 // part, "process": 2**20 * 300}
    return {
        "steps": seconds,
        "others": [0.01, 0.25],
        "collectives": [(0.2, 7)] * case.ranks,
        "sent": [1001.0] * case.ranks,
        "planned": 1000.0,
        "memory": [memory] * case.ranks,
        "save": [[(0.1, 0.5)] * case.ranks, [(0.3, 0.7)] * case.ranks, [(0.2, 0.6)] * case.ranks],
    }


def test_ratios_are_medians_within_rounds_against_one_process_of_as_many_threads():
    cases = [Case(ranks=1), Case(ranks=1, threads=2), Case(ranks=2, mesh="tp=2")]
    seconds = [[9.0, 9.0, 9.0], [1.0, 2.0, 4.0], [1.1, 4.0, 4.0]]
    found = {case.name: kept(case, seconds=took, part=case.ranks) for case, took in zip(cases, seconds, strict=True)}
    setting = Setting(model=GPTConfig(vocab_size=64, embed_dim=32, num_heads=1, num_layers=1, max_seq_len=8))
    time_table, memory_table = tables(setting, cases, found)
    assert time_table.rows[1] == ("one process, 2 threads", "2000", "", "", "", "")
    assert time_table.rows[2] == ("2 ranks, tp=2", "4000", "1.10", "20%", "7", "1.001")
    assert memory_table.rows[2] == ("2 ranks, tp=2", "0.500", "0.500", "0.500", "300", "0.20", "0.60")
    assert "25%" in time_table.notes[0]


@pytest.mark.parametrize(
    ("case", "name"), [(Case(ranks=1), "one process, 1 thread"), (Case(ranks=4), "4 ranks, shard=4")]
)
def test_a_case_says_what_it_is(case, name):
    assert case.name == name
