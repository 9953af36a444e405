"""`lmhead sample RUN`: continue a prompt, or with --chat answer, printed as it is made."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from lmhead.cli.flags.flag_table import POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.cli.model_text import write_text
from lmhead.errors import InputError, require
from lmhead.shown import shell_word

if TYPE_CHECKING:
    from lmhead.cli.drawing import Drawing
    from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
    from lmhead.models.causal_lm import CausalLM

ABOUT = (
    "Continue a prompt with a run's newest checkpoint: lmhead sample RUN --prompt 'def read('. Or talk to a run that "
    "was trained on conversations: lmhead sample RUN --chat; with --prompt it answers once, and from a pipe each line."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How to sample."""

    run: Annotated[str | None, POSITIONAL] = None
    """A run, one of its checkpoints, or a folder or a name on the Hub (OWNER/NAME) of a model."""
    prompt: str | None = None
    """The text to continue, by default the run's own; best without a space at its end. - reads standard input."""
    chat: bool = False
    """Answer as the assistant, through the run's chat template; without a prompt, as long as somebody asks."""
    system: str | None = None
    """The system prompt of a chat."""
    tokens: int = 200
    """At most so many tokens are made; a document's end stops earlier."""
    temperature: float = 0.8
    """0 takes the most probable token each time."""
    top_k: int | None = None
    """Only the k most probable tokens."""
    top_p: float | None = None
    """Only the most probable tokens that together have this probability."""
    speculate: bool = False
    """Draft tokens with the run's modules of multi-token prediction (train --mtp), and verify several in one pass: the
    same tokens at temperature 0, else of the same distribution."""
    draft: int | None = None
    """How many tokens are drafted before each pass: by default as many as the run has depths. One module drafts any."""
    seed: int | None = None
    """Of the draws; by default another text each time."""
    step: int | None = None
    """Which checkpoint; by default the newest."""
    device: str = "auto"
    """auto: CUDA, else MPS, else the CPU."""


CONFIG: Final = SampleConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, load, stream."""
    config = parse(SampleConfig, arguments, command="sample", about=ABOUT)
    if config.run is None:
        raise InputError("which run? lmhead sample RUN --prompt '...'; a run is a folder that lmhead train made")
    require(config.tokens >= 1, "--tokens", "be >= 1", config.tokens)
    require(config.seed is None or 0 <= config.seed < 2**63, "--seed", "be in [0, 2^63)", config.seed)
    require(config.chat or config.system is None, "--system", "be left out without --chat", config.system)
    require(config.speculate or config.draft is None, "--draft", "be left out without --speculate", config.draft)
    return _chat(Path(config.run), config) if config.chat else _sample(Path(config.run), config)


def _prompt(given: str) -> str:
    require(given != "-" or sys.stdin is not None, "--prompt", "be given where standard input is closed", "-")
    raw = sys.stdin.buffer.read() if given == "-" else given.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the prompt is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}") from None


def _sample(folder: Path, config: SampleConfig) -> int:
    from lmhead.cli.chat import tell
    from lmhead.data.tokenizer.text_ends import generation_stops, prompt_ids
    from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
    from lmhead.generation.sampling import TextStream
    from lmhead.generation.vocabulary import token_ids
    from lmhead.training.weights.trained_model import config_of_run, from_checkpoint

    draw = _draw(config)
    given = None if config.prompt is None else _prompt(config.prompt)

    def read(checkpoint: Path) -> "tuple[TokenizerFiles, CausalLM, str, list[int]]":
        run, files = config_of_run(checkpoint), read_tokenizer(str(checkpoint))
        prompt = ((run and run.prompt) or "") if given is None else given  # what the run continued along the way
        ids = prompt_ids(files, prompt, trained_here=run is not None and files.chat_template is None)
        return files, _model(checkpoint, config), prompt, ids

    files, model, prompt, ids = from_checkpoint(folder, config.step, read)
    if config.speculate and len(ids) > model.max_seq_len:
        raise InputError(
            f"the prompt must fit into the model's context of {model.max_seq_len} tokens, got {len(ids)}: shorten it, "
            "or leave out --speculate: its last tokens are continued then"
        )
    tokenizer = files.backend()
    tokens = draw(
        model,
        ids,
        max_new_tokens=config.tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=_seed(config),
        stop_ids=generation_stops(files),
        vocabulary=token_ids(tokenizer),
    )
    stream = TextStream(tokenizer, ids)
    write_text(prompt)
    for token in tokens:
        write_text(stream.add(token))
    write_text(stream.finish() + "\n")
    for note in draw.notes():
        tell(note)
    return 0


def _chat(folder: Path, config: SampleConfig) -> int:
    from lmhead.cli.chat import converse, say, tell
    from lmhead.data.tokenizer.text_ends import stop_ids
    from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
    from lmhead.generation.chat import Chat
    from lmhead.generation.chat_prompt import ChatPrompt
    from lmhead.training.weights.trained_model import from_checkpoint

    draw = _draw(config)
    question = None if config.prompt is None else _prompt(config.prompt)

    def read(checkpoint: Path) -> Chat:
        files = read_tokenizer(str(checkpoint))
        return Chat(
            _model(checkpoint, config),
            ChatPrompt.of(files, template_arguments=_template_arguments(checkpoint)),
            stop_ids=stop_ids(files),
            max_new_tokens=config.tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=_seed(config),
            draw=draw,
        )

    chat = from_checkpoint(folder, config.step, read)
    if config.system is not None:
        chat.set_system(config.system)
    if question is None:
        converse(chat, draw.notes)
    else:
        say(chat, question, tell)
        for note in draw.notes():
            tell(note)
    return 0


def _draw(config: SampleConfig) -> "Drawing":
    """What gives the tokens: one with each pass of the model, or some that were drafted."""
    from lmhead.cli.drawing import PlainDrawing, SpeculativeDrawing

    return SpeculativeDrawing(config.draft) if config.speculate else PlainDrawing()


def _model(checkpoint: Path, config: SampleConfig) -> "CausalLM":
    """The checkpoint's model.

    Raises:
        InputError: it is to draft, and has nothing to draft with.
    """
    from lmhead.models.multi_token.multi_token_model import MultiTokenModel
    from lmhead.training.weights.trained_model import read_trained_model

    model = read_trained_model(checkpoint, config.device)
    if config.speculate and not isinstance(model, MultiTokenModel):
        raise InputError(
            f"{checkpoint} has no modules of multi-token prediction to draft with: train them behind it with "
            f"lmhead train --init {shell_word(str(config.run))} --mtp 1 --mtp-frozen, or sample without --speculate"
        )
    return model


def _seed(config: SampleConfig) -> int:
    return time.time_ns() % 2**31 if config.seed is None else config.seed


def _template_arguments(checkpoint: Path) -> dict[str, Any]:
    """What the run told its template in training; its date has passed."""
    from lmhead.data.labelling.recipe import template_arguments
    from lmhead.training.weights.trained_model import config_of_run

    config = config_of_run(checkpoint)
    return {} if config is None else template_arguments(config.chat.template_arguments)
