"""Estimate of a decoder before it is built: parameters, FLOPs and memory, by part. Arithmetic only, without torch.

Not here: seconds. They are FLOPs divided by what the machine reaches, which has to be measured.
"""

from dataclasses import dataclass, fields
from typing import Literal

from lmhead.errors import require
from lmhead.models.config import GPTConfig
from lmhead.models.multi_token.style import KINDS, Kind

Optimizer = Literal["adamw", "muon"]
_FLOAT32 = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherTokens:
    """What stands behind the decoder for multi-token prediction, and how it is trained."""

    depth: int  # tokens beyond the next one
    kind: Kind = "sequential"
    isolated: bool = False  # its loss gives the decoder's embedding, blocks and head no gradient
    frozen: bool = False  # nor does any other
    against: Literal["labels", "model"] = "labels"  # from which its loss is

    def __post_init__(self) -> None:
        require(self.depth >= 1, "depth", "be >= 1", self.depth)
        require(self.kind in KINDS, "kind", f"be one of {', '.join(KINDS)}", repr(self.kind))
        require(self.against in ("labels", "model"), "against", "be labels or model", repr(self.against))

    @property
    def modules(self) -> int:
        """Those that have weights of their own."""
        return 1 if self.kind == "recurrent" else self.depth


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCount:
    """Trained numbers by part."""

    embedding: int
    positions: int
    attention: int  # of all layers, as the other parts
    mlp: int
    norms: int
    head: int  # 0 where it is tied: the embedding counts
    mtp: int = 0  # what stands behind it for multi-token prediction

    @property
    def total(self) -> int:
        """All of them: sum(p.numel() for p in model.parameters())."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopCount:
    """Floating-point operations for one token by part: two for each multiply-add, forward only.

    Matrix products alone; norms, softmax and activations are left out, as is usual.
    """

    projections: int  # the attention's four matrices
    scores: float  # q k^T and the mixing of values, causal: each token looks at (T + 1) / 2 on average
    mlp: int
    head: int
    mtp: float = 0.0  # the modules of multi-token prediction
    mtp_head: float = 0.0  # the head's rows of all its depths
    not_taken: float = 0.0  # gradients of what is isolated from the loss of further tokens, or frozen

    @property
    def forward(self) -> float:
        """One token, forward."""
        return self.projections + self.scores + self.mlp + self.head + self.mtp + self.mtp_head

    @property
    def backward(self) -> float:
        """One token, backward: the gradient of the input, and of the weight."""
        return 2 * self.forward - self.not_taken

    @property
    def training(self) -> float:
        """One token, forward and backward."""
        return self.forward + self.backward

    @property
    def head_share(self) -> float:
        """The head's part of the work, in [0, 1]."""
        return (self.head + self.mtp_head) / self.forward


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCount:
    """Bytes that training takes, and the bytes of logits that it does not."""

    weights: int  # float32, and the layers' bfloat16 copies under autocast
    gradients: int
    optimizer: int
    activations: int  # kept for the backward of one micro-batch, without dropout; within a tenth of what torch keeps
    checkpointed: int  # the same where each layer's input alone is kept, and one layer at a time computed again
    logits_avoided: int  # one float32 copy; a plain cross entropy holds two or three

    @property
    def total(self) -> int:
        """What training takes: all but the logits."""
        return self.weights + self.gradients + self.optimizer + self.activations


def parameter_count(config: GPTConfig, mtp: FurtherTokens | None = None) -> ParameterCount:
    """How many parameters the model of `config` has, by part, with what `mtp` puts behind it.

    Example:
        >>> parameter_count(GPTConfig(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2, style="course")).total
        736
    """
    D, N, course = config.embed_dim, config.num_layers, config.style == "course"
    norm = 2 * D if course else D * config.norm_weight  # LayerNorm has a weight and a bias
    qk_norm = 2 * config.head_width * (config.qk_norm and config.norm_weight)
    biases = config.mlp_width + D if course else 0
    return ParameterCount(
        embedding=config.vocab_size * D,
        positions=config.max_seq_len * D if course else 0,
        attention=N * _attention_matrices(config),
        mlp=N * (_mlp_matrices(config) + biases),
        norms=N * (2 * norm + qk_norm) + norm,
        head=0 if config.tie_weights else config.vocab_size * D,
        mtp=0 if mtp is None else mtp.modules * (_module_matrices(config, mtp) + _module_vectors(config, mtp)),
    )


def flop_count(config: GPTConfig, *, sequence_length: int | None = None, mtp: FurtherTokens | None = None) -> FlopCount:
    """Operations for one token of a row of `sequence_length` tokens (by default max_seq_len).

    Args:
        mtp: multi-token prediction; every depth is counted for every token, as if rows had no end.
    """
    T = _length(config, sequence_length)
    projections, mlp = 2 * _attention_matrices(config), 2 * _mlp_matrices(config)
    scores = 2 * 2 * config.num_heads * config.head_width * (T + 1) / 2
    N, head = config.num_layers, 2 * config.vocab_size * config.embed_dim
    behind, heads, not_taken = 0.0, 0.0, 0.0
    if mtp is not None:
        shared = mtp.kind != "parallel"  # the head
        behind = mtp.depth * (4 * config.embed_dim**2 + projections + scores + mlp) if shared else 0.0
        of_depths = mtp.depth * head
        products = 1 if mtp.against == "labels" else 3  # the depth's, the model's, and those of the statistics
        heads = products * of_depths
        not_taken += 2 * (heads - of_depths)
        if mtp.frozen:
            not_taken += 2 * (N * (projections + scores + mlp) + head)
        if shared and (mtp.isolated or mtp.frozen):
            not_taken += of_depths  # of the head's weight
    return FlopCount(
        projections=N * projections,
        scores=N * scores,
        mlp=N * mlp,
        head=head,
        mtp=behind,
        mtp_head=heads,
        not_taken=not_taken,
    )


def memory_count(
    config: GPTConfig,
    *,
    rows: int,
    sequence_length: int | None = None,
    optimizer: Optimizer = "adamw",
    compute_bytes: int = _FLOAT32,
    mtp: FurtherTokens | None = None,
    cpu: bool = True,
) -> MemoryCount:
    """Bytes that training takes with float32 weights and micro-batches of `rows` rows.

    Args:
        sequence_length: tokens a row; by default max_seq_len.
        optimizer: "adamw" keeps two float32 numbers for each parameter, "muon" one for each of the layers' matrices
            and two for all else.
        compute_bytes: of one number in the matrix products: 4, or 2 under bfloat16 autocast.
        mtp: multi-token prediction behind it.
        cpu: rows may be so short that attention keeps its weights there (models/attention.py).
    """
    require(rows >= 1, "rows", "be >= 1", rows)
    require(optimizer in ("adamw", "muon"), "optimizer", "be adamw or muon", repr(optimizer))
    require(compute_bytes in (2, 4), "compute_bytes", "be 2 or 4", compute_bytes)
    tokens = rows * _length(config, sequence_length)
    count = parameter_count(config, mtp)
    frozen = mtp is not None and mtp.frozen
    matrices = config.num_layers * (_attention_matrices(config) + _mlp_matrices(config))
    behind = mtp.modules * _module_matrices(config, mtp) if mtp is not None and mtp.kind != "parallel" else 0
    trained = count.mtp if frozen else count.total
    by_muon = (behind if frozen else matrices + behind) if optimizer == "muon" else 0
    T = _length(config, sequence_length)
    return MemoryCount(
        weights=_FLOAT32 * count.total + ((matrices + behind) * compute_bytes if compute_bytes < _FLOAT32 else 0),
        gradients=_FLOAT32 * trained,
        optimizer=_FLOAT32 * (2 * trained - by_muon),
        activations=tokens * _activation_bytes(config, compute_bytes, T, mtp, cpu),
        checkpointed=tokens * _checkpointed_bytes(config, compute_bytes, T, mtp, cpu),
        logits_avoided=_FLOAT32 * tokens * config.vocab_size,
    )


def _attention_matrices(config: GPTConfig) -> int:
    heads = 2 * config.num_heads + 2 * config.kv_heads  # q and o, k and v
    return config.embed_dim * config.head_width * heads


def _mlp_matrices(config: GPTConfig) -> int:
    matrices = 3 if config.style == "modern" and config.gated else 2
    return matrices * config.embed_dim * config.mlp_width


def _module_matrices(config: GPTConfig, mtp: FurtherTokens) -> int:
    """Of one module of multi-token prediction, or one parallel head."""
    D = config.embed_dim
    if mtp.kind == "parallel":
        return config.vocab_size * D
    return 2 * D * D + _attention_matrices(config) + _mlp_matrices(config)


def _module_vectors(config: GPTConfig, mtp: FurtherTokens) -> int:
    """Its norms and biases: three norms beside the block's own."""
    if mtp.kind == "parallel":
        return 0
    D, course = config.embed_dim, config.style == "course"
    norm = 2 * D if course else D * config.norm_weight
    qk_norm = 2 * config.head_width * (config.qk_norm and config.norm_weight)
    return 5 * norm + qk_norm + (config.mlp_width + D if course else 0)


def _checkpointed_bytes(config: GPTConfig, compute_bytes: int, T: int, mtp: FurtherTokens | None, cpu: bool) -> int:
    layers = config.num_layers + (mtp.depth if mtp is not None and mtp.kind != "parallel" else 0)
    if mtp is not None and mtp.frozen:
        layers -= config.num_layers
    layer = _layer_bytes(config, compute_bytes, T, cpu)
    whole = _activation_bytes(config, compute_bytes, T, mtp, cpu)
    return min(whole, whole - layers * layer + layers * config.embed_dim * compute_bytes + layer)


def _activation_bytes(config: GPTConfig, compute_bytes: int, T: int, mtp: FurtherTokens | None, cpu: bool) -> int:
    """What autograd keeps for one token: gpt.py's operations in order, each tensor once; what is frozen keeps none."""
    D, layer = config.embed_dim, _layer_bytes(config, compute_bytes, T, cpu)
    ends = D * (2 * compute_bytes + _FLOAT32)  # final norm, hidden state and its gradient, which the head computes
    kept = 0 if mtp is not None and mtp.frozen else config.num_layers * layer + ends
    if mtp is None:
        return kept
    if mtp.kind == "parallel":
        return kept + mtp.depth * D * _FLOAT32  # gradients of the hidden state, which each head computes
    joined = 2 * D * compute_bytes  # what the projection reads; the unit vectors of its two norms are as many
    units = 0 if mtp.frozen and not config.norm_weight else joined
    return kept + mtp.depth * (layer + ends + joined + units)


def _layer_bytes(config: GPTConfig, compute_bytes: int, T: int, cpu: bool) -> int:
    """Of one of the layers."""
    D, W = config.embed_dim, config.mlp_width
    queries, keys = config.num_heads * config.head_width, config.kv_heads * config.head_width
    norms = 2 * D * compute_bytes  # two inputs, or their unit vectors
    if config.style == "course" or config.norm_weight:
        norms += 2 * D * compute_bytes  # what the matrices read is another tensor
    attention = 2 * (queries + keys) * compute_bytes + config.num_heads * _FLOAT32  # q, k, v, output; log-sum-exp
    if cpu and compute_bytes < _FLOAT32 and T <= 512 and config.kv_heads == config.num_heads:  # models/attention.py
        attention += config.num_heads * (T * compute_bytes - _FLOAT32)
    if config.qk_norm:
        attention += (queries + keys) * compute_bytes
    if config.style == "course":
        inner = 2  # before and after GELU
    else:
        inner = (4 if config.activation != "relu" else 3) if config.gated else (2 if config.activation == "relu" else 3)
    return norms + attention + inner * W * compute_bytes


def _length(config: GPTConfig, sequence_length: int | None) -> int:
    T = config.max_seq_len if sequence_length is None else sequence_length
    require(1 <= T <= config.max_seq_len, "sequence_length", f"be in [1, {config.max_seq_len}]", T)
    return T
