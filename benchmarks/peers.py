"""How each peer is called: one table, from a name to a loss of (hidden [N, D], weight [V, D], targets [N]).

    peers()                    the table; imports nobody
    peers()[name].loss()       the callable, made on first use; UnavailableError tells why it cannot be had
    peers()[name].refusal()    that reason, or what a tiny problem raises; None where the peer runs here

What is not in torch comes from PyPI. Run with these versions, beside torch 2.13.0:

    pip install trl==1.16.0 cut-cross-entropy==25.1.1 liger-kernel==0.8.5 flash-linear-attention==0.6.0 triton==3.9.0
    pip install --no-deps unsloth==2026.10.9 unsloth_zoo==2026.10.9     (and what their imports then name)

Where there is no GPU, Triton's kernels run in its interpreter, which has to be asked for before Python starts
(TRITON_INTERPRET=1): right for a question of contract, meaningless for a time. Such a peer names that in `environment`.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

TORCH_OP = "torch linear_cross_entropy"


class UnavailableError(RuntimeError):
    """A peer cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody else's loss. `make` imports and wraps it; it is called once, by loss()."""

    name: str
    package: str  # on PyPI, whose version is told
    make: Callable[[], Loss]
    compiled: bool = False  # the first call of a shape compiles: seconds
    interpreted: bool = False  # runs in Triton's interpreter: not to be timed
    environment: dict[str, str] = field(default_factory=dict)  # has to be set before Python starts

    def version(self) -> str | None:
        """Of the installed package; None where there is none."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def loss(self) -> Loss:
        """loss(hidden, weight, targets) -> mean cross entropy over targets other than -100. Raises UnavailableError."""
        if self.version() is None:
            raise UnavailableError(f"{self.package} is not installed")
        unset = {name: value for name, value in self.environment.items() if os.environ.get(name) != value}
        if unset:
            raise UnavailableError(
                "needs " + " ".join(f"{name}={value}" for name, value in unset.items()) + " from the start"
            )
        return _made(self.make)

    def refusal(self) -> str | None:
        """Why it cannot run here: a float32 problem of 4 rows, forward and backward. None where it can."""
        generator = torch.Generator().manual_seed(0)
        hidden, weight = (torch.randn(rows, 8, generator=generator).requires_grad_() for rows in (4, 16))
        try:
            self.loss()(hidden, weight, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
        except UnavailableError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # a peer may raise anything: that is the answer
            return one_line(error)
        return None


def peers() -> dict[str, Peer]:
    """Every peer by name, the plain forms first. Nothing is imported or compiled yet."""
    return {peer.name: peer for peer in _PEERS}


def one_line(error: BaseException) -> str:
    """The error's type and the first line that it has to say, short enough for a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


@functools.cache
def _made(make: Callable[[], Loss]) -> Loss:
    try:
        return make()
    except Exception as error:
        raise UnavailableError(one_line(error)) from error


def plain_upcast(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits, in float32 (float64 stays as it is) from where they are made."""
    logits = hidden @ weight.T
    return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits, in the dtype that they come in."""
    return F.cross_entropy(hidden @ weight.T, targets)


def torch_op(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """torch's own chunked one; without `options` it holds all logits."""
    return F.linear_cross_entropy(hidden, weight, targets, options=torch.nn.LinearCrossEntropyOptions())


def _compiled() -> Loss:
    return torch.compile(plain_upcast)


def _trl() -> Loss:
    """TRL patches a causal language model's forward; this one's backbone hands out the hidden states as they are."""
    model = _BareModel()
    importlib.import_module("trl.trainer.utils").add_fused_lm_head(model)

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        model.head.weight = weight
        output = model.forward(hidden=hidden, shift_labels=targets[None], fused_lm_head=True)
        return output.loss  # type: ignore[no-any-return]

    return loss


class _BareModel:
    """As much of a transformers model as TRL's patch asks for, in classes that torch.compile can trace."""

    def __init__(self) -> None:
        self.config = _BareConfig()
        self.head = _BareHead()

    def base_model(self, *, hidden: Tensor, **_: object) -> Any:
        """The decoder: of one row."""
        return _Decoded(last_hidden_state=hidden[None])

    def get_output_embeddings(self) -> Any:
        """The head."""
        return self.head

    def forward(self, **_: object) -> Any:
        """What the patch replaces."""
        raise NotImplementedError


class _BareConfig:
    """Of a model that caps and scales nothing."""

    def get_text_config(self) -> "_BareConfig":
        """Itself."""
        return self


@dataclass(slots=True)
class _BareHead:
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(slots=True)
class _Decoded:
    last_hidden_state: Tensor


def _cut_cross_entropy(implementation: str) -> Loss:
    function = importlib.import_module("cut_cross_entropy").linear_cross_entropy
    return functools.partial(function, impl=implementation)


def _unsloth_cpu() -> Loss:
    """Its file alone: the package's import patches torch and Triton, and asks for all of unsloth."""
    package = importlib.util.find_spec("unsloth_zoo")
    assert package is not None
    assert package.origin is not None
    file = importlib.util.spec_from_file_location("unsloth_zoo_cpu_ops", Path(package.origin).parent / "cpu" / "ops.py")
    assert file is not None
    assert file.loader is not None
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    function = module.chunked_linear_cross_entropy
    return lambda hidden, weight, targets: function(hidden, weight, None, shift_labels=targets)


def _unsloth_fused() -> Loss:
    function = importlib.import_module("unsloth_zoo.fused_losses.chunked_logprob").unsloth_chunked_ce_loss
    return lambda hidden, weight, targets: function(hidden, weight, None, targets, shift_labels=False)


def _liger() -> Loss:
    module = importlib.import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss()
    return lambda hidden, weight, targets: module(weight, hidden, targets)


def _flash_linear_attention() -> Loss:
    module = importlib.import_module("fla.modules").FusedLinearCrossEntropyLoss()
    return lambda hidden, weight, targets: module(hidden, targets, weight)


def _quack() -> Loss:
    function = importlib.import_module("quack.linear_cross_entropy").chunked_linear_cross_entropy
    return lambda hidden, weight, targets: function(hidden, weight, targets, reduction="mean")


_INTERPRETER = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
_UNSLOTH = {"UNSLOTH_ZOO_DISABLE_GPU_INIT": "1"}  # replaces Triton by a stub in the whole process

_PEERS = (
    Peer(name="plain logits, upcast", package="torch", make=lambda: plain_upcast),
    Peer(name="plain logits, as they come", package="torch", make=lambda: plain),
    Peer(name="torch.compile of plain logits", package="torch", make=_compiled, compiled=True),
    Peer(name=TORCH_OP, package="torch", make=lambda: torch_op),
    Peer(name="TRL", package="trl", make=_trl),
    Peer(
        name="cut-cross-entropy, torch_compile",
        package="cut-cross-entropy",
        make=lambda: _cut_cross_entropy("torch_compile"),
        compiled=True,
    ),
    Peer(
        name="cut-cross-entropy, cce",
        package="cut-cross-entropy",
        make=lambda: _cut_cross_entropy("cce"),
        interpreted=bool(_INTERPRETER),
        environment=_INTERPRETER,
    ),
    Peer(name="unsloth_zoo, CPU", package="unsloth_zoo", make=_unsloth_cpu),
    Peer(name="unsloth_zoo, fused", package="unsloth_zoo", make=_unsloth_fused, environment=_UNSLOTH),
    Peer(
        name="Liger",
        package="liger-kernel",
        make=_liger,
        interpreted=bool(_INTERPRETER),
        environment=_INTERPRETER,
    ),
    Peer(
        name="flash-linear-attention",
        package="flash-linear-attention",
        make=_flash_linear_attention,
        interpreted=bool(_INTERPRETER),
        environment=_INTERPRETER,
    ),
    Peer(name="quack", package="quack-kernels", make=_quack),
)
