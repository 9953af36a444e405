"""torch.func and forward mode over the losses from logits: what plain torch gives."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import lmhead
from lmhead.errors import ArgumentError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on its first jvp

B, T, V = 3, 4, 7


def drawn():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(V, (B, T), generator=generator)
    ids[0, 2:] = -100
    return torch.randn(B, T, V, generator=generator, dtype=torch.float64), ids


def torchs_own(logits, ids):
    return F.cross_entropy(logits[..., :-1, :].reshape(-1, V), ids[..., 1:].reshape(-1))


LOSSES = {
    "causal_lm_loss": (lmhead.causal_lm_loss, torchs_own),
    "LanguageModelingLoss": (lambda z, ids: lmhead.LanguageModelingLoss(V)(z, labels=ids), torchs_own),
    "smoothed": (
        lambda z, ids: lmhead.cross_entropy(z, ids, label_smoothing=0.1),
        lambda z, ids: F.cross_entropy(z.reshape(-1, V), ids.reshape(-1), label_smoothing=0.1),
    ),
    "per token": (
        lambda z, ids: lmhead.cross_entropy(z, ids, reduction="none").square().sum(),
        lambda z, ids: F.cross_entropy(z.reshape(-1, V), ids.reshape(-1), reduction="none").square().sum(),
    ),
    "MultiTokenPredictionLoss": (
        lambda z, ids: lmhead.MultiTokenPredictionLoss(V)(z, [z], labels=ids)[0],
        lambda z, ids: (
            torchs_own(z, ids) + 0.3 * F.cross_entropy(z[..., :-2, :].reshape(-1, V), ids[..., 2:].reshape(-1))
        ),
    ),
}
TRANSFORMS = {
    "grad": lambda loss, z, ids: grad(loss)(z, ids),
    "jacrev": lambda loss, z, ids: jacrev(loss)(z, ids),
    "jacfwd": lambda loss, z, ids: jacfwd(loss)(z, ids),
    "jvp": lambda loss, z, ids: jvp(lambda x: loss(x, ids), (z,), (z.sin(),))[1],
    "hessian": lambda loss, z, ids: hessian(loss)(z, ids),
    "gradients of each sample": lambda loss, z, ids: vmap(grad(loss))(z[1:], ids[1:]),  # of which each is scored
    "one row of ids for all": lambda loss, z, ids: vmap(grad(loss), (0, None))(z, ids[1]),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_transform_gives_what_torchs_own_loss_gives(loss, transform):
    ours, theirs = (TRANSFORMS[transform](f, *drawn()) for f in LOSSES[loss])
    torch.testing.assert_close(ours, theirs)


def test_forward_mode():
    logits, ids = drawn()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(logits, logits.sin())
        tangents = [forward_ad.unpack_dual(f(dual, ids)).tangent for f in LOSSES["causal_lm_loss"]]
    torch.testing.assert_close(*tangents)


def test_weights_and_a_divisor_of_each_sample():
    logits, ids = drawn()
    weight, divisor = torch.rand(B, T, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])

    def loss(z, targets, token_weight, n):
        return lmhead.cross_entropy(z, targets, token_weight=token_weight, divisor=n)

    of_each = vmap(grad(loss))(logits, ids, weight, divisor)
    alone = [grad(loss)(logits[b], ids[b], weight[b], divisor[b]) for b in range(B)]
    torch.testing.assert_close(of_each, torch.stack(alone))


def test_a_sample_with_nothing_to_score_has_a_gradient_of_zero():
    logits, ids = drawn()
    ids[1] = -100
    of_each = vmap(grad(lmhead.causal_lm_loss))(logits, ids)
    assert (of_each[1] == 0).all()
    assert (of_each[2] != 0).any()


def test_a_target_out_of_range_is_refused_where_it_can_be_seen():
    logits, ids = drawn()
    ids[1, 1] = V
    with pytest.raises(ArgumentError, match=f"got {V} at flattened position"):
        grad(lmhead.causal_lm_loss)(logits, ids)
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        vmap(lmhead.causal_lm_loss)(logits, ids)


def test_statistics_under_vmap_are_those_of_each_row_alone():
    logits, ids = drawn()
    logits[1, 0, :2] = logits[1, 0].max() + 1  # two tokens share the first place
    names = ("nll", "lse", "entropy", "hit", "max_logprob", "rank", "top_ids", "top_logprobs")

    def told(z, y):
        statistics = lmhead.cross_entropy(z, y, return_stats=True, ranks=True, top_k=2)[1]
        return tuple(getattr(statistics, name) for name in names)

    together = vmap(told)(logits, ids)
    alone = [told(z, y) for z, y in zip(logits, ids, strict=True)]
    for name, got, expected in zip(names, together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(expected), msg=lambda text, name=name: f"{name}: {text}")
