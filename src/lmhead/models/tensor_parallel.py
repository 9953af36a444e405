"""Tensor parallel embedding and heads: their rows, one a token of the vocabulary, cut over ranks.

    ids of all ranks (gathered) -> rows that this rank holds, 0 for the others' -> summed, each rank given its own ids'

Each rank reads rows of its own, and the layers between are whole on every rank: what crosses ranks is ids, embeddings
and, before the head, hidden states (lmhead.ops.sharded.own_rows). Weights become DTensors, Shard(0) over one mesh
dimension, which FSDP2 shards further over others.

Source: Shoeybi et al., "Megatron-LM" (2019), section 3; gathered and reduce-scattered rows as in Korthikanti et al.,
"Reducing Activation Recomputation in Large Transformer Models" (2022).
"""

import math
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from lmhead.errors import require
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.share_context import gpt_of
from lmhead.ops.sharded.own_rows import OwnRows
from lmhead.ops.sharded.row_exchange import scaled_gradient, scattered_sum
from lmhead.options import option


def cut_vocabulary(model: nn.Module, mesh: DeviceMesh) -> list[nn.Parameter]:
    """Leave this rank its rows of the embedding and of every head, in place; the DTensors that they are now.

    What was tied stays so. Losses, statistics and gradients are then as `VocabularyShard(own_rows=True)` says: each
    rank's rows are its own, and the cut weights' gradients are means over the ranks of `mesh`.

    Args:
        model: a GPT, or one with modules of multi-token prediction; the same on every rank.
        mesh: of one dimension.

    Raises:
        ArgumentError: another model, or a rank would have no row.
    """
    size = mesh.size()
    gpt = gpt_of(model, "tp", size)
    V, each = gpt.vocab_size, math.ceil(gpt.vocab_size / size)
    fits = each * (size - 1) < V
    require(fits, f"{option('mesh')} tp", f"leave every rank some of the {V} tokens", size, "cut over fewer ranks")
    parts: dict[Tensor, nn.Parameter] = {}

    def part(whole: Tensor) -> nn.Parameter:
        if whole not in parts:
            held = whole.detach()[mesh.get_local_rank() * each :][:each].clone()
            cut = DTensor.from_local(held, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride())
            parts[whole] = nn.Parameter(cut, requires_grad=whole.requires_grad)
        return parts[whole]

    gpt.model.embed_tokens = VocabularyParallelEmbedding(part(gpt.model.embed_tokens.weight), mesh)
    for head in _heads(gpt.lm_head, model):
        head.weight, head.own_rows = part(head.weight), True
        if head.bias is not None:
            head.bias = part(head.bias)
    return list(parts.values())


def _heads(main: LanguageModelingHead, model: nn.Module) -> list[LanguageModelingHead]:
    heads = [main]
    if isinstance(model, MultiTokenModel) and isinstance(model.mtp, MultiTokenPredictionHead):
        heads += [head for head in model.mtp.heads if isinstance(head, LanguageModelingHead)]
    return heads


@final
class VocabularyParallelEmbedding(nn.Embedding):
    """The embeddings [.., D] of this rank's ids, of a table whose rows are cut over the ranks of a mesh.

    Every rank of the mesh calls it, with as many ids as it has. The table's gradient is the mean over the ranks.

    Args:
        weight: [V, D], a DTensor, Shard(0) over `mesh`.
    """

    def __init__(self, weight: nn.Parameter, mesh: DeviceMesh) -> None:
        V, D = weight.shape
        super().__init__(V, D, _weight=weight, device="meta")
        self.weight = weight
        self.group = mesh.get_group()
        self.start = mesh.get_local_rank() * math.ceil(V / mesh.size())

    def forward(self, input: Tensor) -> Tensor:
        """Embeddings [.., D] of ids [..]."""
        weight = self.weight.to_local() if isinstance(self.weight, DTensor) else self.weight
        flat = input.reshape(-1)
        rows = OwnRows.of(len(flat), self.group, flat.device)
        every = rows.all(flat) - self.start
        held = (every >= 0) & (every < len(weight))
        found = F.embedding(every.where(held, 0), weight).masked_fill(~held[:, None], 0.0)
        own = scattered_sum(found, self.group)[: len(flat)]
        return scaled_gradient(own, 1 / self.group.size()).view(*input.shape, -1)
