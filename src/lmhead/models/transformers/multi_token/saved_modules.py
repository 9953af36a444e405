"""Modules behind a model of transformers in its folder, and back, bit for bit.

    a model    one more shard beside its own; config.json declares them (formats/multi_token_declaration.py)
    adapters   mtp_modules.safetensors beside adapter_model.safetensors, which says itself what it holds

Without them both load as they do anyway, in transformers and in PEFT.
"""

import copy
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from torch import Tensor

from lmhead.errors import InputError
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.multi_token.style import MultiTokenStyle
from lmhead.models.multi_token.trunk import Backbone
from lmhead.models.transformers.formats.json_object import read_json_object
from lmhead.models.transformers.formats.multi_token_declaration import (
    COUNT,
    FIELD,
    LACKING,
    MultiTokenDeclaration,
    declaration_of,
)
from lmhead.models.transformers.formats.weight_files import holds_safetensors, tensors_by_file
from lmhead.models.transformers.lora import holds_adapters
from lmhead.models.transformers.multi_token.added_weights import add_tensors, read_file, read_tensors, write_tensors
from lmhead.models.transformers.multi_token.new_modules import with_modules
from lmhead.models.transformers.multi_token.pretrained_family import (
    declared_behind,
    named_tensors,
    names_for,
    own_family,
    own_style,
    read_family,
)
from lmhead.shown import shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BESIDE_ADAPTERS: Final = "mtp_modules.safetensors"
_OWN: Final = ("mtp.layers.0.mtp_block.", "mtp.heads.")  # names that nobody but this library writes
_TYPES: Final = ("mtp_layer_types", "mtp_mlp_layer_types")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModules:
    """Modules in a folder: what they are, and their weights by the names of `MultiTokenModel.mtp`."""

    source: str
    declared: MultiTokenDeclaration
    state: dict[str, Tensor]

    def behind(self, main: Backbone) -> MultiTokenModel:
        """The model with the modules behind it.

        Raises:
            ArgumentError: no module can stand behind it.
            InputError: they are those of another.
        """
        declared = self.declared
        try:
            model = MultiTokenModel.restored(
                main, self.state, depth=declared.depth, kind=declared.kind, style=declared.style
            )
        except RuntimeError as error:
            said = shown(" ".join(str(error).split())[:500])
            raise InputError(
                f"the modules in {shown(self.source)} must be those that it declares, got {said}: save them anew"
            ) from error
        return model.train(main.training)


def save_modules(folder: Path, model: MultiTokenModel | None, base: "PreTrainedModel", *, adapters: bool) -> None:
    """Put the modules beside the model, or the adapters, that were saved in `folder`; of none, have config.json say so.

    Raises:
        ArgumentError: they are of a family that is not the model's.
        OSError: the disk refuses.
    """
    config = base.config.get_text_config(decoder=True)
    if model is None:
        if not adapters:
            declare(folder, None, config)
        return
    if isinstance(model.mtp, MultiTokenPredictor):
        declared = declared_behind(config, model.mtp, model.depth)
        named = partial(named_tensors, base, model.mtp, declared)
    else:
        declared = MultiTokenDeclaration(kind="parallel", depth=model.depth, style=MultiTokenStyle())
        named = partial(model.mtp.state_dict, prefix="mtp.")
    if adapters:
        said = {FIELD: json.dumps(declared.fields()[FIELD])}
        write_tensors(folder / BESIDE_ADAPTERS, model.mtp.state_dict(), said)
    else:
        add_tensors(folder, named())
        declare(folder, declared, config)


def declare(folder: Path, declared: MultiTokenDeclaration | None, config: Any) -> None:
    """Have config.json say which modules are among the weights: engines refuse a model that lacks what it says.

    Args:
        config: of the text's decoder.
    """
    file = folder / "config.json"
    said = read_json_object(file)
    before = copy.deepcopy(said)
    said.pop(FIELD, None)
    of_text = said.get("text_config", said)
    count = 0 if declared is None or declared.kind == "parallel" else declared.modules
    if declared is not None and declared.style.family == "mellum":
        made = with_modules(config, count)
        of_text |= {name: getattr(made, name) for name in _TYPES}
        count = 1  # its config refuses more: docs/loss/mtp.md says how transformers drafts with several
    if count or getattr(config, "num_mtp_layers", None):
        of_text[COUNT] = count
    if declared is not None:
        said |= declared.fields()
    if said != before:
        file.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def saved_modules(source: str, base: "PreTrainedModel") -> SavedModules | None:
    """The modules that lie beside a model, or beside its adapters; None where there are none.

    Args:
        source: the folder, or the name on the Hub, that the model was loaded from, or its adapters.
        base: the model of transformers inside.

    Raises:
        InputError: config.json declares modules that are not there, or they are there and it declares none.
    """
    folder, config = folder_of(source), base.config.get_text_config(decoder=True)
    declared = declared_modules(source, config)
    if declared is None:
        return None
    if holds_adapters(str(folder)):
        state = read_file(folder / BESIDE_ADAPTERS)[0]
    elif declared.style.family is not None:
        state = read_family(base, source, declared)
    else:
        prefixes = tuple(_prefixes(declared, config))
        tensors = read_tensors(folder, lambda name: name.startswith(prefixes))
        state = {name.removeprefix("mtp."): tensor for name, tensor in tensors.items()}
    return SavedModules(source=source, declared=declared, state=state)


def declared_modules(source: str, config: Any) -> MultiTokenDeclaration | None:
    """What modules lie beside a model, or beside its adapters, without reading a tensor; None where there are none.

    Args:
        config: of the text's decoder.

    Raises:
        InputError: as of `saved_modules`.
    """
    folder = folder_of(source)
    if holds_adapters(str(folder)):
        return _beside_adapters(folder / BESIDE_ADAPTERS)
    return _among_weights(folder, source, config) if holds_safetensors(folder) else None


def _beside_adapters(file: Path) -> MultiTokenDeclaration | None:
    if not file.is_file():
        return None
    _, said = read_file(file, [])
    try:
        declared = declaration_of({FIELD: json.loads(said.get(FIELD, ""))})
    except ValueError as error:
        raise InputError(f"{file} must say which modules it holds, got {error}: fetch or save it anew") from error
    return declared


def _among_weights(folder: Path, source: str, config: Any) -> MultiTokenDeclaration | None:
    said = read_json_object(folder / "config.json")
    held = {name for names in tensors_by_file(folder).values() for name in names}
    declared = declaration_of(said) if FIELD in said else _of_family(config)
    if declared is None:
        if found := sorted(name for name in held if name.startswith(_OWN)):
            raise InputError(
                f"config.json must declare the modules of multi-token prediction that the weights have ({found[0]}), "
                f"got no {FIELD}: take the config.json that was written with them, or remove their tensors"
            )
        return None
    prefixes = _prefixes(declared, config)
    missing = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in held)]
    if missing and FIELD not in said:
        return None  # its config says so of every model of the type
    if missing:
        raise InputError(
            f"the weights in {shown(source)} must have what config.json declares of multi-token prediction ({FIELD}), "
            f"got none of {missing[0]}: {LACKING}"
        )
    return declared


def _of_family(config: Any) -> MultiTokenDeclaration | None:
    """The modules that a config of a family's own declares."""
    count = getattr(config, "num_mtp_layers", None)
    if own_family(config) is None or not isinstance(count, int) or count < 1:
        return None
    return MultiTokenDeclaration(kind="sequential", depth=count, style=own_style(config))


def _prefixes(declared: MultiTokenDeclaration, config: Any) -> list[str]:
    """What the names of the modules' tensors begin with, one or more for each module."""
    if declared.kind == "parallel":
        return [f"mtp.heads.{k}." for k in range(declared.depth)]
    if declared.style.family is None:
        return [f"mtp.layers.{k}." for k in range(declared.modules)]
    names = names_for(declared, config)
    return [names.block(k) for k in range(names.modules)]


def folder_of(source: str) -> Path:
    """The folder of a model: itself, or where the Hub's files of a name were put when it was loaded."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "adapter_config.json"):
        cached = try_to_load_from_cache(source, name)
        if isinstance(cached, str):
            return Path(cached).parent
    return Path(source)
