"""The tensors of multi-token modules under the names of a family, and back.

A module's block is written as one more layer of the decoder, `model.layers.{num_layers + k}.`, and then renamed:

    family        block of module k (from 0)        beside it
    mellum        mtp.layers.0.                     mtp.pre_fc_norm_embedding, mtp.pre_fc_norm_hidden, mtp.fc, mtp.norm
       several    mtp.layers.{num_layers + k}.      enorm, hnorm, eh_proj, post_norm: as transformers' MtpModel reads
    qwen3_next    as one module of mellum
    glm4_moe      model.layers.{num_layers + k}.    enorm, hnorm, eh_proj, shared_head.norm, and the embedding and the
                                                    head, which the modules share; the MLP is the shared expert,
                                                    beside experts that do nothing, as in the decoder's last layer
    deepseek_v3   as glm4_moe, the MLP as it is
    mimo          model.mtp_layers.{k}.             token_layernorm, hidden_layernorm, input_proj, final_layernorm; the
                                                    attention has biases, zeros, as every layer has
    none          mtp.layers.{k}.mtp_block.         mtp.layers.{k}.enorm, hnorm, eh_proj, post_norm
"""

from typing import Final

import torch
from torch import Tensor

from lmhead.errors import InputError
from lmhead.models.transformers.formats.hf_format import OtherModelError

_OWN: Final = ("enorm", "hnorm", "eh_proj", "post_norm")
_FLAT: Final = {
    "enorm": "mtp.pre_fc_norm_embedding",
    "hnorm": "mtp.pre_fc_norm_hidden",
    "eh_proj": "mtp.fc",
    "post_norm": "mtp.norm",
}
_MIMO: Final = {
    "enorm": "token_layernorm",
    "hnorm": "hidden_layernorm",
    "eh_proj": "input_proj",
    "post_norm": "final_layernorm",
}
_EMBEDDING: Final = "model.embed_tokens.weight"
_HEAD: Final = "lm_head.weight"
_EXPERTS: Final = 2  # that do nothing: the router chooses among two at least
_NEXTN: Final = ("enorm.", "hnorm.", "eh_proj.", "shared_head.")


def is_module_name(name: str) -> bool:
    """Whether a tensor of a checkpoint is one that only modules have, of whatever family."""
    nextn = name.startswith("model.layers.") and name.split(".", 3)[-1].startswith(_NEXTN)
    return nextn or name.startswith(("mtp.", "model.mtp_layers."))


class ModuleNames:
    """Where a family puts the tensors of modules behind a decoder of so many layers.

    Args:
        layers: what stands before the number of a layer in the decoder's own names.
    """

    def __init__(self, family: str | None, *, num_layers: int, modules: int, layers: str = "model.layers.") -> None:
        self.family, self.num_layers, self.modules, self._layers = family, num_layers, modules, layers

    def block(self, k: int) -> str:
        """What stands before the names of module k's block."""
        if self.family in ("glm4_moe", "deepseek_v3"):
            return f"model.layers.{self.num_layers + k}."
        if self.family == "mimo":
            return f"model.mtp_layers.{k}."
        if self.family in ("mellum", "qwen3_next"):
            return f"mtp.layers.{k if self.modules == 1 else self.num_layers + k}."
        return f"mtp.layers.{k}.mtp_block."

    def beside(self, k: int) -> dict[str, str]:
        """Our names of the tensors beside module k's block -> the family's."""
        if self.family in ("glm4_moe", "deepseek_v3"):
            names = {name: self.block(k) + name for name in _OWN} | {"post_norm": self.block(k) + "shared_head.norm"}
        elif self.family == "mimo":
            names = {name: self.block(k) + theirs for name, theirs in _MIMO.items()}
        elif self.family in ("mellum", "qwen3_next") and self.modules == 1:
            names = _FLAT
        else:
            names = {name: self.block(k).removesuffix("mtp_block.") + name for name in _OWN}
        return names

    def written(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with the blocks of the modules, which are further layers of the decoder in them, renamed."""
        named = {self._moved(name): tensor for name, tensor in tensors.items()}
        return named | {name: tensor.clone() for name, tensor in self._additions(named).items()}

    def read(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `written` was given, of what it gave; without the tensors beside the blocks.

        Raises:
            OtherModelError: what the family adds is not what this decoder can be.
            InputError: a tensor is missing.
        """
        kept = dict(tensors)
        for name, tensor in self._additions(tensors).items():
            found = kept.pop(name, tensor)
            same = found.shape == tensor.shape and torch.equal(found.to(tensor.dtype), tensor)
            _require(same, name, "what the decoder has, or 0: it has no such part")
        return {self._moved_back(name): tensor for name, tensor in kept.items()}

    def _additions(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a family's checkpoint has besides, which follows from the rest, by the family's names."""
        if self.family == "mimo":
            biases = {
                f"{name.removesuffix('weight')}bias": tensor.new_zeros(tensor.shape[:1])
                for name, tensor in tensors.items()
                if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
            }
            head = {} if _HEAD in tensors else {_HEAD: _named(tensors, _EMBEDDING)}  # which MiMo's module reads
            return biases | head
        if self.family not in ("glm4_moe", "deepseek_v3"):
            return {}
        embedding, added = _named(tensors, _EMBEDDING), {}
        for k in range(self.modules):
            added[f"{self.block(k)}embed_tokens.weight"] = embedding
            added[f"{self.block(k)}shared_head.head.weight"] = tensors.get(_HEAD, embedding)
        for layer in self._experts:
            mlp = f"model.layers.{layer}.mlp."
            for name in ("gate_proj.weight", "up_proj.weight", "down_proj.weight"):
                null = torch.zeros_like(_named(tensors, f"{mlp}shared_experts.{name}"))
                added |= {f"{mlp}experts.{expert}.{name}": null for expert in range(_EXPERTS)}
            added[f"{mlp}gate.weight"] = embedding.new_zeros(_EXPERTS, *embedding.shape[1:])
            bias = torch.zeros(_EXPERTS, device=embedding.device)  # float32, whatever the rest is in
            added[f"{mlp}gate.e_score_correction_bias"] = bias
        return added

    @property
    def _experts(self) -> range:
        """The layers whose MLP is the shared expert beside null ones: the modules', and the decoder's last, since vLLM
        refuses a GLM-4-MoE whose layers are dense all."""
        return range(self.num_layers - 1, self.num_layers + self.modules) if self.family == "glm4_moe" else range(0)

    def _moved(self, name: str) -> str:
        for layer in self._experts:
            name = name.replace(f"model.layers.{layer}.mlp.", f"model.layers.{layer}.mlp.shared_experts.")
        for k in range(self.modules):
            layer_name = f"{self._layers}{self.num_layers + k}."
            if name.startswith(layer_name):
                return self.block(k) + name.removeprefix(layer_name)
        return name

    def _moved_back(self, name: str) -> str:
        for layer in self._experts:
            name = name.replace(f"model.layers.{layer}.mlp.shared_experts.", f"model.layers.{layer}.mlp.")
        for k in range(self.modules):
            if name.startswith(self.block(k)):
                return f"{self._layers}{self.num_layers + k}.{name.removeprefix(self.block(k))}"
        return name


def _named(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"the tensors must be those of config.json, got no {name}: fetch or save the model anew")
    return tensors[name]


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise OtherModelError(f"{name} must be {rule}, got another")
