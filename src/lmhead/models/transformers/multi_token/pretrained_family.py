"""The family whose modules transformers drafts from by itself behind a model of its own, and their names there.

    glm4_moe, deepseek_v3   model.layers.{num_hidden_layers + k}., with copies of the embedding and the head
    mellum                  mtp.
    any other               mtp.layers.{k}., names of this library, which lmhead alone reads

A module's experts are written as the model writes its own. Not here: files (saved_modules.py).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from lmhead.errors import InputError, require
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.multi_token.style import FAMILIES, Kind, MultiTokenStyle, require_family
from lmhead.models.transformers.formats.module_names import ModuleNames
from lmhead.models.transformers.formats.multi_token_declaration import MultiTokenDeclaration
from lmhead.models.transformers.multi_token.new_modules import with_modules
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.models.transformers.read_causal_lm import first_line, load_failures
from lmhead.models.transformers.vocabulary import embedding_of, head_of
from lmhead.options import option
from lmhead.shown import shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OF_TRANSFORMERS: Final = ("glm4_moe", "deepseek_v3", "mellum")


def own_family(config: Any) -> str | None:
    """The family of a model of transformers, by its text decoder's config; None where modules have no names there."""
    kind = str(getattr(config, "model_type", ""))
    return kind if kind in _OF_TRANSFORMERS else None


def own_style(config: Any, asked: str | None = None) -> MultiTokenStyle:
    """How modules behind the model are: as its family's, else as `MultiTokenStyle()`.

    Raises:
        ArgumentError: another family is asked for, or there is none of that name.
    """
    family = own_family(config)
    if asked is not None:
        require_family(asked)
        rule = f"be {family}, the model's own" if family else "be left out behind a model that transformers has none of"
        require(asked == family, option("family"), rule, asked)
    return MultiTokenStyle() if family is None else FAMILIES[family]


def names_for(declared: MultiTokenDeclaration, config: Any) -> ModuleNames:
    """Where the tensors of modules behind the model stand."""
    return ModuleNames(declared.style.family, num_layers=config.num_hidden_layers, modules=declared.modules)


def declared_behind(config: Any, mtp: MultiTokenPredictor, depth: int) -> MultiTokenDeclaration:
    """What the modules behind the model are, in a checkpoint.

    Raises:
        ArgumentError: `style.family` is another than the model's.
    """
    family = own_family(config)
    own_style(config, mtp.style.family)
    kind: Kind = "recurrent" if mtp.recurrent else "sequential"
    own = family is not None and _alike(mtp.style, FAMILIES[family], chained=depth > 1)
    return MultiTokenDeclaration(kind=kind, depth=depth, style=replace(mtp.style, family=family if own else None))


def _alike(style: MultiTokenStyle, own: MultiTokenStyle, *, chained: bool) -> bool:
    """Whether an engine of the family runs modules of a style as they were trained."""
    same = (style.order, style.main, style.zero_first) == (own.order, own.main, own.zero_first)
    return same and (not chained or style.chain == own.chain)


def named_tensors(
    model: "PreTrainedModel", mtp: MultiTokenPredictor, declared: MultiTokenDeclaration
) -> dict[str, Tensor]:
    """The modules' tensors by their names in a checkpoint of `declared.style.family`."""
    names, named = names_for(declared, model.config.get_text_config(decoder=True)), dict[str, Tensor]()
    for k in range(names.modules):
        module = mtp.module(k + 1)
        blocks = {f"{names.block(k)}{name}": each for name, each in module.mtp_block.state_dict().items()}
        named |= _as_written(model, blocks) if declared.style.family is not None else blocks
        for ours, theirs in names.beside(k).items():
            named |= {f"{theirs}.{name}": each for name, each in getattr(module, ours).state_dict().items()}
        if declared.style.family in ("glm4_moe", "deepseek_v3"):
            named[f"{names.block(k)}embed_tokens.weight"] = embedding_of(model).weight
            named[f"{names.block(k)}shared_head.head.weight"] = head_of(model).weight
    return {name: each.detach().clone() for name, each in named.items()}


def _as_written(model: "PreTrainedModel", tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As transformers writes the model's own layers: experts one by one."""
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before 5.0 a model holds what it writes
        return tensors
    written: dict[str, Tensor] = revert_weight_conversion(model, tensors)
    return written


def read_family(model: "PreTrainedModel", source: str, declared: MultiTokenDeclaration) -> dict[str, Tensor]:
    """The state of a predictor's modules, of a checkpoint with a family's names, as transformers itself reads it.

    Raises:
        InputError: transformers is too old for it, or the tensors are others.
    """
    if declared.style.family not in _OF_TRANSFORMERS:
        raise InputError(
            f"modules behind a model of transformers must be of {', '.join(_OF_TRANSFORMERS)} or of no family, got "
            f"{declared.style.family} in {shown(source)}: train them on without adapters, or save them as of another"
        )
    try:
        from transformers.modeling_layers import MtpModel
    except ImportError as error:
        raise InputError(
            f"transformers must be 5.23 or later for modules of multi-token prediction of {declared.style.family}, got "
            "one without them: pip install -U transformers"
        ) from error
    config, own = model.config, vars(model).get("_keys_to_ignore_on_load_unexpected")
    names = names_for(declared, config.get_text_config(decoder=True))
    prefixes = ["mtp."] if declared.style.family == "mellum" else [names.block(k) for k in range(names.modules)]
    model.config = with_modules(config, declared.modules)
    # by these transformers tells the modules' tensors from the model's; its own name layers of published models alone
    model._keys_to_ignore_on_load_unexpected = ["^" + prefix.replace(".", r"\.") for prefix in prefixes]
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model.config.name_or_path = source
            modules = MtpModel.from_pretrained(model)
    except load_failures() as error:
        raise InputError(f"the modules in {shown(source)} cannot be loaded: {first_line(error)}") from error
    finally:
        model.config = config
        if own is None:
            del model._keys_to_ignore_on_load_unexpected
        else:
            model._keys_to_ignore_on_load_unexpected = own
    return dict(modules.layers.state_dict(prefix="layers."))
