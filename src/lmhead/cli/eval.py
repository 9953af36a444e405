"""`lmhead eval MODEL... DATA...`: a model's figures on data, with every number behind them; two models compared."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final, Literal

from lmhead.cli.flags.flag_table import HIDDEN, POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.cli.spelling import spelled, spelled_findings
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.errors import InputError
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.shown import shell_word, shown_json, shown_line

if TYPE_CHECKING:
    from lmhead.evaluation.evaluation_result import EvaluationResult

ABOUT = (
    "What a model makes of data that it never saw, with every number behind the figure: lmhead eval MODEL DATA. Two "
    "models are compared: lmhead eval A B DATA. Without data, of a run what it held out of its own."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredChat(ChatConfig):
    """How rows are labelled: what is scored of them."""

    cache: Annotated[str | None, HIDDEN] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What is scored, and how it is read."""

    model: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Models (runs, checkpoints, folders, OWNER/NAME on the Hub), then data: files, folders, hf:NAME:SPLIT."""
    tokenizer: str | None = None
    """Of one model: a tokenizer.json, a folder, or a name on the Hub. None: the one beside the model."""
    audit: bool = False
    """Whether the figure depends on what it must not, on a part of the data: batch, padding, ..; status 1 if so."""
    base: str | None = None
    """A model of the same tokenizer, to which KL and agreement are told: the full one of a quantised one."""
    out: str | None = None
    """A folder for the card, each document's figures and the worst ones' page; what is interrupted goes on there."""
    json: bool = False
    """Print one JSON object and nothing else."""
    window: int | None = None
    """Tokens that are read at a time. None: the model's context, 4,096 at most."""
    stride: int | None = None
    """Tokens that each next window of a longer document ends further on. None: half a window."""
    context: Literal["document", "stream"] = "document"
    """document: each is read alone; stream: end to end, as a run of texts reads its own along the way."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the products: float32 is what the weights are in."""
    batch: int = 8192
    """Tokens that are read at once, at most: the figures do not depend on it."""
    step: int | None = None
    """Which checkpoint of a run; by default the newest."""
    device: str = "auto"
    """auto: CUDA, else MPS, else the CPU."""
    quiet: bool = False
    """Print the first figures and errors alone: no progress, and not what is behind them."""
    documents: DocumentOptions = field(default_factory=DocumentOptions)
    chat: ScoredChat = field(default_factory=ScoredChat)


CONFIG: Final = EvalConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, score, print."""
    config = parse(EvalConfig, arguments, command="eval", about=ABOUT)
    if not config.model:
        raise InputError("which model? lmhead eval MODEL DATA; of a run, without data: what it held out of its own")
    from lmhead.cli.console import console
    from lmhead.given.models_and_data import models_and_data

    models, data = models_and_data(config.model)
    if len(models) > 1 and config.tokenizer is not None:
        raise InputError(f"--tokenizer must be left out with {len(models)} models: each has its own beside it")
    if config.audit:
        return _audited(models, data, config)
    command = "lmhead eval " + " ".join(map(shell_word, arguments))
    if len(models) > 1:
        return _compared(models, data, config, command)
    found = _evaluated(models[0], data, config.out, config, command)
    if config.json:
        sys.stdout.write(shown_json(found.card.json()))
    else:
        out = console()
        width = min(out.width, 100) if out.is_terminal else 80
        if config.quiet:
            out.print(found.card.headline(width).rstrip())
        else:
            out.print(found.card.text(width, partial(spelled, command="eval")))
        if config.out is not None:
            out.print(f"card, documents and the worst ones' page: {config.out}")
    return 0


def _audited(models: Sequence[str], data: Sequence[str], config: EvalConfig) -> int:
    """What the figure depends on; 1 where it must not."""
    import json

    from lmhead.cli.console import console
    from lmhead.cli.data_progress import data_progress
    from lmhead.evaluation.audit_evaluation import audit_evaluation

    for flag, given in (("--base", config.base), ("--out", config.out)):
        if given is not None:
            raise InputError(f"{flag} must be left out with --audit, got {given}: an audit makes no card")
    if len(models) > 1:
        raise InputError(f"--audit must be of one model, got {len(models)}: audit each by itself")
    with data_progress(console(stderr=True, quiet=config.quiet)) as progress:
        report = audit_evaluation(
            models[0],
            data,
            tokenizer=config.tokenizer,
            window=config.window,
            stride=config.stride,
            how=config.documents,
            chat=config.chat,
            device=config.device,
            step=config.step,
            progress=progress,
        )
    report = replace(report, findings=spelled_findings(report.findings, "eval"))
    if config.json:
        said = json.dumps(report.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
        sys.stdout.write(shown_json(said) + "\n")
    else:
        console().print(str(report))
    return 0 if report.ok else 1


def _compared(models: Sequence[str], data: Sequence[str], config: EvalConfig, command: str) -> int:
    """Each model's evaluation in a folder of its own, and each of them against the first."""
    import json

    from lmhead.cli.console import console
    from lmhead.evaluation.comparison.compare import compare_all
    from lmhead.evaluation.comparison.write_comparisons import COMPARISON_FILE, write_comparisons
    from lmhead.evaluation.folder.evaluation_folder import require_own_folder

    names = [f"{number}-{Path(model).resolve().name}" for number, model in enumerate(models, 1)]
    with ExitStack() as stack:
        if config.out is not None:
            require_own_folder(Path(config.out), f"{COMPARISON_FILE}.json", names[0])
        place = Path(config.out or stack.enter_context(TemporaryDirectory(prefix="lmhead-eval-")))
        folders = [str(place / name) for name in names]
        found = [
            _evaluated(model, data, folder, config, command) for model, folder in zip(models, folders, strict=True)
        ]
        made = compare_all(folders[0], folders[1:])
        if config.out is not None:
            write_comparisons(place, made)
    if config.json:
        cards = [each.card.to_dict() for each in found]
        whole = {"cards": cards, "comparisons": [each.to_dict() for each in made]}
        sys.stdout.write(shown_json(json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False)) + "\n")
        return 0
    out = console()
    for comparison in made:
        out.print(str(comparison))
    for each in found:
        for note in each.card.notes:
            out.print(f"{each.card.model.name}: {spelled(note, 'eval')}")
    out.print(f"cards and comparison: {config.out}" if config.out else "the cards of both: --out FOLDER")
    return 0


def _evaluated(
    model: str, data: Sequence[str], out: str | None, config: EvalConfig, command: str
) -> "EvaluationResult":
    from lmhead.cli.console import console
    from lmhead.cli.data_progress import data_progress
    from lmhead.evaluation.evaluate import evaluate

    with data_progress(console(stderr=True, quiet=config.quiet)) as progress, _going_on(out):
        return evaluate(
            model,
            data,
            tokenizer=config.tokenizer,
            window=config.window,
            stride=config.stride,
            context=config.context,
            how=config.documents,
            chat=config.chat,
            precision=config.precision,
            device=config.device,
            step=config.step,
            tokens=config.batch,
            base=config.base,
            out=out,
            progress=progress,
            command=command,
        )


@contextmanager
def _going_on(out: str | None) -> Iterator[None]:
    """What is told of an evaluation that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        told = f"kept in {out}: the same command goes on there" if out else "nothing is kept without --out FOLDER"
        sys.stderr.write("\n" + shown_line(told) + "\n")
        raise
