"""The commands that docs/howto/ shows, run in their order on tiny models and files; each must end with status 0."""

import json
import re
import shlex
from pathlib import Path

import pytest
from tests.training.tiny_pretrained import write_gemma2

from lmhead.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
SIZES = ["--embed-dim", "16", "--num-layers", "1", "--mlp-dim", "32", "--max-seq-len", "64", "--vocab-size", "270"]
MORE = {"sample": ["--tokens", "4"], "train": ["--steps", "2", "--device", "cpu", "--quiet"]}


def commands(page: Path) -> list[list[str]]:
    """The words of each command of a page's console blocks, without `lmhead`; none of another program may be there."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert [line for line in lines if not line.startswith("$ lmhead ")] == []
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what the pages name: MODEL, A and B, chat.jsonl, valid/ and books/, examples/."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("MODEL", "A", "B")):
        write_gemma2(tmp_path / name, initializer_range=0.02 * (1 + seed))
    things = ["order", "parcel", "refund", "number", "invoice", "address", "bill", "letter"]
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"My {one} is late, and my {two}."},
                {"role": "assistant", "content": f"Sorry. I look for your {one}, then for the {two}."},
            ]
        }
        for one in things
        for two in things
    ]
    Path("chat.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    for folder in ("valid", "books"):
        Path(folder).mkdir()
        for number, thing in enumerate(things):
            Path(folder, f"{number}.txt").write_text(
                f"Of the {thing}, which is {number}: " + f"one {thing} more, " * 40
            )
    Path("examples").symlink_to(ROOT / "examples")


def test_there_are_commands():
    assert {words[0] for page in PAGES for words in commands(page)} == {
        "doctor", "inspect", "train", "eval", "sample", "estimate"
    }  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(page, here, capsys):
    for words in commands(page):
        ranks = int(words[words.index("--nproc") + 1]) if "--nproc" in words else 1
        if words[0] == "train" and ranks > 1:  # tests/ranks runs them; here: are these words a run that can be?
            mesh = words[words.index("--mesh") :] if "--mesh" in words else []
            words = ["estimate", *SIZES, "--nproc", str(ranks), *mesh]
        assert main([*words, *MORE.get(words[0], [])]) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == ""
