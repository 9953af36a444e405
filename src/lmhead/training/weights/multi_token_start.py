"""A run's modules of multi-token prediction: drawn behind the model that it begins with, or those that it has."""

from lmhead.errors import InputError, require
from lmhead.models.causal_lm import CausalLM
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.trunk import Backbone
from lmhead.options import option
from lmhead.training.config.multi_token_config import MultiTokenConfig


def with_modules(model: CausalLM, mtp: MultiTokenConfig) -> CausalLM:
    """The model with the modules that the config asks for, drawn from torch's global generator unless they are there.

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
    if mtp.drawn:
        return MultiTokenModel.behind(main, depth=mtp.depth, kind=mtp.kind, isolated=isolated)
    remedy = f"or draw new ones: {option('mtp.drawn', True)}"
    if not isinstance(model, MultiTokenModel):
        require(False, option("mtp.drawn"), f"be on where {option('init')} has no modules", False)
        raise AssertionError
    for name, own, asked in (("depth", model.depth, mtp.depth), ("kind", model.kind, mtp.kind)):
        require(own == asked, option(f"mtp.{name}"), f"be that of {option('init')}'s modules, {own},", asked, remedy)
    return MultiTokenModel(main, model.mtp, isolated=isolated)
