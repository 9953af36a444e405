"""torch.func over the op: what it gives the reference gives, and what it has not is refused with the way on."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

import lmhead

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on its first jvp

N, D, V = 6, 5, 11


def drawn():
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((N, D), (V, D), (V,))
    )
    targets = torch.randint(V, (N,), generator=generator)
    targets[2] = -100
    return hidden, weight, bias, targets


def losses(backend):
    """name -> a function of (hidden, weight, bias, targets), of one token or of many."""
    cross_entropy = lmhead.linear_cross_entropy

    def everything(hidden, weight, bias, targets):
        weights = torch.full(targets.shape, 0.5, dtype=torch.float64)
        return cross_entropy(
            hidden, weight, targets, bias=bias, softcap=5.0, label_smoothing=0.1, z_loss=1e-2, logit_scale=0.7,
            token_weight=weights, class_weight=torch.linspace(0.5, 1.5, V, dtype=torch.float64), backend=backend,
        )  # fmt: skip

    def logprobs(hidden, weight, bias, targets):
        taken = lmhead.token_logprobs(hidden, weight, targets, bias=bias, entropy=True, backend=backend)
        return (taken.logprobs + 0.5 * taken.entropy + 0.1 * taken.lse).sum()

    def adapted(hidden, weight, bias, targets):
        adapter = lmhead.LowRankAdapter(down=weight[:2], up=weight[:, :2], scale=0.5)
        return cross_entropy(hidden, weight, targets, bias=bias, adapter=adapter, reduction="sum", backend=backend)

    def divergence(hidden, weight, bias, targets):
        return lmhead.linear_divergence(
            hidden, weight, 2 * hidden, weight, bias=bias, kind="jensen_shannon", backend=backend
        )

    return {
        "mean": lambda hidden, weight, bias, targets: cross_entropy(
            hidden, weight, targets, bias=bias, backend=backend
        ),
        "per token": lambda hidden, weight, bias, targets: cross_entropy(
            hidden, weight, targets, bias=bias, reduction="none", backend=backend
        ).square().sum(),
        **{f.__name__: f for f in (everything, logprobs, adapted, divergence)},
    }  # fmt: skip


TRAINED = (0, 1, 2)
TRANSFORMS = {
    "grad": lambda loss, h, w, b, t: grad(loss, TRAINED)(h, w, b, t),
    "vjp": lambda loss, h, w, b, t: vjp(lambda *x: loss(*x, t), h, w, b)[1](torch.tensor(2.0, dtype=torch.float64)),
    "jacrev": lambda loss, h, w, b, t: jacrev(loss, TRAINED)(h, w, b, t),
    "vmap": lambda loss, h, w, b, t: (vmap(loss, (0, None, None, 0))(h, w, b, t),),
    "gradients of each sample": lambda loss, h, w, b, t: vmap(grad(loss, TRAINED), (0, None, None, 0))(
        h[:, None], w, b, t[:, None]
    ),
    "several heads": lambda loss, h, w, b, t: vmap(grad(loss, TRAINED), (None, 2, 1, None))(
        h, torch.stack([w, 2 * w], 2), torch.stack([b, -b], 1), t
    ),
    "gradient of a mean over samples": lambda loss, h, w, b, t: grad(
        lambda *x: vmap(loss, (0, None, None, 0))(*x, t).mean(), TRAINED
    )(h, w, b),
    "batches of batches": lambda loss, h, w, b, t: vmap(
        vmap(grad(loss), (0, None, None, 0)), (0, None, None, 0)
    )(h.reshape(2, 3, 1, D), w, b, t.reshape(2, 3, 1)),
}  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("loss", losses(None))
def test_a_transform_gives_what_the_reference_gives(loss, transform):
    got, expected = (TRANSFORMS[transform](losses(backend)[loss], *drawn()) for backend in (None, "reference"))
    torch.testing.assert_close(got, expected)


def test_statistics_under_vmap():
    hidden, weight, _, targets = drawn()

    def ranks(backend):
        of_one = lambda h, t: lmhead.linear_cross_entropy(  # noqa: E731
            h, weight, t, return_stats=True, ranks=True, top_k=2, backend=backend
        )[1]
        names = ("nll", "hit", "max_logprob", "rank", "top_ids", "top_logprobs")
        return vmap(lambda h, t: tuple(getattr(of_one(h, t), name) for name in names))(hidden, targets)

    torch.testing.assert_close(ranks(None), ranks("reference"))


def test_backward_through_a_vmap():
    hidden, weight, _, targets = drawn()
    weight.requires_grad_()
    of_each = vmap(lambda h, t: lmhead.linear_cross_entropy(h, weight, t))(hidden, targets)
    (got,) = torch.autograd.grad(of_each.sum(), weight)
    (expected,) = torch.autograd.grad(lmhead.linear_cross_entropy(hidden, weight, targets, reduction="sum"), weight)
    torch.testing.assert_close(got, expected)


class Scored(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = lmhead.LanguageModelingHead(D, V, bias=True, dtype=torch.float64)

    def forward(self, hidden, targets):
        return self.head.loss(hidden, targets=targets)


def test_gradients_of_each_sample_for_the_parameters_of_a_head():
    model, (hidden, _, _, targets) = Scored(), drawn()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    of_each = vmap(grad(lambda own, *batch: functional_call(model, own, batch)), (None, 0, 0))(
        parameters, hidden[:, None], targets[:, None]
    )
    for row in range(N):
        model.zero_grad()
        model(hidden[row : row + 1], targets[row : row + 1]).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(of_each[name][row], parameter.grad)


REFUSED = {
    "jvp": (lambda loss, h: jvp(loss, (h,), (h,)), "no forward-mode derivative"),
    "jvp under vmap": (lambda loss, h: vmap(lambda x: jvp(loss, (x,), (x,)))(h[None]), "no forward-mode derivative"),
    "hessian": (lambda loss, h: hessian(loss)(h), "no forward-mode derivative"),
    "grad of grad": (lambda loss, h: grad(lambda x: grad(loss)(x).sum())(h), "no second derivative"),
}


@pytest.mark.parametrize("transform", REFUSED)
@pytest.mark.parametrize("loss", ["mean", "per token", "divergence"])
def test_what_the_op_has_not_is_refused_with_the_way_on(loss, transform):
    hidden, *others = drawn()
    apply, message = REFUSED[transform]
    with pytest.raises(NotImplementedError, match=rf'{message}.*backend="reference"'):
        apply(lambda h: losses(None)[loss](h, *others), hidden)
    apply(lambda h: losses("reference")[loss](h, *others), hidden)


def test_inside_a_compiled_function_a_transform_is_left_to_eager_torch_or_refused():
    hidden, weight, _, targets = drawn()
    per_sample = lambda h, t: vmap(grad(lambda x, y: lmhead.linear_cross_entropy(x, weight, y)))(h, t)  # noqa: E731
    batch = hidden[:, None], targets[:, None]
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(per_sample, backend="aot_eager")(*batch), per_sample(*batch))
    torch._dynamo.reset()
    with pytest.raises(
        Exception, match=r"no torch\.func transform inside torch\.compile.*reference"
    ):  # dynamo's own class
        torch.compile(per_sample, backend="aot_eager", fullgraph=True)(*batch)
