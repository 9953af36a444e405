"""The benchmark of the training loss by source runs, and has a goal for each number of sources."""

from benchmarks import losses_by_source
from lmhead.models.config import GPTConfig

SETTING = losses_by_source.Setting(
    model=GPTConfig(vocab_size=300, embed_dim=16, num_heads=1, num_layers=1, max_seq_len=24), rows=4, rounds=1
)


def test_each_number_of_sources_has_a_row_and_a_goal():
    report = losses_by_source.compare(SETTING)
    assert [row[0] for row in report.rows] == ["without", "2 sources", "12 sources", "100 sources"]
    assert len(report.goals) == 3
