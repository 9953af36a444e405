"""A run's modules of multi-token prediction: drawn behind the model that it begins with, or those that it has."""

from lmhead.errors import ArgumentError, InputError, require
from lmhead.models.causal_lm import CausalLM
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.trunk import Backbone
from lmhead.options import option
from lmhead.training.config.multi_token_config import MultiTokenConfig


def with_modules(model: CausalLM, mtp: MultiTokenConfig, *, begun: bool) -> CausalLM:
    """The model with the modules that the config asks for, drawn from torch's global generator unless they are there.

    Args:
        begun: the model is what the run's weights begin as; off: they are all put into it later.

    Raises:
        InputError: the model is none that modules can stand behind.
        ArgumentError: the modules that it has are others than the config says.
    """
    main = model.main if isinstance(model, MultiTokenModel) else model
    if mtp.depth is None:
        return main
    if not isinstance(main, Backbone):
        raise InputError(
            f"{option('init')} must be a model that modules of multi-token prediction can stand behind, got "
            f"{type(main).__name__}: leave {option('mtp.depth')} out"
        )
    if mtp.frozen:
        main.requires_grad_(False)
    isolated = bool(mtp.isolated)
    if mtp.drawn or not begun:
        style = None
        if mtp.kind != "parallel":
            style = main.module_style(mtp.family, kind=mtp.kind, depth=mtp.depth)
        return MultiTokenModel.behind(main, depth=mtp.depth, kind=mtp.kind, style=style, isolated=isolated)
    if not isinstance(model, MultiTokenModel):
        rule = f"be on where {option('init')} has no modules"
        raise ArgumentError(f"{option('mtp.drawn')} must {rule}, got False: leave it out")
    remedy = f"leave {{}} out, or draw new modules: {option('mtp.drawn', True)}"
    for name in ("depth", "kind", "family"):
        own, asked = getattr(modules_of(model), name), getattr(mtp, name)
        said = option(f"mtp.{name}")
        same = own == asked or (name == "family" and asked is None)
        require(same, said, f"be that of {option('init')}'s modules, {own}", asked, remedy.format(said))
    return MultiTokenModel(main, model.mtp, isolated=isolated)


def modules_of(model: CausalLM) -> MultiTokenConfig:
    """The modules that a model has, as a run says it; none of a model alone."""
    if not isinstance(model, MultiTokenModel):
        return MultiTokenConfig()
    return MultiTokenConfig(depth=model.depth, kind=model.kind, family=model.style.family, drawn=False)


def decoder_of(model: GPT | MultiTokenModel) -> GPT:
    """The decoder, without the modules behind it."""
    main = model.main if isinstance(model, MultiTokenModel) else model
    assert isinstance(main, GPT)
    return main
