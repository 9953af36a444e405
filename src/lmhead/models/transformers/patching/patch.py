"""patch: the loss of a transformers model without its logits, by its own forward; proven before it is used."""

import inspect
from collections.abc import Mapping
from types import TracebackType
from typing import Any, final

from torch import Tensor, nn

from lmhead.errors import ArgumentError, require_choice
from lmhead.models.transformers.patching.direct_forward import intercept_direct_calls, let_direct_calls_be
from lmhead.models.transformers.patching.forward_hooks import after_forward, before_forward
from lmhead.models.transformers.patching.head_override import follow, remove
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.models.transformers.patching.proof import Proof, prove
from lmhead.models.transformers.patching.refusals import model_inside, require_patchable
from lmhead.models.transformers.patching.state import ATTRIBUTE, Logits, PatchState, state_of
from lmhead.ops.problem import TokenStatistics


@final
class Patch:
    """A patched model, and what was proven of it. As a context manager it takes the patch off at the end."""

    def __init__(self, model: nn.Module, proof: Proof) -> None:
        self.model = model
        self.proof = proof

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if is_patched(self.model):
            unpatch(self.model)

    def __repr__(self) -> str:
        proof, name = self.proof, type(self.model).__name__
        logits = f"logits {proof.record}; " if proof.record else ""
        return f"Patch({name}: {logits}loss equal to {proof.loss:.0e}, gradients to {proof.gradients:.0e})"


def patch(model: nn.Module, *, example: Mapping[str, Any] | None = None, logits: Logits = "eval") -> Patch:
    """Have `model(**batch, labels=...)` take its loss without making logits; the model is changed in place.

        lmhead.patch(model)                      # or: with lmhead.patch(model): ...
        loss = model(**batch, labels=labels).loss

    Any causal LM of transformers: its forward and its loss's code run as they are, but the output layer returns lazy
    logits (a plain object that records scales, caps and cuts), and torch's cross_entropy of them is
    `linear_cross_entropy`. Nothing is known of model types: before this returns, loss and gradients are compared with
    the stock model's on drawn hidden states, and a model whose loss is not reproduced is refused and left as it was.

    The head is looked up at each forward: PEFT before or after, resized embeddings, merged adapters. Signature and
    output class stay; deepcopy, pickle and save_pretrained work, and a checkpoint knows nothing of the patch.

    Args:
        model: in training or evaluation mode; also inside PeftModel, DistributedDataParallel, torch.compile.
        example: a batch that the model is called with, where input_ids and labels do not do (images, fixed lengths).
            Its labels are redrawn.
        logits: "eval": in evaluation mode alone; in training the output has none. "always": real ones in training too,
            which costs what is saved. "never": none wherever there is a loss.

    Raises:
        ArgumentError: the patch could not be proven, or the model is patched already, offloaded, or has several heads.
        ArgumentTypeError: no causal LM of transformers, or an output layer of a kind whose weight cannot be taken.

    Example:
        >>> import torch, transformers
        >>> sizes = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 16}
        >>> config = transformers.LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2)
        >>> model = transformers.LlamaForCausalLM(config)
        >>> ids = torch.tensor([[3, 1, 4, 1, 5]])
        >>> before = model(input_ids=ids, labels=ids).loss
        >>> _ = patch(model)
        >>> out = model(input_ids=ids, labels=ids)
        >>> out.logits is None, torch.allclose(out.loss, before)
        (True, True)
        >>> last_statistics(model).scored.sum().item()  # of 5 positions; behind the last one nothing follows
        4
    """
    require_choice("logits", logits, ("eval", "always", "never"))
    inside = model_inside(model)
    require_patchable(inside)
    names = list(inspect.signature(inside.forward).parameters)
    state = PatchState(logits=logits, labels_at=names.index("labels") if "labels" in names else None)
    vars(inside)[ATTRIBUTE] = state  # not by setattr, which would look for a module in it
    inside.register_forward_pre_hook(before_forward, with_kwargs=True)
    # before others, so that they see no lazy logits, and before FSDP2's, which takes the weights away
    inside.register_forward_hook(after_forward, prepend=True, with_kwargs=True, always_call=True)
    intercept_direct_calls(inside)
    try:
        follow(inside, state)
        state.proof = prove(inside, state, example)
        state.statistics = None  # the proof's are nobody's
    except BaseException:
        unpatch(inside)
        raise
    return Patch(inside, state.proof)


def unpatch(model: nn.Module) -> None:
    """Make a patched model, or a copy of one, stock again.

    Raises:
        ArgumentError: it is not patched.
    """
    inside = model_inside(model)
    state = _required(inside)
    remove(inside, state)
    let_direct_calls_be(inside)
    for hooks, own in ((inside._forward_pre_hooks, before_forward), (inside._forward_hooks, after_forward)):
        for key in [key for key, hook in hooks.items() if hook is own]:
            del hooks[key]
            for flags in (
                inside._forward_pre_hooks_with_kwargs,
                inside._forward_hooks_with_kwargs,
                inside._forward_hooks_always_called,
            ):
                flags.pop(key, None)
    del vars(inside)[ATTRIBUTE]


def is_patched(model: nn.Module) -> bool:
    """Whether the model, or the one inside it, is patched."""
    return state_of(model_inside(model)) is not None


def last_statistics(model: nn.Module) -> TokenStatistics:
    """Of the last forward with labels: nll, lse, entropy, hit and scored of each token, from the loss's own pass.

    Tensors [N], detached, N = B * T: a row for each position as the model's loss had it, which mostly is with labels
    shifted and a last position that is not scored. Nothing is computed here, and nothing summed.

    Raises:
        ArgumentError: the model is not patched, or its last forward had no labels or made its logits.
    """
    inside = model_inside(model)
    statistics = _required(inside).statistics
    if statistics is None:
        raise ArgumentError(
            "model must have had a loss in its last forward, got none taken by the patch: call it with labels, and "
            "before another forward"
        )
    return statistics


def lazy_logits_and_rest(model: nn.Module, **inputs: Any) -> tuple[LazyLogits, Tensor | None]:
    """(the logits of a patched model's forward, unmade, for a loss of one's own; what else its loss is made of).

    The rest is what the model adds to the cross entropy by itself, a router's loss times its coefficient say: while
    logits are handed out, every cross entropy of them is 0, and has no gradient. None where `inputs` have no labels.

    Raises:
        ArgumentError: the model is not patched, or makes its logits.
    """
    inside = model_inside(model)
    state = _required(inside)
    state.handing_out = True
    try:
        output = model(**inputs)
    finally:
        state.handing_out = False
    logits = output.get("logits") if isinstance(output, dict) else output[0]
    if not isinstance(logits, LazyLogits):
        raise ArgumentError(
            f"model must give the logits of its output layer as they are, got {type(logits).__name__} from "
            f"{type(inside).__name__}: another forward has taken the place of its own"
        )
    return logits, output.get("loss") if isinstance(output, dict) else None


def _required(model: nn.Module) -> PatchState:
    state = state_of(model)
    if state is None:
        raise ArgumentError(f"model must be patched, got a {type(model).__name__} that is not: lmhead.patch(model)")
    return state
