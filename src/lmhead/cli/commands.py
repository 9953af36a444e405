"""The commands: what each one does, the module that does it, and the dataclass of its flags."""

import importlib
from types import ModuleType
from typing import Final

COMMANDS: Final = {  # name: (module, what it does); each module has run(arguments) -> exit status, and CONFIG
    "train": ("lmhead.cli.train", "train a language model on texts or conversations"),
    "sample": ("lmhead.cli.sample", "continue a prompt with a trained run, or talk to it"),
    "eval": ("lmhead.cli.eval", "a model's figures on data, and all that stands behind them"),
    "runs": ("lmhead.cli.runs", "list runs: state, step, best figure"),
    "estimate": ("lmhead.cli.estimate", "parameters, memory and time of a config, before anything is run"),
    "inspect": ("lmhead.cli.inspect", "token by token: what is trained, what is not and why, and the loss"),
    "report": ("lmhead.cli.report", "draw the report of a run, or several runs on the same axes"),
    "doctor": ("lmhead.cli.doctor", "what is wrong with data, tokenizer and chat template"),
    "completion": ("lmhead.cli.completion", "print a script that completes commands and flags in a shell"),
}


def module_of(command: str) -> ModuleType:
    """The module of a command, imported when it is needed."""
    return importlib.import_module(COMMANDS[command][0])


def config_of(command: str) -> type:
    """What a command's flags are."""
    config: type = module_of(command).CONFIG
    return config
