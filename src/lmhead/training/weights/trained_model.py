"""A trained model as people name it: a run, one of its checkpoints, a folder, a name on the Hub -> the model in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lmhead.errors import InputError, NonFiniteError
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import choose_device, choose_precision
from lmhead.models.transformers.formats.weight_files import holds_weights
from lmhead.options import option
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.checkpoint_sums import is_checkpoint
from lmhead.training.run.checkpoints import verify_model
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.published_model import read_model
from lmhead.training.weights.start import is_hub_name

Read = TypeVar("Read")


def checkpoint_of(folder: Path, step: int | None = None) -> Path:
    """The folder with the weights: of a run its newest checkpoint, or that of a step; a name on the Hub as it is.

    Raises:
        InputError: there is none, it is damaged, or a step is asked of what is no run.
    """
    run = RunFolder(folder)
    alone = holds_weights(folder) or is_checkpoint(folder)
    if step is not None and (alone or is_hub_name(str(folder))):
        raise InputError(f"{option('step')} must be left out for {folder}, which is no run but one model, got {step}")
    if alone:
        verify_model(folder)
        return folder
    if is_hub_name(str(folder)):
        return folder
    if not folder.is_dir():
        raise InputError(f"no such run: {folder}")
    if not run.config_file.is_file() and not run.steps():
        raise InputError(f"no run in {folder}: it has no config.yaml and no weights of a model{_runs_in(folder)}")
    return run.checkpoint_for_use(step)


def from_checkpoint(folder: Path, step: int | None, read: Callable[[Path], Read]) -> Read:
    """What `read` makes of a checkpoint. The newest may be removed while it is read: then there is a newer one."""
    while True:
        checkpoint = checkpoint_of(folder, step)
        try:
            return read(checkpoint)
        except (InputError, OSError):
            if checkpoint_of(folder, step) == checkpoint:
                raise


def config_of_run(checkpoint: Path) -> TrainConfig | None:
    """The config of the run that the checkpoint lies in; None where it lies elsewhere."""
    folder = checkpoint.resolve().parent
    run = RunFolder(folder.parent)
    return run.config() if folder.name == run.checkpoints.name and run.config_file.is_file() else None


def read_trained_model(checkpoint: Path, device: str = "auto") -> CausalLM:
    """The model of a checkpoint, in evaluation mode, after its weights were found to be numbers.

    Args:
        device: auto: CUDA, else MPS, else the CPU.

    Raises:
        InputError: it is damaged, or nothing loads it.
        NonFiniteError: a weight is NaN or infinite: some never show in the logits, and some make them nonsense.
    """
    chosen, run = choose_device(device), config_of_run(checkpoint)
    how: dict[str, Any] = {}
    if run is not None and run.lora.rank is not None:  # adapters were trained beside weights in this shape
        how = {"dtype": choose_precision(run.precision, chosen), "quantize": run.quantize}
    model = read_model(checkpoint, device=chosen, **how)
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise NonFiniteError(
                f"the weights of {checkpoint} must be finite, got NaN or infinity in {name}: take an earlier checkpoint"
            )
    return model


def _runs_in(folder: Path) -> str:
    """A hint to the runs that a folder of runs holds, the newest."""
    configs = sorted(folder.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
    return f"; give one of its runs, {configs[-1].parent} say" if configs else ""
