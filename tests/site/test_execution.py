"""Pages run once for each content: their outputs are kept by their code, the library's source and the versions."""

import json

import pytest

pytest.importorskip("myst_nb", reason="the site needs myst-nb: pip install 'lmhead[docs]'")

from lmhead_site import execution
from lmhead_site.execution import cache_folder, content_key, run_pages, stored_outputs
from lmhead_site.page_cells import cells_of


@pytest.fixture
def library(tmp_path):
    source = tmp_path / "library"
    source.mkdir()
    (source / "loss.py").write_text("loss = 1\n")
    return source


def test_the_key_follows_the_library_the_set_up_and_the_versions(library, tmp_path, monkeypatch):
    keys = [content_key(library)]
    (library / "loss.py").write_text("loss = 2\n")
    keys.append(content_key(library))
    (library / "loss.py").rename(library / "other.py")
    keys.append(content_key(library))
    set_up = tmp_path / "kernel_setup.py"
    set_up.write_text("pass\n")
    with monkeypatch.context() as changed:
        changed.setattr(execution, "SETUP", set_up)
        keys.append(content_key(library))
    with monkeypatch.context() as changed:
        changed.setattr(execution, "version", lambda name: "0")
        keys.append(content_key(library))
    with monkeypatch.context() as changed:
        changed.setattr(execution, "KERNEL_ENVIRONMENT", {"COLUMNS": "100"})
        keys.append(content_key(library))
    assert len(set(keys)) == 6


def test_the_key_does_not_follow_what_is_compiled(library):
    before = content_key(library)
    (library / "__pycache__").mkdir()
    (library / "__pycache__" / "loss.pyc").write_bytes(b"1")
    assert content_key(library) == before


def test_outputs_of_another_library_are_removed(library, tmp_path):
    first = cache_folder(tmp_path / "cache", library)
    (first / "page.json").write_text("[]")
    assert cache_folder(tmp_path / "cache", library) == first
    assert (first / "page.json").exists()
    (library / "loss.py").write_text("loss = 3\n")
    second = cache_folder(tmp_path / "cache", library)
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [second.name] != [first.name]


def test_a_page_runs_once_in_a_folder_of_its_own_and_leaves_nothing_behind(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = cells_of(
        "```python\nfrom pathlib import Path\n\nPath('made').write_text('x')\nprint([*Path().iterdir()])\n```\n"
    )
    broken = cells_of("```python\nprint(1)\n```\n\n```python\n1 / 0\n```\n")
    told = []
    folder = tmp_path / "cache"
    folder.mkdir()
    failures = run_pages({"page": page, "broken": broken}, folder, library=library, processes=2, told=told.append)
    assert [each.partition(": ")[0] for each in told] == ["1 of 2", "2 of 2"]
    assert {each.partition(": ")[2] for each in told} == {"broken", "page"}
    assert list(failures) == ["broken"]
    assert failures["broken"].cell == 1
    assert "ZeroDivisionError: division by zero" in failures["broken"].message
    [[stream]] = stored_outputs(page, folder)
    assert stream["text"] == "[PosixPath('made')]\n"
    assert stored_outputs(broken, folder) is None
    assert not (tmp_path / "made").exists()
    told.clear()
    assert run_pages({"page": page}, folder, library=library, processes=1, told=told.append) == {}
    assert told == []
    assert len(json.loads(next(folder.glob("*.json")).read_text())) == 1


def test_a_page_imports_the_library_that_it_is_a_page_of_not_the_one_that_is_installed(tmp_path):
    package = tmp_path / "src" / "lmhead"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("where = 'beside the pages'\n")
    page = cells_of("```python\nimport lmhead\n\nprint(lmhead.where)\n```\n")
    folder = tmp_path / "cache"
    folder.mkdir()
    assert run_pages({"page": page}, folder, library=package, processes=1, told=print) == {}
    [[stream]] = stored_outputs(page, folder)
    assert stream["text"] == "beside the pages\n"
