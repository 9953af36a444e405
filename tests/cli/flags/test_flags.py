"""Flags: every spelling that is meant to work, one clear line for every other, help that fits, advice that works."""

import dataclasses
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from lmhead.cli.commands import COMMANDS
from lmhead.cli.completion import script
from lmhead.cli.doctor import DoctorConfig
from lmhead.cli.flags.flag_help import USED
from lmhead.cli.flags.flag_table import flags_of, groups_of
from lmhead.cli.flags.parsing import _ELSEWHERE, changed, given, parse
from lmhead.cli.flags.train_config import NO_FIELDS, TrainFlags, with_flags
from lmhead.cli.main import main
from lmhead.errors import InputError, LmheadError
from lmhead.models.config import GPTConfig
from lmhead.training.config.train_config import TrainConfig

CONFIGS = {name: import_module(module).CONFIG for name, (module, _) in COMMANDS.items()}


def train(*words: str) -> TrainConfig:
    return with_flags(TrainConfig(), given(TrainFlags, words, command="train", about=""))


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as refused:
        train(*words)
    return str(refused.value)


# What is written, and what it means


def test_names_are_short_where_they_are_unique_and_dashes_are_underscores() -> None:
    for words in (["--embed-dim", "64"], ["--embed_dim=64"], ["--model.embed-dim=64"], ["--model.embed_dim", "64"]):
        assert train(*words).model.embed_dim == 64
    assert train("--data", "a", "b", "--steps", "3", "--data=-c").data.paths == ("a", "b", "-c")
    assert train("--data.paths", "a").data.paths == ("a",)
    assert train("--optimizer", "adamw") == train("--optimizer.name=adamw")


def test_init_is_the_run_s_and_model_init_the_model_s() -> None:
    config = train("--init", "torch", "--model.init", "torch")
    assert (config.init, config.model.init) == ("torch", "torch")


def test_of_a_flag_that_is_given_twice_the_last_counts() -> None:
    assert train("--steps", "3", "--steps=4").steps == 4
    assert train("--compile", "--no-compile").compile is False
    assert given(TrainFlags, ["--config", "a", "--config=b"], command="train", about="") == {"config": "b"}


def test_lists_add_up() -> None:
    assert train("--data", "a", "--data", "b", "c").data.paths == ("a", "b", "c")


def test_a_list_of_choices_takes_them_alone_and_none_empties_it() -> None:
    assert train("--track", "wandb", "--track", "trackio").track == ("wandb", "trackio")
    assert train("--track", "none").track is None
    assert refusal("--track", "wandb", "csv") == "--track must be tensorboard, wandb or trackio, got csv"


def test_values_may_begin_with_a_dash_and_numbers_may_be_negative() -> None:
    assert train("--seed", "-1").seed == -1
    assert train("--label-smoothing", "-.5").label_smoothing == -0.5
    assert train("--prompt", "-x").prompt == "-x"
    assert train("--prompt=--x=y").prompt == "--x=y"


def test_none_is_a_value_where_it_may_be() -> None:
    assert train("--steps", "5", "--clip", "none", "--steps", "None").steps is None
    assert train("--clip", "none").optimizer.clip is None


def test_an_empty_text_is_a_prompt() -> None:
    assert train("--prompt", "").prompt == ""


def test_words_of_no_flag_stand_anywhere() -> None:
    words = ["a", "--rows", "3", "b", "--json", "c", "--", "--d"]
    config = parse(DoctorConfig, words, command="doctor", about="")
    assert (config.data, config.rows, config.json) == (("a", "b", "c", "--d"), 3, True)


# What is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "x"], "--steps must be a whole number or None, got x: write it in digits, as in --steps 100"),
        (["--steps", "1e3"], "--steps must be a whole number or None, got 1e3: write --steps 1000"),
        (["--rows", "2.5"], "--rows must be a whole number, got 2.5: write it in digits, as in --rows 100"),
        (["--rows", "nan"], "--rows must be a whole number, got nan: write it in digits, as in --rows 100"),
        (["--rows", "9" * 5000], f"--rows must be a whole number, got {'9' * 5000}"),
        (["--minutes", "0,5"], "--minutes must be a number, got 0,5: write --minutes 0.5"),
        (["--minutes", "inf"], "--minutes must be a number, got inf: write it in digits, as in --minutes 0.5"),
        (["--minutes", "4m"], "--minutes must be a number, got 4m: write it in digits, as in --minutes 0.5"),
        (
            ["--precision", "Float32"],
            "--precision must be auto, float32 or bfloat16, got Float32: did you mean float32",
        ),
        (["--optimizer", "sgd"], "--optimizer must be muon or adamw, got sgd"),
        (["--tie-weights", "true"], "--tie-weights must have no value, got true: write --tie-weights or --no-tie-w"),
        (["--no-compile=0"], "--no-compile must have no value, got 0: write --compile or --no-compile"),
        (["--compile="], "--compile must have no value, got an empty one"),
        (["--device"], "--device must have a value, got nothing: write --device VALUE"),
        (["--out", "--steps", "3"], "--out must have a value, got --steps: write --out VALUE, or --out=--steps where"),
        (["--data"], "--data must have a value, got nothing: write --data VALUE"),
        (["--data", "--steps", "1"], "--data must have a value, got --steps"),
        (["--out", ""], "--out must not be empty, got '': give a value, or leave the flag out"),
        (["--steps="], "--steps must not be empty, got ''"),
        (["--data", ""], "--data must not be empty, got ''"),
        (["--data", "a", ""], "--data must not be empty, got ''"),
        (["my.txt"], "unexpected word my.txt: did you mean --data my.txt?"),
        (["--", "a b"], "unexpected word a b: did you mean --data 'a b'?"),
        (["-x"], "unknown flag -x: --help-all lists all flags"),
        (["-steps", "4"], "unknown flag -steps, did you mean --steps?"),
        (["\u2013steps", "4"], "unknown flag \u2013steps, did you mean --steps? (two hyphens"),
        (["\u2014\u2014data", "x"], "unknown flag \u2014\u2014data, did you mean --data? (two hyphens"),
        (["\u2212\u2212seed=4"], "unknown flag \u2212\u2212seed=4, did you mean --seed? (two hyphens"),
        (["--Steps", "4"], "unknown flag --Steps, did you mean --steps?"),
        (["--resum", "x"], "unknown flag --resum, did you mean --resume?"),
        (["--no-compil"], "unknown flag --no-compil, did you mean --no-compile?"),
        (["--=3"], "unknown flag --: --help-all lists all flags"),
    ],
)
def test_what_is_wrong_is_said_in_the_house_s_form(words: list[str], message: str) -> None:
    assert refusal(*words).startswith(message)


@pytest.mark.parametrize("name", ["config", "resume"])
@pytest.mark.parametrize(
    ("words", "message"), [([], "must have a value"), (["--steps"], "must have a value"), ([""], "must not be empty")]
)
def test_flags_that_are_no_fields_are_refused_alike(name: str, words: list[str], message: str) -> None:
    assert refusal(f"--{name}", *words).startswith(f"--{name} {message}")


def accepted(command: str, name: str) -> bool:
    """Whether a flag is one of the command's, with any value that its kind may have."""
    kind = CONFIGS[command]
    flags = {form: flag for flag in flags_of(kind) for form in (flag.name, flag.full)}
    flag = flags.get(name) or flags.get(name.replace("no-", "", 1))
    values = {int: "3", float: "0.5", bool: None}
    value = flag.choices[0] if flag and flag.choices else values.get(flag.kind, "a") if flag else "a"
    words = [f"--{name}"] + ([] if value is None else [value])
    try:
        found = given(kind, words, command=command, about="")
        if issubclass(kind, TrainConfig):
            with_flags(TrainConfig(), {name: each for name, each in found.items() if name not in NO_FIELDS})
        else:
            changed(kind(), found)
    except LmheadError as error:
        return "unknown flag" not in str(error) and "must be off" not in str(error)
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_that_is_suggested_is_accepted(command: str) -> None:
    kind = CONFIGS[command]
    names = [flag.name for flag in flags_of(kind) if not flag.positional]
    typos = [f"{name}s" for name in names] + [f"no-{name[:-1]}" for name in names]
    suggested = set()
    for name in {*_ELSEWHERE, *typos}:
        try:
            parse(kind, [f"--{name}", "3"], command=command, about="")
        except LmheadError as error:
            suggested.update(re.findall(r"did you mean --(\S+)\?", str(error)))
    if names:
        assert suggested
    assert [name for name in sorted(suggested) if not accepted(command, name)] == []


# Advice that works when it is followed


def test_a_head_is_tied_by_its_one_flag() -> None:
    model = train("--tie-weights").model
    assert (model.tie_weights, model.norm_embedding, model.zero_init_head, model.embedding_std) == (
        *(True, False, False),
        None,
    )
    assert train("--tie-weights", "--style", "course").model == train("--style", "course").model
    assert train("--no-tie-weights") == train()


def test_what_a_tied_head_cannot_have_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "--steps", "1", "--tie-weights", "--norm-embedding", "--zero-init-head"]
    assert main(words) == 2
    assert (
        "--norm-embedding and --zero-init-head must be off where the head is tied, got True: or give --no-tie-weights"
        in capsys.readouterr().err
    )
    assert main([*words, "--no-norm-embedding", "--no-zero-init-head"]) == 0
    assert main([*words, "--no-tie-weights"]) == 0


def test_head_dim_is_not_advised_where_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--num-heads", "7"]) == 2
    assert "or give --head-dim" in capsys.readouterr().err
    assert main(["estimate", "--num-heads", "7", "--head-dim", "32", "--steps", "1"]) == 0
    capsys.readouterr()
    assert main(["estimate", "--num-heads", "7", "--style", "course"]) == 2
    assert "--head-dim" not in capsys.readouterr().err


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_a_help_text(command: str) -> None:
    kind = CONFIGS[command]
    flags = flags_of(kind)
    assert [flag.field for flag in flags if not flag.text] == []
    assert all(text.endswith((".", '"', ")")) for text in (flag.text for flag in flags))
    assert all(groups_of(kind).values())


@pytest.mark.parametrize("command", USED)
def test_every_flag_of_the_short_help_exists(command: str) -> None:
    known = {flag.field for flag in flags_of(CONFIGS[command])}
    assert set(USED[command]) <= known
    assert len(USED[command]) <= 26


@pytest.mark.parametrize("columns", ["40", "60", "80", "200"])
@pytest.mark.parametrize(
    "words", [["--help"], *([name, flag] for name in COMMANDS for flag in ("--help", "--help-all"))]
)
def test_help_fits(
    columns: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(words) == 0
    out = capsys.readouterr().out
    longest = max(len(line) for line in out.splitlines() if "--" not in line[:4])  # a flag's name is never broken
    assert longest <= (max(80, min(100, int(columns))) if words == ["--help"] else min(100, int(columns)))
    assert not re.search(r"\{None\}|\| INT|STR\b", out)


def test_help_shows_what_people_use_and_help_all_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    short = capsys.readouterr().out
    used = "data steps minutes out resume config init tokenizer vocab-size embed-dim num-layers max-seq-len rows"
    for name in [*used.split(), "accumulate", "seed", "prompt", "eval-every", "save-every", "device", "help-all"]:
        assert f"\n  --{name} " in short or f"\n  --{name}\n" in short
    assert "--[no-]quiet" in short
    assert "--rope-theta" not in short
    assert main(["train", "--help-all"]) == 0
    whole = capsys.readouterr().out
    for flag in flags_of(TrainConfig):
        assert flag.name in whole or flag.negated.replace("no-", "[no-]", 1) in whole
    assert all(f"\n{group}: " in whole for group in ("data", "chat", "model", "optimizer"))


@pytest.mark.parametrize(
    "words", [["help", "train"], ["train", "-h"], ["train", "--stepz", "--help"], ["train", "--config", "no", "--help"]]
)
def test_help_is_shown_whatever_else_was_typed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("usage: lmhead train [flags]\n")
    assert captured.err == ""


def test_python_m_lmhead_is_lmhead() -> None:
    done = subprocess.run([sys.executable, "-m", "lmhead", "trian"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lmhead: error: unknown command 'trian': did you mean train?\n"


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_completes_commands_flags_and_choices(shell: str) -> None:
    text = script(shell)
    assert all(f"'{name}'" in text or f"{name}" in text for name in COMMANDS)
    dashes = "-l " if shell == "fish" else "--"
    for flag in ("embed-dim", "resume", "no-train-reasoning", "top-k", "tokenizer"):
        assert f"{dashes}{flag}" in text
    assert "auto float32 bfloat16" in text


def test_bash_completes(tmp_path: Path) -> None:
    file = tmp_path / "lmhead.bash"
    file.write_text(script("bash"))
    program = f"""source {file}
    complete_line() {{
        COMP_WORDS=("$@"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=(); _lmhead; echo "${{COMPREPLY[@]}}"
    }}
    complete_line lmhead es; complete_line lmhead train --embed-d; complete_line lmhead train --precision ""
    complete_line lmhead sample --no-c"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["estimate", "--embed-dim", "auto float32 bfloat16", "--no-chat"]


def test_a_shell_that_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "ksh"]) == 2
    assert "SHELL must be bash, zsh or fish, got ksh" in capsys.readouterr().err


def test_texts_come_from_the_string_below_or_the_comment_beside() -> None:
    texts = {flag.field: flag.text for flag in flags_of(TrainConfig)}
    assert texts["keep"].startswith("Checkpoints kept; older ones are removed")
    assert texts["model.tie_weights"] == "The head's weight is the embedding's."
    assert {f"model.{item.name}" for item in dataclasses.fields(GPTConfig)} <= set(texts)


PAGE = Path(__file__).parents[3] / "docs" / "training" / "commands.md"


@pytest.mark.parametrize(
    ("words", "error"), re.findall(r"^\$ lmhead (train .*)\n(lmhead train: error: .*)$", PAGE.read_text(), re.MULTILINE)
)
def test_errors_of_the_page_are_what_is_printed(words: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"{error}\n"
