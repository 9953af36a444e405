"""`lmhead estimate` of several ranks: lines of 80 columns, an exit status, and one line for what cannot be."""

import re
from pathlib import Path

import pytest

from lmhead.cli.main import main
from lmhead.scaling.hardware import HARDWARE

MODELS = Path(__file__).parents[2] / "examples" / "models"
EIGHT = ("--config", str(MODELS / "llama-3-8b.yaml"))


def lines(capsys, *flags, status=0):
    assert main(["estimate", *flags]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def test_memory_traffic_and_time_are_told(capsys):
    told = lines(capsys, *EIGHT, "--nproc", "64", "--mesh", "dp=8,shard=8", "--hardware", "h100", "--rows", "64")
    assert told[0].startswith("model: 8,030,261,248 parameters")
    assert "ranks: 64 of NVIDIA H100 SXM 80 GB, 8 hosts of 8; mesh dp=8,shard=8" in told
    assert "step: 524,288 tokens; a rank has 1 of 64 rows" in told
    assert max(map(len, told[3:])) <= 80
    text = "\n".join(told)
    for part in ("weights, 1/8 ", "optimizer states, 1/8 ", "peak ", "fits into 68.5", "over dp (all-reduce)", "MFU "):
        assert part in text
    assert "assumed, not measured" in text


@pytest.mark.parametrize("hardware", HARDWARE)
def test_every_hardware_has_a_time(capsys, hardware):
    told = lines(capsys, "--hardware", hardware)
    assert any(line.startswith("time of a step") for line in told)
    assert re.search(r"in all: +[\d.]+ m?s +[\d,]+ tokens/s  MFU [\d.]+%", "\n".join(told))


def test_without_hardware_there_is_no_time_and_everything_fits(capsys):
    told = lines(capsys, *EIGHT, "--nproc", "2", "--precision", "float32")
    assert not any("time of a step" in line or "fit" in line for line in told)
    assert any(line.startswith("a rank sends in a step") for line in told)


def test_one_process_here_is_estimated_as_before(capsys):
    assert [line.split(":")[0] for line in lines(capsys, "--steps", "1")][-2:] == ["memory", "time"]


def test_what_does_not_fit_ends_with_status_1_and_says_what_would(capsys):
    told = lines(capsys, *EIGHT, "--nproc", "2", "--hardware", "h100", "--rows", "2", status=1)
    assert any("does NOT fit into 68.5" in line for line in told)
    found = re.search(r"would fit: (.*) \(peak", "\n".join(told))
    assert found is not None
    again = found[1].split()
    base = [*EIGHT, "--hardware", "h100"]
    base += [] if "--nproc" in again else ["--nproc", "2"]
    base += [] if "--rows" in again else ["--rows", "2"]
    assert any("fits into 68.5" in line for line in lines(capsys, *base, *again))


def test_ranks_without_rows_are_told(capsys):
    told = lines(capsys, "--nproc", "64", "--hardware", "h100", "--rows", "16")
    assert "      48 ranks have no row: give at least --rows 64" in told


def test_efficiency_is_said_and_counts(capsys):
    told = lines(capsys, *EIGHT, "--nproc", "8", "--hardware", "h100", "--rows", "8", "--efficiency", "0.8")
    assert "time of a step, if products reach 80% of 989 TFLOP/s" in told


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--nproc", "6", "--mesh", "dp=4"), "--mesh must multiply to the 6 ranks that there are, got dp=4 (4)"),
        (("--hardware", "h10"), "--hardware must be one of a100-40, a100, h100,"),
        (("--hardware", "h10"), "got 'h10': did you mean h100?"),
        (("--nproc", "12", "--hardware", "h100"), "--nproc must be a multiple of the 8 of a host, or fewer, got 12"),
        (("--nproc", "8192", "--mesh", "tp=8192"), "--mesh must leave each of its tp ranks a part of the vocabulary"),
        (("--nproc", "3", "--mesh", "cp=3"), "--mesh must cut rows of 256 tokens into equal parts, got cp=3"),
        (("--nproc", "0"), "--nproc must be >= 1, got 0"),
        (("--hardware", "h100", "--per-host", "0"), "--per-host must be >= 1, got 0"),
        (("--hardware", "h100", "--efficiency", "1.2"), "--efficiency must be in (0, 1], got 1.2"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, flags, says):
    assert main(["estimate", *flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_train_has_no_flag_of_hardware(capsys):
    assert main(["train", "--hardware", "h100"]) == 2
    assert "unknown flag --hardware" in capsys.readouterr().err
