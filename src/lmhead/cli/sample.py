"""`lmhead sample RUN`: continue a prompt, printed as it is made."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmhead.cli.flags import parse
from lmhead.errors import InputError, require

ABOUT = "Continue a prompt with a run's newest checkpoint: lmhead sample RUN --prompt 'def '"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How to sample."""

    prompt: str = "def "
    """The text to continue; - reads it from standard input."""
    tokens: int = 200
    """At most so many tokens are made; a document's end stops earlier."""
    temperature: float = 0.8
    """0 takes the most probable token each time."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    top_p: float | None = None
    """Only the most probable tokens that together have this probability."""
    seed: int | None = None
    """Of the draws; by default another text each time."""
    step: int | None = None
    """Which checkpoint; by default the newest."""
    device: str = "auto"


def run(arguments: Sequence[str]) -> int:
    """Parse, load, stream."""
    words = list(arguments)
    folder = words.pop(0) if words and not words[0].startswith("-") else None
    config = parse(SampleConfig, words, SampleConfig(), command="sample RUN", about=ABOUT)
    if folder is None:
        raise InputError("which run? lmhead sample RUN --prompt '...'; a run is a folder that lmhead train made")
    require(config.tokens >= 1, "tokens", "be >= 1", config.tokens)
    return _sample(Path(folder), config)


def _sample(folder: Path, config: SampleConfig) -> int:
    from lmhead.generation.sampling import TokenStream, sample
    from lmhead.models.hub import load_pretrained
    from lmhead.training.device import choose_device
    from lmhead.training.tokenizer import end_of_text, load_tokenizer

    checkpoint = _checkpoint(folder, config.step)
    tokenizer = load_tokenizer(checkpoint)
    model = load_pretrained(checkpoint).to(choose_device(config.device)).eval()
    prompt = sys.stdin.read() if config.prompt == "-" else config.prompt
    end = end_of_text(tokenizer)
    ids = [end, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    seed = time.time_ns() % 2**31 if config.seed is None else config.seed
    tokens = sample(
        model,
        ids,
        max_new_tokens=config.tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=seed,
        stop_ids=(end,),
    )
    stream = TokenStream(tokenizer, ids[1:])
    sys.stdout.write(prompt)
    for token in tokens:
        sys.stdout.write(stream.add(token))
        sys.stdout.flush()
    sys.stdout.write(stream.finish() + "\n")
    return 0


def _checkpoint(folder: Path, step: int | None) -> Path:
    from lmhead.training.run_folder import RunFolder

    run = RunFolder(folder)
    if (folder / "model.safetensors").exists():
        return folder
    if not folder.is_dir():
        raise InputError(f"no such run: {folder}")
    if step is None:
        return run.latest()
    if step not in run.steps():
        raise InputError(f"{folder} has no checkpoint of step {step}, it has {', '.join(map(str, run.steps())) or 'none'}")
    return run.checkpoint(step)
