"""A MultiTokenModel behind a GPT as Hugging Face's tensors and config, and back, bit for bit.

The decoder is written as the model of the family whose names the modules get (models/multi_token/family.py), so that
engines of that family draft from it; what the family cannot say stands in `lmhead_mtp`. Not here: files
(pretrained.py).
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from lmhead.errors import ArgumentTypeError, InputError
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.family import family_of
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.transformers.formats.family_config import to_family, without_family
from lmhead.models.transformers.formats.hf_format import (
    config_to_hugging_face,
    described_by,
    from_hugging_face,
    gpt_of,
    refuse_other_dtypes,
    state_from_hugging_face,
    state_to_hugging_face,
    to_hugging_face,
)
from lmhead.models.transformers.formats.module_names import ModuleNames, is_module_name
from lmhead.models.transformers.formats.multi_token_declaration import (
    COUNT,
    FIELD,
    LACKING,
    MultiTokenDeclaration,
    declaration_of,
)

_HEADS = "mtp.heads."


def to_checkpoint(model: GPT | MultiTokenModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, config) that transformers loads as the main model, with the modules beside it.

    Raises:
        ArgumentError: the family that is asked for cannot hold the model.
        ArgumentTypeError: what is behind the modules is no GPT.
    """
    if not isinstance(model, MultiTokenModel):
        return to_hugging_face(model)
    if not isinstance(model.main, GPT):
        raise ArgumentTypeError(f"model must be modules behind an lmhead.GPT, got {type(model.main).__name__}")
    style = model.style
    family = family_of(model.main.config, style, kind=model.kind, depth=model.depth)
    declared = MultiTokenDeclaration(kind=model.kind, depth=model.depth, style=replace(style, family=family))
    if not isinstance(model.mtp, MultiTokenPredictor):
        tensors, config = to_hugging_face(model.main)
        heads = {f"mtp.{name}": tensor.detach() for name, tensor in model.mtp.state_dict().items()}
        return tensors | heads, config | declared.fields()
    tensors = _written(model.main, model.mtp, _names(model.main, declared))
    config = to_family(config_to_hugging_face(model.main.config), family, modules=declared.modules)
    return tensors, config | declared.fields()


def from_checkpoint(tensors: dict[str, Tensor], config: dict[str, Any]) -> GPT | MultiTokenModel:
    """The model of a checkpoint, with its modules where config.json declares some; in the tensors' dtype.

    Raises:
        OtherModelError: another kind of model, or an option that this decoder lacks.
        InputError: missing, extra or misshapen tensors, of the model or of the modules.
    """
    declared, plain = declaration_of(config), without_family(config)
    refuse_other_dtypes(tensors)
    if declared is None:
        _refuse_undeclared(tensors)
        return from_hugging_face(tensors, plain)
    if declared.kind == "parallel":
        return _with_heads(tensors, plain, declared)
    return _with_modules(tensors, plain, declared)


def _written(main: GPT, mtp: MultiTokenPredictor, names: ModuleNames) -> dict[str, Tensor]:
    state = {name: tensor.detach() for name, tensor in main.state_dict().items()}
    beside: dict[str, Tensor] = {}
    for k in range(names.modules):
        module = mtp.module(k + 1)
        for name, tensor in module.mtp_block.state_dict().items():
            state[f"model.layers.{names.num_layers + k}.{name}"] = tensor.detach()
        for ours, theirs in names.beside(k).items():
            held = getattr(module, ours).state_dict()
            if not held:  # a norm without weights
                held = {"weight": main.lm_head.weight.new_ones(main.width)}
            beside |= {f"{theirs}.{name}": tensor.detach() for name, tensor in held.items()}
    longer = replace(main.config, num_layers=names.num_layers + names.modules)
    return names.written(state_to_hugging_face(state, longer)) | beside


def _with_modules(
    tensors: dict[str, Tensor], plain: dict[str, Any], declared: MultiTokenDeclaration
) -> MultiTokenModel:
    described = described_by(plain)
    counted = "n_layer" if described.style == "course" else "num_hidden_layers"
    names = ModuleNames(
        declared.style.family,
        num_layers=described.num_layers,
        modules=declared.modules,
        layers=_layers(described.style),
    )
    rest, beside = dict(tensors), {}
    for k in range(names.modules):
        found = {name for name in rest if name.startswith((names.block(k), *names.beside(k).values()))}
        if not found:
            raise InputError(_missing(declared, k))
        for ours, theirs in names.beside(k).items():
            for name in [name for name in rest if name.startswith(f"{theirs}.")]:
                beside[f"layers.{k}.{ours}.{name.removeprefix(f'{theirs}.')}"] = rest.pop(name)
    longer = {**plain, counted: described.num_layers + names.modules}
    whole, state = state_from_hugging_face(names.read(rest), longer)
    for k in range(names.modules):
        layer = f"model.layers.{described.num_layers + k}."
        for name in [name for name in state if name.startswith(layer)]:
            beside[f"layers.{k}.mtp_block.{name.removeprefix(layer)}"] = state.pop(name)
    main = gpt_of(replace(whole, num_layers=described.num_layers), state)
    return _loaded(main, declared, beside)


def _with_heads(tensors: dict[str, Tensor], plain: dict[str, Any], declared: MultiTokenDeclaration) -> MultiTokenModel:
    heads = {name.removeprefix("mtp."): tensor for name, tensor in tensors.items() if name.startswith(_HEADS)}
    for k in range(declared.depth):
        if f"heads.{k}.weight" not in heads:
            raise InputError(_missing(declared, k))
    main = from_hugging_face({name: tensor for name, tensor in tensors.items() if not name.startswith(_HEADS)}, plain)
    return _loaded(main, declared, heads)


def _loaded(main: GPT, declared: MultiTokenDeclaration, state: dict[str, Tensor]) -> MultiTokenModel:
    """The modules behind `main` with the weights in `state`, by our names."""
    try:
        return MultiTokenModel.restored(main, state, depth=declared.depth, kind=declared.kind, style=declared.style)
    except RuntimeError as error:
        difference = " ".join(str(error).split())
        raise InputError(f"the tensors must be those of config.json's modules, got {difference[:500]}") from error


def _names(main: GPT, declared: MultiTokenDeclaration) -> ModuleNames:
    config = main.config
    return ModuleNames(
        declared.style.family,
        num_layers=config.num_layers,
        modules=declared.modules,
        layers=_layers(config.style),
    )


def _layers(style: str) -> str:
    return "transformer.h." if style == "course" else "model.layers."


def _missing(declared: MultiTokenDeclaration, k: int) -> str:
    what = f"{'head' if declared.kind == 'parallel' else 'module'} {k + 1} of {declared.modules}"
    return (
        f"the weights must have what config.json declares of multi-token prediction ({FIELD}, {COUNT}), got none of "
        f"{what}: {LACKING}"
    )


def _refuse_undeclared(tensors: dict[str, Tensor]) -> None:
    if found := sorted(filter(is_module_name, tensors)):
        raise InputError(
            f"config.json must declare the modules of multi-token prediction that the weights have ({found[0]}), got "
            f"no {FIELD} and no {COUNT}: take the config.json that was written with them, or remove their tensors"
        )
