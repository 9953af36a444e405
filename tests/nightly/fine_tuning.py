"""Every type of causal LM that can be built, fine-tuned by `lmhead train --init`: in full and by LoRA.

    python -m tests.nightly.fine_tuning [TYPE ...]      half an hour for all of them on one core

A line a type and way: trained, with `--no-pack` where it mixes documents, refused and why, or broken. The status is 1
where one is broken that is not known to be.
"""

import contextlib
import io
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Final

import torch
from tests.models.transformers.causal_lms.build import CLASSES, build
from tests.training.chat_runs import write_chat
from tests.training.tiny_pretrained import SPECIAL, write_tokenizer

from lmhead.cli.main import main

WAYS: Final = {"full": (), "lora": ("--lora", "2")}
KNOWN: Final = {
    "xlstm": "reads rows of multiples of its chunk alone",
    "gemma3n_text": "stock's gradient is not finite either, of a tiny one's padding, whose states are all alike",
}
_VOCAB: Final = 320
_OTHER_TABLES: Final[dict[str, dict[str, Any]]] = {  # of as many rows
    "blt": {part: {"vocab_size": _VOCAB} for part in ("encoder_config", "decoder_config", "patcher_config")},
    "gemma4_text": {"vocab_size_per_layer_input": _VOCAB},
    "marian": {"decoder_vocab_size": _VOCAB},
}
_FLAGS: Final = (
    *("--max-seq-len", "64", "--rows", "2", "--accumulate", "1", "--precision", "float32", "--prompt", "What?"),
    *("--steps", "2", "--on-error", "skip"),  # of conversations that are longer than the tiny models read
)


def outcome(model: Path, data: Path, out: Path, *flags: str) -> str:
    """What becomes of fine-tuning the model."""
    words = ["train", "--init", str(model), "--data", str(data), "--out", str(out), *_FLAGS, *flags]
    status, said = _run(*words)
    packed = status != 2 or "--no-pack" not in said
    if not packed:
        status, said = _run(*words, "--no-pack")
    if status == 2:
        return f"refused: {said.strip()}"
    for further in (
        ["train", "--resume", str(out), "--steps", "3"],
        ["sample", str(out), "--chat", "--prompt", "What?"],
    ):
        if status == 0:
            status, said = _run(*further, *(("--tokens", "4") if further[0] == "sample" else ()))
    if status != 0:
        return f"broken: {said.strip()}"
    return "trained" if packed else "trained with --no-pack"


def _run(*words: str) -> tuple[int, str]:
    """(status, what was said on standard error)."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main(list(words))
        except Exception:  # noqa: BLE001  (whatever a model raises is what is looked for)
            status = -1
            errors.write(traceback.format_exc(limit=-1))
    return status, errors.getvalue()


def written(model_type: str, folder: Path) -> str | None:
    """Why a tiny model of the type cannot be saved with a tokenizer; None where it is."""
    try:
        model = build(model_type, vocab_size=_VOCAB, **_OTHER_TABLES.get(model_type, {}))
        if model.generation_config is not None:
            model.generation_config.update(**SPECIAL)
        model.save_pretrained(folder)
    except Exception as error:  # noqa: BLE001  (of 189 configs some cannot be made tiny)
        return " ".join(str(error).split())[:100]
    write_tokenizer(folder)
    return None


def run(types: list[str]) -> int:
    """Print the outcomes; 1 where one is broken."""
    torch.set_num_threads(1)
    broken = False
    with tempfile.TemporaryDirectory() as folder:
        data = write_chat(Path(folder) / "chat.jsonl", 10)
        for model_type in types:
            model = Path(folder) / model_type
            if (why := written(model_type, model)) is not None:
                print(f"{model_type}: not built: {why}", flush=True)
                continue
            for way, flags in WAYS.items():
                found = outcome(model, data, Path(folder) / f"{model_type}-{way}", *flags)
                broken |= found.startswith("broken") and model_type not in KNOWN
                print(f"{model_type}, {way}: {' '.join(found.split())[:300]}", flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:] or list(CLASSES)))
