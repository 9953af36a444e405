"""The nightly command knows every step, says what it cannot run, and does not take a run that died for a good one."""

import sys
from pathlib import Path

import pytest
from tests.nightly import environments, install, matrix
from tests.nightly.environments import STEPS, Environment, processors, versions

REPORT = '<testsuites><testsuite tests="9" failures="{failures}" errors="0" skipped="2" /></testsuites>'


def test_the_ladder_has_every_step_alone_and_all_together():
    ladder = processors("AVX512")
    assert all(one.skipped is None for one in ladder)
    assert len({one.name for one in ladder}) == len(ladder)
    alone = [dict(one.variables) for one in ladder]
    for variable, steps in STEPS.items():
        for step in steps:
            assert {"OMP_NUM_THREADS": "1", variable: step} in alone
    together = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    for threads in ("1", "2"):
        assert {"OMP_NUM_THREADS": threads} in alone
        assert {"OMP_NUM_THREADS": threads, **together} in alone


@pytest.mark.parametrize(("capability", "widest"), [("AVX512", 512), ("AVX2", 256), ("DEFAULT", 128)])
def test_a_step_up_is_skipped(capability, widest):
    for one in processors(capability):
        needs = [STEPS[variable][step] for variable, step in one.variables.items() if variable in STEPS]
        assert (one.skipped is not None) == any(width > widest for width in needs)


def test_every_supported_python_and_torch_is_asked_for():
    found = versions()
    assert [one.python for one in found if one.python] == ["3.11", "3.12", "3.13"]
    torches = [one.torch for one in found if one.torch]
    assert torches[0].startswith("2.9.")
    assert "2.13.0" in torches
    assert next(one.transformers for one in found if one.transformers).startswith("4.56.")


@pytest.mark.parametrize(
    ("system", "machine", "cuda_builds", "expected"),
    [
        ("Linux", "x86_64", False, "torch==2.9.1+cpu"),
        ("Linux", "x86_64", True, "torch==2.9.1"),
        ("Darwin", "arm64", False, "torch==2.9.1"),
    ],
)
def test_no_cuda_packages_are_drawn_unasked(monkeypatch, system, machine, cuda_builds, expected):
    monkeypatch.setattr(environments.platform, "system", lambda: system)
    monkeypatch.setattr(environments.platform, "machine", lambda: machine)
    assert environments.torch_requirement("2.9.1", cuda_builds=cuda_builds) == expected


def test_what_cannot_be_had_is_skipped_with_the_reason(tmp_path):
    with pytest.raises(install.NotInstalledError, match="--scratch"):
        install.interpreter_of(Environment(name="torch 2.9.1", torch="2.9.1"), None, cuda_builds=False)
    with pytest.raises(install.NotInstalledError, match=r"there is no python2\.99"):
        install.interpreter_of(Environment(name="Python 2.99", python="2.99"), tmp_path, cuda_builds=False)


def test_another_library_frees_the_pins_that_hold_it_back_and_no_others():
    pins = (install.ROOT / "constraints.txt").read_text().splitlines()
    without_torch = [pin for pin in pins if not pin.startswith("torch==")]
    assert install.constraints_of(Environment(name="3.12", python="3.12"), pins) == without_torch
    freed = set(without_torch) - set(install.constraints_of(Environment(name="torch", torch="2.9.1"), pins))
    assert {pin.partition("==")[0] for pin in freed} == {"triton"}
    held = install.constraints_of(Environment(name="transformers", transformers="4.56.2"), pins)
    assert held[-1] == "transformers==4.56.2"
    names = {pin.partition("==")[0] for pin in set(without_torch) - set(held)}
    assert names == {"transformers", "tokenizers", "huggingface_hub", "hf-xet", "datasets", "fsspec"}


@pytest.mark.parametrize(
    ("failures", "code", "passed", "failed"), [(0, 0, 7, 0), (3, 1, 4, 3), (0, 2, 7, 1), (None, 139, 0, 1)]
)
def test_a_run_that_died_has_failed(tmp_path, failures, code, passed, failed):
    report = tmp_path / "report.xml"
    if failures is not None:
        report.write_text(REPORT.format(failures=failures))
    outcome = matrix.read(report, code, 1.0)
    assert (outcome.passed, outcome.failed) == (passed, failed)


@pytest.mark.parametrize("failed", [0, 1])
def test_a_row_for_each_environment_and_1_where_any_failed(monkeypatch, capsys, tmp_path, failed):
    ran = []

    def run(python: Path, environment: Environment, paths: list[str], logs: Path) -> matrix.Outcome:
        ran.append((str(python), environment.name, paths))
        return matrix.Outcome(passed=5, failed=failed)

    monkeypatch.setattr(matrix, "run", run)
    monkeypatch.setattr(matrix.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert matrix.main(["tests/losses", "--only", "as AVX", "--scratch", str(tmp_path)]) == failed
    table = capsys.readouterr().out
    assert ran == [(sys.executable, f"as AVX2, {n}", ["tests/losses"]) for n in ("1 thread", "2 threads")]
    assert f"| as AVX2, 1 thread | 5 | {failed} | 0 | 0 |  |" in table
    assert "skipped: this processor has no 512-bit registers" in table


def test_a_misspelt_environment_is_not_a_success(capsys):
    assert matrix.main(["--only", "AVX3"]) == 1
