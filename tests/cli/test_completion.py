"""lmhead completion: one script for a shell, made of the commands' own flags; anything else is one line."""

import pytest

from lmhead.cli.commands import COMMANDS, config_of
from lmhead.cli.flags.flag_table import flags_of
from lmhead.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_command_and_every_flag(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command in script
        for flag in flags_of(config_of(command)):
            assert flag.positional or flag.name in script, f"{command} --{flag.name}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which shell? lmhead completion bash, zsh or fish"),
        (["bash", "zsh"], "unexpected word zsh: one SHELL is taken, and there is one already"),
        (["tcsh"], "SHELL must be bash, zsh or fish, got tcsh"),
    ],
)
def test_anything_but_one_shell_is_one_line(words, message, capsys):
    assert main(["completion", *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_a_second_run_is_a_word_too_many(capsys):
    assert main(["sample", "one", "two"]) == 2
    assert "unexpected word two: one RUN is taken, and there is one already" in capsys.readouterr().err
