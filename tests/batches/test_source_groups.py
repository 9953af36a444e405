"""Sources in groups: few enough to look at, none lost, the folders' names short."""

from hypothesis import given
from hypothesis import strategies as st

from lmhead.batches.source_groups import source_groups

NAMES = st.lists(st.text("ab/", min_size=1, max_size=9), min_size=1, max_size=60, unique=True)


@given(NAMES)
def test_there_are_at_most_twelve_groups_and_each_source_has_one(names: list[str]) -> None:
    groups = source_groups(dict.fromkeys(names, 1))
    assert list(groups) == names
    assert len(set(groups.values())) <= 12
    assert all(groups.values())


def test_few_sources_are_themselves() -> None:
    assert source_groups({"a.jsonl": 1, "b/c.jsonl": 2}) == {"a.jsonl": "a.jsonl", "b/c.jsonl": "b/c.jsonl"}


def test_what_absolute_paths_share_is_left_out() -> None:
    assert source_groups({"/data/set/chat.jsonl": 1}) == {"/data/set/chat.jsonl": "chat.jsonl"}
    many = {f"/data/set/{letter}/{number}.txt": 1 for letter in "abc" for number in range(9)}
    assert set(source_groups(many).values()) == {"a/", "b/", "c/"}
    beside = source_groups({**many, "/data/set/x.txt": 1})
    assert beside["/data/set/x.txt"] == "./"


def test_the_deepest_folders_that_are_few_are_the_groups() -> None:
    many = {f"root/{one}/{two}/{number}.txt": 1 for one in "ab" for two in "xy" for number in range(9)}
    assert set(source_groups(many).values()) == {"root/a/x/", "root/a/y/", "root/b/x/", "root/b/y/"}


def test_of_many_folders_those_with_the_most_tokens_stay() -> None:
    many = {f"f{number}/{part}.txt": number for number in range(30) for part in "ab"}
    groups = source_groups(many)
    assert len(set(groups.values())) == 12
    assert groups["f29/a.txt"] == groups["f29/b.txt"] == "f29/"
    assert groups["f0/a.txt"] == groups["f18/b.txt"] == "19 other folders"
