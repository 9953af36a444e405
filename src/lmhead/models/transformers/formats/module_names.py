"""The tensors of multi-token modules under the names of a family, and back.

A module's block is written as one more layer of the decoder, `model.layers.{num_layers + k}.`, and then renamed:

    family        block of module k (from 0)        beside it
    mellum        mtp.layers.{k}.                   mtp.pre_fc_norm_embedding, mtp.pre_fc_norm_hidden, mtp.fc, mtp.norm;
                                                    of several: mtp.layers.{k}.enorm, hnorm, eh_proj, post_norm
    qwen3_next    as one module of mellum
    glm4_moe      model.layers.{num_layers + k}.    enorm, hnorm, eh_proj, shared_head.norm, and the embedding and the
                                                    head, which the modules share; the MLP is the shared expert
    deepseek_v3   as glm4_moe, the MLP as it is
    mimo          model.mtp_layers.{k}.             token_layernorm, hidden_layernorm, input_proj, final_layernorm; the
                                                    attention has biases, zeros, as every layer has
    none          mtp.layers.{k}.mtp_block.         mtp.layers.{k}.enorm, hnorm, eh_proj, post_norm
"""

from typing import Final

import torch
from torch import Tensor

from lmhead.errors import InputError

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
_COPIES: Final = {"embed_tokens.weight": "model.embed_tokens.weight", "shared_head.head.weight": "lm_head.weight"}
_MLP: Final = ("gate_proj", "up_proj", "down_proj")
_EXPERTS: Final = 2
_ANY: Final = ("mtp.", "model.mtp_layers.")


def is_module_name(name: str, num_layers: int) -> bool:
    """Whether a tensor of a checkpoint is one of modules behind so many layers, of whatever family."""
    if name.startswith(_ANY):
        return True
    parts = name.split(".", 3)
    return name.startswith("model.layers.") and len(parts) > 3 and parts[2].isdigit() and int(parts[2]) >= num_layers


class ModuleNames:
    """Where a family puts the tensors of modules behind a decoder of so many layers.

    Args:
        blocks: what stands before the number of a layer in the decoder's own names.
    """

    def __init__(self, family: str | None, *, num_layers: int, modules: int, blocks: str = "model.layers.") -> None:
        self.family, self.num_layers, self.modules, self._blocks = family, num_layers, modules, blocks

    def block(self, k: int) -> str:
        """What stands before the names of module k's block."""
        if self.family in ("glm4_moe", "deepseek_v3"):
            return f"model.layers.{self.num_layers + k}."
        if self.family == "mimo":
            return f"model.mtp_layers.{k}."
        return f"mtp.layers.{k}." + ("" if self.family in ("mellum", "qwen3_next") else "mtp_block.")

    def beside(self, k: int) -> dict[str, str]:
        """Our names of the tensors beside module k's block -> the family's."""
        if self.family in ("glm4_moe", "deepseek_v3"):
            names = {name: self.block(k) + name for name in _OWN} | {"post_norm": self.block(k) + "shared_head.norm"}
        elif self.family == "mimo":
            names = {name: self.block(k) + theirs for name, theirs in _MIMO.items()}
        elif self.family in ("mellum", "qwen3_next") and self.modules == 1:
            names = _FLAT
        else:
            names = {name: f"mtp.layers.{k}.{name}" for name in _OWN}
        return names

    def written(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with the blocks of the modules, which are further layers of the decoder in them, renamed."""
        named = {}
        for name, tensor in tensors.items():
            named[self._from_layer(name)] = tensor
        for k in range(self.modules):
            named |= {name: tensor.clone() for name, tensor in self._additions(k, tensors).items()}
        if self.family == "mimo":
            named |= {
                f"{name.removesuffix('weight')}bias": tensor.new_zeros(len(tensor))
                for name, tensor in named.items()
                if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
            }
            named.setdefault(
                "lm_head.weight", named["model.embed_tokens.weight"].clone()
            )  # MiMo's module reads its own
        return named

    def read(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `written` was given, of what it gave; without the tensors beside the blocks.

        Raises:
            InputError: what the family adds is not what this decoder can be.
        """
        kept = dict(tensors)
        if self.family == "mimo":
            for name in [name for name in kept if name.endswith("_proj.bias")]:
                _require(not kept.pop(name).count_nonzero(), name, "be 0: this decoder's attention has no biases")
        for k in range(self.modules):
            for name, tensor in self._additions(k, tensors).items():
                if (found := kept.pop(name, None)) is None:
                    continue
                same = found.shape == tensor.shape and torch.equal(found.to(tensor.dtype), tensor)
                _require(same, name, "be the decoder's own, or 0 for an expert that does nothing")
        return {self._to_layer(name): tensor for name, tensor in kept.items()}

    def _additions(self, k: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a family's checkpoint has for module k that follows from the rest."""
        if self.family not in ("glm4_moe", "deepseek_v3"):
            return {}
        block, embedding = self.block(k), tensors["model.embed_tokens.weight"]
        added = {block + name: tensors.get(ours, embedding) for name, ours in _COPIES.items()}
        if self.family == "glm4_moe":
            shapes = {name: tensors[found].shape for name, found in self._mlp(k, tensors).items()}
            for expert in range(_EXPERTS):
                added |= {
                    f"{block}mlp.experts.{expert}.{name}.weight": embedding.new_zeros(shapes[name]) for name in _MLP
                }
            added[f"{block}mlp.gate.weight"] = embedding.new_zeros(_EXPERTS, embedding.shape[1])
            bias = torch.zeros(_EXPERTS, device=embedding.device)  # float32, whatever the rest is in
            added[f"{block}mlp.gate.e_score_correction_bias"] = bias
        return added

    def _mlp(self, k: int, tensors: dict[str, Tensor]) -> dict[str, str]:
        """The names of module k's MLP, as they stand in `tensors`."""
        shared, plain = f"{self.block(k)}mlp.shared_experts.", f"{self._blocks}{self.num_layers + k}.mlp."
        found = {}
        for name in _MLP:
            known = [prefix + name + ".weight" for prefix in (shared, plain) if prefix + name + ".weight" in tensors]
            _require(bool(known), f"{shared}{name}.weight", "be there", "none")
            found[name] = known[0]
        return found

    def _from_layer(self, name: str) -> str:
        for k in range(self.modules):
            layer = f"{self._blocks}{self.num_layers + k}."
            if name.startswith(layer):
                rest = name.removeprefix(layer)
                shared = self.family == "glm4_moe" and rest.startswith("mlp.")
                return self.block(k) + (rest.replace("mlp.", "mlp.shared_experts.", 1) if shared else rest)
        return name

    def _to_layer(self, name: str) -> str:
        for k in range(self.modules):
            if name.startswith(self.block(k)):
                rest = name.removeprefix(self.block(k)).replace("mlp.shared_experts.", "mlp.", 1)
                return f"{self._blocks}{self.num_layers + k}.{rest}"
        return name


def _require(holds: bool, name: str, rule: str, got: str = "something else") -> None:
    if not holds:
        raise InputError(f"{name} must {rule}, got {got}: fetch or save the model anew")
