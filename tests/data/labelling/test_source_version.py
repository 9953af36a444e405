"""The version of code follows every module that is imported, and no other: an edit elsewhere keeps caches."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.labelling.recipes import recipe

from lmhead.data.labelling import recipe as recipe_module
from lmhead.data.labelling import source_version as module
from lmhead.data.labelling.source_version import source_version, sources
from lmhead.data.tokens import token_cache

PACKAGE = Path(module.__file__).parents[2]
LABELS, ENCODES = recipe_module._LABELS, token_cache._ENCODES


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "lmhead"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def edited(package: Path, name: str, start: str) -> bool:
    """Whether the version of `start` is another one once a file was edited. The file is as before then."""
    file, version = package / name, source_version.__wrapped__
    before, text = version(start, package=package), file.read_bytes()
    file.write_bytes(text + b"\n# edited\n")
    after = version(start, package=package)
    file.write_bytes(text)
    assert version(start, package=package) == before
    return after != before


@pytest.mark.parametrize(
    "name",
    [
        "labels/chat/labeler.py",
        "labels/template/sandbox.py",  # what a template may do, and for how long
        "labels/offsets/token_map.py",
        "labels/conversation/roles.py",
        "labels/__init__.py",
        "data/rows/csv_file.py",
        "data/rows/zstd_file.py",
        "data/formats/tool_calls.py",
        "data/tokenizer/chatml.py",
        "data/labelling/sample_labeler.py",  # imported inside of a function
        "data/labelling/label_rows.py",
        "data/labelling/survey.py",  # its counts lie in the cache
        "data/labelling/columns.py",
        "data/labelling/source_version.py",
        "errors.py",  # a refusal's words lie in the cache
        "shown.py",
    ],
)
def test_an_edit_to_what_labels_voids_the_cache(copied: Path, name: str) -> None:
    assert edited(copied, name, LABELS)


@pytest.mark.parametrize(
    "name",
    [
        "__init__.py",
        "inspection/doctor/note_rules.py",
        "inspection/doctor/refusals.py",
        "inspection/finding.py",
        "labels/packing/packed_rows.py",
        "labels/labels_or_targets.py",
        "data/sets/conversations.py",
        "data/tokens/encoding.py",
        "data/tokenizer/run_tokenizer.py",
        "ops/linear_cross_entropy.py",
        "models/gpt.py",
        "training/loop.py",
        "cli/main.py",
    ],
)
def test_an_edit_anywhere_else_keeps_the_cache(copied: Path, name: str) -> None:
    assert not edited(copied, name, LABELS)


def test_nothing_that_labels_is_of_a_room_above() -> None:
    above = ("inspection.", "labels.packing.", "data.sets.", "data.tokens.", "models.", "training.", "cli.", "losses.")
    assert [name for name in sources(LABELS) if name.startswith(above)] == []


def test_an_edit_to_what_encodes_voids_the_cache_of_tokens_alone(copied: Path) -> None:
    for name in ("data/tokens/encoding.py", "data/tokens/text_pieces.py", "data/tokenizer/train_tokenizer.py"):
        assert edited(copied, name, ENCODES)
    for name in ("labels/chat/labeler.py", "data/rows/csv_file.py", "training/loop.py", "data/tokens/token_cache.py"):
        assert not edited(copied, name, ENCODES)


def test_a_doctors_message_keeps_the_key_of_a_recipe_and_the_labeler_voids_it(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recipe_module, "source_version", lambda start, *names: source_version.__wrapped__(start, *names, package=copied)
    )
    before = recipe().key()
    for name, old, kept in (
        ("inspection/doctor/conversation_rules.py", b"an assistant's turn is empty", True),
        ("labels/chat/labeler.py", b'opens_thought(self.render([{"role": "user"', False),
    ):
        text = (copied / name).read_bytes()
        assert old in text
        (copied / name).write_bytes(text.replace(old, old.replace(b"e", b"E")))
        assert (recipe().key() == before) == kept
        (copied / name).write_bytes(text)


def of_the_tree(source: bytes) -> Iterator[str]:
    """What a module imports of the library, by its syntax tree."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("start", [LABELS, ENCODES, "cli.main"])
def test_what_is_read_as_imports_is_what_the_syntax_tree_says(start: str) -> None:
    found, waiting = set(), [f"lmhead.{start}"]
    while waiting:
        name = waiting.pop()
        place = PACKAGE.joinpath(*name.split(".")[1:])
        file = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
        if name in found or file is None or not name.startswith("lmhead."):
            continue
        found.add(name)
        waiting += [name.rpartition(".")[0], *of_the_tree(file.read_bytes())]
    assert set(sources(start)) == {name.removeprefix("lmhead.") for name in found}


def test_the_versions_of_what_else_labels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    version = source_version.__wrapped__
    before = version(LABELS, "tokenizers"), version(LABELS)
    assert before[0] != before[1]
    monkeypatch.setattr(module, "version", lambda name: "0.0")
    assert version(LABELS, "tokenizers") != before[0]
    monkeypatch.setattr(module.platform, "python_version", lambda: "0.0")
    assert version(LABELS) != before[1]


def test_a_module_that_is_not_there_is_no_version() -> None:
    with pytest.raises(AssertionError, match="no such module"):
        sources("data.labelling.gone")
