"""Logs of runs as `lmhead train` writes them, made by hand: healthy, diverged, of another trainer."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

Line = dict[str, Any]
HEADER: Line = {
    "step": 0,
    "record": 1,
    "made_by": "lmhead 0.1",
    "config": {
        "steps": 600,
        "rows": 16,
        "seed": 0,
        "prompt": None,
        "data": {"paths": [], "held_out": 0.02, "exclude": []},
        "model": {"vocab_size": 4096, "embed_dim": 256, "num_heads": 2, "num_layers": 4, "qk_norm": True},
        "optimizer": {"name": "muon", "matrix_rate": 0.018, "schedule": "linear", "clip": 1.0},
    },
    "environment": {
        "lmhead": "0.1",
        "torch": "2.13.0",
        "python": "3.11.2",
        "processor": "AMD EPYC 9654, 2 cores",
        "device": "cpu",
        "dtype": "bfloat16",
    },
    "data_card": {
        "documents": 1412,
        "tokens": 6_233_014,
        "scored": 6_120_990,
        "tokenizer": {"name": "byte-level BPE", "vocab_size": 4096},
        "sources": {
            "asyncio": {"documents": 34, "tokens": 181_220},
            "email": {"documents": 29, "tokens": 90_127},
            "test": {"documents": 700, "tokens": 3_900_000},
        },
    },
}
SETTINGS = ({}, {"seed": 1, "optimizer": {**HEADER["config"]["optimizer"], "matrix_rate": 0.05}}, {"rows": 8})
PROMPTS = ("def read(self, size=-1):\n", 'class Node:\n    """')


def run_lines(*, steps: int = 600, seed: int = 0, variant: int = 0, every: int = 100) -> list[Line]:
    """A healthy run: steps, evaluations with classes, samples of two prompts, the last evaluation whole."""
    chance = random.Random(seed)
    header = {**HEADER, "config": {**HEADER["config"], **SETTINGS[variant % 3], "steps": steps}}
    lines: list[Line] = [header]
    seconds = 2.0
    for step in range(1, steps + 1):
        level = 2.3 + 0.12 * variant + 6.0 * math.exp(-step / (steps / 14)) - 0.4 * step / steps
        seconds += 0.35 + 0.1 * variant + 0.02 * chance.random()
        lines.append(
            {
                "step": step,
                "loss": level + chance.gauss(0, 0.12),
                "grad_norm": 0.4 + 2 * math.exp(-step / 40) + 0.1 * chance.random(),
                "rate": min(1.0, step / 20) * min(1.0, (steps - step + 1) / (0.6 * steps)),
                "tokens": step * 4080,
                "seconds": round(seconds, 3),
            }
        )
        if step % every == 0:
            lines += [_sample(step, prompt, chance) for prompt in PROMPTS]
            lines.append(_evaluation(step, "full" if step == steps else "quick", level + 0.15, steps))
            seconds += 3.0
    return lines


def multi_token_lines(*, depth: int = 2, **how: int) -> list[Line]:
    """A healthy run whose modules predict further tokens, isolated from its model."""
    lines = run_lines(**how)
    for line in lines:
        if "loss" in line:
            line |= {f"mtp_loss_{k}": line["loss"] + 0.9 * k for k in range(1, depth + 1)}
            line |= {"total_loss": 1.3 * line["loss"], "mtp_grad_norm": 0.5 * line["grad_norm"]}
    return lines


def diverged_lines(*, steps: int = 600, at: int = 402) -> list[Line]:
    """A run that has a spike, then jumps and ends in NaN: the loop's last words are the last line."""
    lines = [line for line in run_lines(steps=steps, seed=3) if line["step"] < at + 40]
    for line in lines:
        step = line["step"]
        if "loss" not in line:
            continue
        if step in (230, 231):
            line["loss"], line["grad_norm"] = 5.2, 31.0
        if step >= at:
            line["loss"] += 1.2 * (step - at + 1) ** 0.8
            line["grad_norm"] *= 1.4 ** (step - at + 1)
    last = lines[-1]["step"] + 1
    message = (
        f"step {last}: the loss is nan and the gradient norm nan, so the step was not taken; its batch is rows 7056 to "
        "7071 (from asyncio/tasks.py); the last good checkpoint is runs/hot/checkpoints/step-400"
    )
    finding = {"code": "not_finite", "severity": "error", "message": message, "remedy": "lower the learning rates"}
    return [*lines, {"step": last, "finding": finding}]


def write_log(file: Path, lines: list[Line]) -> Path:
    """The file, written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def write_run(folder: Path, lines: list[Line], *, tokens: bool = True) -> Path:
    """A run's folder with its log and the rows of its worst tokens."""
    write_log(folder / "log.jsonl", lines)
    if tokens:
        write_log(folder / "tokens.jsonl", token_lines())
    return folder


def token_lines() -> list[Line]:
    """Two rows of words with scores and alternatives."""
    words = re.split(" ", "The cat sat on the mat .  It was\n a fine day for 東京 , she said to nobody in particular .")
    ids = [100 + at for at in range(len(words))]
    vocabulary: dict[str, Any] = {str(number): f" {word}" for number, word in zip(ids, words, strict=True)}
    vocabulary |= {"1": {"control": "<|end|>"}, "7": " dog", "8": " ran", "9": {"bytes": "e29c"}}
    rows = []
    for number in range(2):
        chance = random.Random(number)
        nll = [round(abs(chance.gauss(2, 3)), 4) for _ in words]
        rows.append(
            {
                "ids": ids,
                "targets": [*ids[1:], 1],
                "reason": [0] * len(ids),
                "nll": nll,
                "rank": [int(each * 9) for each in nll],
                "entropy": [1.0] * len(ids),
                "top_ids": [[7, 8, 9]] * len(ids),
                "top_logprobs": [[-0.4, -1.6, -3.0]] * len(ids),
                "names": [f"asyncio/tasks.py, line {number + 3}"],
                "sources": ["asyncio"],
            }
        )
    return [{"record": 1, "tokenizer": {"name": "words", "vocab_size": 200}}, {"vocabulary": vocabulary}, *rows]


def _evaluation(step: int, name: str, nll: float, steps: int) -> Line:
    gain = 1 - 0.6 * step / steps
    return {
        "step": step,
        "evaluation": name,
        "bits_per_byte": nll / math.log(2) / 3.4,
        "nll": nll,
        "perplexity": math.exp(nll),
        "accuracy": 0.62 - 0.1 * nll,
        "tokens": 301_874 if name == "full" else 16_384,
        "bytes": 1_030_894,
        "window": 256,
        "stride": 128,
        "whole": name == "full",
        "classes": {
            "position": {
                part: [nll + gain * more, count]
                for part, more, count in (
                    ("0-15", 2.1, 900),
                    ("16-63", 0.8, 2700),
                    ("64-255", 0.1, 9000),
                    ("256+", -0.2, 3784),
                )
            },
            "frequency": {
                part: [nll * factor, count]
                for part, factor, count in (
                    ("≥ 1 in 100", 0.35, 6000),
                    ("≥ 1 in 1,000", 0.9, 5200),
                    ("≥ 1 in 10,000", 1.5, 4100),
                    ("rarer", 2.4, 1084),
                )
            },
            "source": {part: [nll + more, 4000] for part, more in (("asyncio", -0.2), ("email", 0.3), ("test", 0.0))},
        },
    }


def _sample(step: int, prompt: str, chance: random.Random) -> Line:
    words = ("self", "return", "    if", "size", "None:", "\n        ", "data", "=", "for", "in", "(", ")", "buffer")
    text = " ".join(chance.choice(words) for _ in range(60))
    return {"step": step, "prompt": prompt, "sample": prompt + text}
