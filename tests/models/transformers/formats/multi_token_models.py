"""Small models with modules of multi-token prediction, for the tests of their files."""

import torch

from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import FAMILIES

SIZES = {"vocab_size": 32, "embed_dim": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 48, "mlp_dim": 24}
RECIPE = {  # the default run's
    "qk_norm": True,
    "tie_weights": False,
    "norm_embedding": True,
    "norm_weight": False,
    "gated": False,
    "activation": "relu",
}
DECODERS = {
    "recipe": RECIPE,
    "qwen3": {"qk_norm": True, "num_kv_heads": 1, "head_dim": 6},
    "llama": {},
    "llama, untied": {"tie_weights": False, "norm_weight": False},
    "course": {"style": "course"},
}


def make(decoder, kind="sequential", depth=1, family=None, style=None, **options):
    """A MultiTokenModel in evaluation mode whose every parameter, the norms' too, is away from its first value."""
    torch.manual_seed(0)
    main = GPT.from_config(GPTConfig(**SIZES | DECODERS[decoder] | options))
    style = style if family is None else FAMILIES[family]
    model = MultiTokenModel.behind(main, depth=depth, kind=kind, style=style).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def states(model, ids):
    """The states of each depth; of the parallel kind the weights of its heads."""
    if model.kind == "parallel":
        return [head.weight for head in model.mtp.heads]
    return model.mtp.behind(model.main.trunk(ids))
