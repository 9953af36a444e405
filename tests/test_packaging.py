"""The wheel: every file of the package is in it, the pages' styles, scripts and licences too, and nothing else."""

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def packed():
    return {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}


def test_the_wheel_has_every_file_of_the_package(packed):
    package = ROOT / "src"
    files = {file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()}
    assert packed == {file for file in files if "__pycache__" not in file and ".egg-info" not in file}


@pytest.mark.parametrize("kind", [".js", ".css", ".html", "LICENSE", "py.typed"])
def test_files_that_are_no_python_are_among_them(packed, kind):
    assert any(file.endswith(kind) for file in packed)


def test_scripts_of_others_come_with_their_licence(packed):
    foreign = {file.rpartition("/")[0] for file in packed if ".min." in file}
    assert foreign
    assert {f"{folder}/LICENSE" for folder in foreign} <= packed
