"""LoRA by PEFT: adapters put beside a model's layers, saved as a folder that PEFT loads, and read from one.

An adapter folder has no weights but the adapters', and names the model that they were trained on:

    adapter_model.safetensors  adapter_config.json {"base_model_name_or_path": ...}

Where the vocabulary grew, the embedding and the head are trained in full and saved with the adapters: their new rows
are all alike at first, and frozen they would stay so.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from lmhead.errors import ArgumentError, InputError, require
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.models.transformers.read_causal_lm import first_line, load_failures
from lmhead.models.transformers.vocabulary import embedding_of, head_of, is_tied
from lmhead.options import option
from lmhead.packages import require_package
from lmhead.shown import shown

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_TOWERS: Final = ".*(vision|visual|image|audio|speech|multi_modal).*"


def add_lora(model: "PreTrainedModel", options: LoraOptions, *, train_vocabulary: bool = False) -> "PeftModel":
    """The model with fresh adapters, which change nothing until they are trained; all else is frozen.

    Drawn from torch's global generator. Adapters are float32, whatever the weights beside them are.

    Args:
        train_vocabulary: the embedding and the head too, in full.

    Raises:
        InputError: PEFT is not installed.
        ArgumentError: the model has no layer of a name in `targets`.
    """
    require_package("peft", "LoRA")
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    whole = _vocabulary_layers(model) if train_vocabulary else None
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # PEFT divides it; what it says is int
        lora_dropout=options.dropout,
        target_modules=list(options.targets) or "all-linear",
        exclude_modules=None if options.targets else _left_out(model),
        modules_to_save=None if whole is None else list(whole),
        ensure_weight_tying=whole is not None and is_tied(model),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        bias="none",
    )
    try:
        with quiet_transformers():
            made = get_peft_model(model, config)
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_matrix(module)})
        raise ArgumentError(
            f"{option('targets')} must name layers of the model, got {shown(', '.join(options.targets)) or 'none'}: "
            f"{first_line(error)}; it has {shown(', '.join(names))[:300]}"
        ) from error
    if whole is not None:
        config.modules_to_save = (
            whole  # PEFT takes the tied one out, by whose name it knows the other when it reads them
        )
    return made  # type: ignore[return-value, no-any-return, unused-ignore]


def _left_out(model: "PreTrainedModel") -> str | None:
    """A pattern of what "every linear layer" does not mean: towers of images and sounds, routers, Mamba's projections.

    Told by names, which models of transformers have in common: this has to do for models without weights too. A router
    may be an nn.Linear that gives a tuple; Mamba's kernels take the weight of `out_proj` beside its module.
    """
    names = list[str]()
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.Linear) and "Router" in kind:
            names.append(name)
        elif "Mixer" in kind and hasattr(module, "conv1d"):
            names.append(f"{name}.out_proj")
    patterns = dict.fromkeys(re.sub(r"\d+", r"\\d+", re.escape(name)) for name in names)  # of all layers at once
    towers = any(re.fullmatch(_TOWERS, name) for name, _ in model.named_modules())
    return "|".join([*patterns, *([_TOWERS] if towers else [])]) or None


def _vocabulary_layers(model: "PreTrainedModel") -> list[str]:
    """The names of the input embedding and of the head. Where they are tied PEFT ties their copies, if it knows one."""
    wanted: list[nn.Module] = [embedding_of(model), head_of(model)]
    names = [name for name, module in model.named_modules() if any(module is each for each in wanted)]
    known = {name.rpartition(".")[2] for name in names} & {"embed_tokens", "lm_head"}
    if is_tied(model) and not known:
        raise ArgumentError(
            f"the vocabulary of {type(model).__name__} must not grow beside LoRA, got new tokens: its tied embedding "
            "has a name that PEFT does not know; train all weights, or choose a template whose tokens it has"
        )
    return names


def _is_matrix(module: object) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")


def changes_nothing(model: nn.Module) -> bool:
    """Whether the adapters are as they were drawn: of each product one factor is 0."""
    zero = (".lora_B.", ".lora_embedding_A.")
    return not any(bool(each.any()) for name, each in model.named_parameters() if any(part in name for part in zero))


def holds_adapters(source: str) -> bool:
    """Whether the folder has adapters rather than a whole model."""
    return (Path(source) / ADAPTER_CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The model, a folder or a name, that the adapters in `folder` were trained on.

    Raises:
        InputError: the folder does not say, or the model is a folder that is not there.
    """
    try:
        base: Any = read_json_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    except OSError as error:
        raise InputError(f"cannot read {shown(str(folder))}: {error.strerror or error}; give another folder") from error
    if not isinstance(base, str) or not base:
        raise InputError(f"{folder / ADAPTER_CONFIG} must name its model by base_model_name_or_path, got {base!r}")
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise InputError(
            f"the adapters in {shown(str(folder))} must have the model that they were trained on, got none at "
            f"{shown(base)}: bring it back to that place, a link does"
        )
    return base


def saved_options(folder: Path) -> LoraOptions:
    """What the adapters in `folder` are.

    Raises:
        InputError: the folder does not say, or they are of another kind than LoRA.
        OSError: the disk refuses.
    """
    file = folder / ADAPTER_CONFIG
    said = read_json_object(file)
    targets = said.get("target_modules")
    try:
        require(said.get("peft_type") == "LORA", "peft_type", "be LORA", repr(said.get("peft_type")))
        return LoraOptions(
            rank=said["r"],
            alpha=float(said["lora_alpha"]),
            dropout=float(said.get("lora_dropout", 0.0)),
            targets=tuple(sorted(targets)) if isinstance(targets, list) else (),
        )
    except (ArgumentError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} must be of LoRA's adapters, got {first_line(error)}: fetch or save it anew"
        ) from error


def saved_vocabulary(folder: Path) -> int | None:
    """Rows of the embedding that was trained with the adapters; None where it was not.

    Raises:
        InputError: there are no adapters, or their file is broken.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / _WEIGHTS
    if not file.is_file():
        raise InputError(f"{shown(str(folder))} must hold adapters, got no {_WEIGHTS} in it: fetch or save it anew")
    whole = read_json_object(folder / ADAPTER_CONFIG).get("modules_to_save") or ()
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in list(tensors.keys()):
                if any(name.endswith(f"{layer}.weight") for layer in whole):
                    return int(tensors.get_slice(name).get_shape()[0])
    except SafetensorError as error:
        raise InputError(f"{file} must be a safetensors file, got {error}: fetch or save it anew") from error
    return None


def read_lora(model: "PreTrainedModel", folder: Path) -> "PeftModel":
    """The model with the adapters in `folder`.

    Raises:
        InputError: PEFT is not installed, or they are those of another model.
    """
    require_package("peft", f"the adapters in {shown(str(folder))}")
    from peft import PeftModel

    try:
        with quiet_transformers():
            return PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except load_failures() as error:
        raise InputError(f"the adapters in {shown(str(folder))} cannot be loaded: {first_line(error)}") from error
