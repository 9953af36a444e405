"""The same run on several ranks: token counts equal, losses and evaluations those of one process."""

import json

import pytest
from tests.ranks.launched import on_ranks
from tests.training.rank_runs import tiny, tokens_read, trained, trained_alone, words

CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"say {word} {n}"},
            {"role": "assistant", "content": f"{word} " * (1 + n % 9)},
        ]
    }
    for n in range(40)
    for word in ("yes", "no", "well")
]


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(words(200))
    return file


@pytest.fixture
def chats(tmp_path):
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(chat) + "\n" for chat in CHATS))
    return file


def losses(log):
    return [record["loss"] for record in log if "loss" in record]


def compare(one, many, tolerance):
    """Whatever the log says of a step, but for its times."""
    assert len(one) == len(many)
    for alone, shared in zip(one, many, strict=True):
        if "record" in alone:  # the header
            continue
        assert alone.keys() == shared.keys()
        for name in alone.keys() - {"seconds", "sample", "classes"}:
            if isinstance(alone[name], float):
                assert shared[name] == pytest.approx(alone[name], rel=tolerance, abs=tolerance), (name, alone)
            else:
                assert shared[name] == alone[name], (name, alone)


@pytest.mark.parametrize(
    ("size", "options"),
    [(2, {}), (4, {"tied": True, "mesh": "dp=2,shard=2"}), (2, {"dropout": 0.0, "rows": 1, "accumulate": 3})],
)
def test_a_run_on_texts_is_that_of_one_process(tmp_path, text, size, options):
    one = trained_alone(tiny(text, tmp_path / "one", **options))
    many = on_ranks(size, trained, tiny(text, tmp_path / "many", **options), mesh=options.get("mesh"))[0]
    compare(one, many, 5e-6)


def test_a_rank_that_has_no_row_reads_none(tmp_path, text):
    config = tiny(text, tmp_path / "run", rows=1, accumulate=3, steps=2)
    assert on_ranks(2, tokens_read, config)[0] == [3 * 32, 2 * 3 * 32]


def test_a_run_on_conversations_is_that_of_one_process(tmp_path, chats):
    options = {"label_smoothing": 0.1, "z_loss": 1e-4}
    one = trained_alone(tiny(chats, tmp_path / "one", **options))
    many = on_ranks(2, trained, tiny(chats, tmp_path / "many", **options))[0]
    compare(one, many, 5e-6)


@pytest.mark.parametrize("style", ["course", "modern"])
def test_in_bfloat16_the_losses_are_near_those_of_one_process(tmp_path, text, style):
    options = {"precision": "bfloat16", "style": style, "eval_every": 100, "sample_every": 100}
    one = trained_alone(tiny(text, tmp_path / "one", **options))
    many = on_ranks(2, trained, tiny(text, tmp_path / "many", **options))[0]
    compare(one, many, 2e-2)
    assert losses(many) == pytest.approx(losses(one), abs=1e-3)
