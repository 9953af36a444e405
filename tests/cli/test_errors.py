"""Bad input to the command line: one line on standard error, status 2, no traceback, nothing left behind."""

from pathlib import Path

import pytest

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import TrainFlags, train_config
from lmhead.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("".join(f"the {i}th line of a text\n" for i in range(400)))
    return file


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command 'trian': did you mean train?" in refused(capsys, "trian")
    assert "the commands are train, sample, eval, runs, estimate" in refused(capsys, "xyz")


def test_an_unknown_flag_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --staps, did you mean --steps?" in refused(capsys, "train", "--staps", "5")
    assert "did you mean --embed-dim?" in refused(capsys, "train", "--embed-dims=5")
    assert "did you mean --temperature?" in refused(capsys, "sample", "run", "--temprature", "1")


def test_a_value_of_the_wrong_kind_names_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "train", "--steps", "many")
    assert "--steps" in error
    assert "many" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", "0"), "--steps must be >= 1, got 0"),
        (("--rows", "2000000000"), "the run must fit into the memory of cpu"),
        (("--num-heads", "7"), "--embed-dim must be a multiple of --num-heads 7"),
        (("--vocab-size", "100"), "--vocab-size must be >= 257"),
        (("--vocab-size", "9999"), "--vocab-size"),
        (("--max-seq-len", "10000"), "fewer than one row needs"),
        (("--device", "tpu9"), "--device must be one that this torch can use, got 'tpu9'"),
        (("--resume", "nowhere"), "no run in nowhere"),
        (("--config", "nowhere.yaml"), "no such config file: nowhere.yaml"),
        (
            ("--tokenizer", "nowhere.json"),
            "tokenizer must be a tokenizer.json, a folder that holds one, or a name on the Hub, got 'nowhere.json'",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    words = ["train", "--data", text, "--out", tmp_path / "run", "--vocab-size", "300", *flags]
    assert message in refused(capsys, *words)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_data_that_cannot_be_read_leaves_no_run_behind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such file or folder" in refused(capsys, "train", "--data", "gone.txt", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_holds_another_run_is_refused(
    capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    error = refused(capsys, "train", "--data", text, "--out", tmp_path / "run")
    assert "holds another run: give another --out, or --resume" in error


def test_a_resume_with_another_config_names_the_fields(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\nsteps: 5\n")
    error = refused(capsys, "train", "--resume", tmp_path, "--seed", "2", "--rows", "3")
    assert "cannot resume" in error
    assert "seed: 1 -> 2; rows: 16 -> 3" in error


def test_sampling_needs_a_run_with_a_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "which run?" in refused(capsys, "sample")
    assert "no such run" in refused(capsys, "sample", tmp_path / "no")
    assert "it has no config.yaml and no weights of a model\n" in refused(capsys, "sample", tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").touch()
    assert f"give one of its runs, {tmp_path / 'a'} say" in refused(capsys, "sample", tmp_path)
    assert "no complete checkpoint yet" in refused(capsys, "sample", tmp_path / "a")


@pytest.mark.parametrize(
    ("command", "flag", "meant"),
    [("train", "--learning-rate", "lr"), ("train", "--batch-size", "rows"), ("sample", "--max-new-tokens", "tokens")],
)
def test_a_flag_of_another_trainer_is_told_its_name_here(
    command: str, flag: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"unknown flag {flag}, did you mean --{meant}?" in refused(capsys, command, "runs/x", flag, "1")


def test_a_flag_that_resembles_none_is_told_where_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --zzzz: --help-all lists all flags" in refused(capsys, "train", "--zzzz")


def test_compiling_needs_a_compiler(
    capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    error = refused(capsys, "train", "--data", text, "--out", tmp_path / "run", "--vocab-size", "300", "--compile")
    assert "--compile needs a C++ compiler, got none of /nowhere/g++" in error


def test_square_brackets_in_a_path_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path
) -> None:
    sizes = ["--vocab-size", "300", "--embed-dim", "32", "--num-layers", "1", "--max-seq-len", "32", "--steps", "1"]
    assert main(["train", "--data", str(text), "--out", str(tmp_path / "c[/a]:warning:"), *sizes]) == 0
    assert "c[/a]:warning:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "paths", "exclude"),
    [
        (["--data", "a", "b", "--exclude", "x"], ("a", "b"), ("x",)),
        (["--data", "a", "--steps", "3", "--data", "b", "c"], ("a", "b", "c"), ()),
        (
            ["--data=a", "--exclude=*.md", "--data.paths=b", "--data.exclude", "t/*", "u"],
            ("a", "b"),
            ("*.md", "t/*", "u"),
        ),
        (["--data", "-", "--exclude=-x"], ("-",), ("-x",)),
    ],
)
def test_a_flag_that_takes_several_may_be_given_again(
    words: list[str], paths: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    data = train_config(given(TrainFlags, words, command="train", about="")).data
    assert (data.paths, data.exclude) == (paths, exclude)
