"""KL(base || model) of documents: that of float64 over all logits, whatever shares a batch; 0 of a model and itself."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import lmhead
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError, NonFiniteError
from lmhead.evaluation.divergence.divergence_lines import divergence_lines, divergence_markdown
from lmhead.evaluation.divergence.divergence_sums import DivergenceSums
from lmhead.evaluation.divergence.divergence_totals import DivergenceTotals
from lmhead.evaluation.divergence.document_divergences import document_divergences
from lmhead.evaluation.divergence.quantile_sketch import ALPHA, QuantileSketch
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import document_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.labels.example import Example
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

V, CONTEXT, CPU = 40, 8, torch.device("cpu")
WINDOWS = Windows(window=CONTEXT, stride=4)


def gpt(seed=0, vocabulary=V, **options):
    torch.manual_seed(seed)
    return lmhead.GPT(vocabulary, 16, 2, 2, CONTEXT, **options).eval()


def documents(seed=0, count=12, vocabulary=V):
    rng = np.random.default_rng(seed)

    def drawn(number):
        length = int(rng.integers(1, 30))
        ids, trained = rng.integers(0, vocabulary, length).tolist(), (rng.random(length) < 0.7).tolist()
        return EvaluationDocument(
            place=Place(source="a", number=number), source="a", example=Example.of(ids, trained=trained)
        )

    return [drawn(number) for number in range(count)]


def divergences(base, model, given, windows=WINDOWS, dtype=torch.float32, **options):
    return list(document_divergences(base, model, given, windows, device=CPU, dtype=dtype, **options))


def totals_of(found):
    made = DivergenceTotals()
    for each in found:
        made.add(each)
    return made


def logprobs(model, ids, width=None):
    """Float64, over all logits [T, V]."""
    model = copy.deepcopy(model).double()
    made = model(torch.tensor(ids.astype(np.int64))[None])
    logits = made[0] if isinstance(made, tuple) else made
    return logits[0, :, :width].detach().log_softmax(-1)


def exact(base, model, of, windows, width=None):
    """{token: (kld, nll_base, nll_model, same_top)}, a window at a time."""
    found = {}
    for window in windows.over(len(of) - 1):
        ids = of.example.ids[window.start : window.stop]
        q, p = logprobs(base, ids, width), logprobs(model, ids, width)
        for place in range(window.keep - window.start, len(window)):
            t = window.start + place + 1
            if of.scored[t]:
                target = int(of.example.ids[t])
                kld = (q[place].exp() * (q[place] - p[place])).sum().item()
                same = bool(q[place].argmax() == p[place].argmax())
                found[t] = kld, -q[place, target].item(), -p[place, target].item(), same
    return found


def assert_are_those_of_float64(base, model, given, windows=WINDOWS, width=None, **options):
    for found, of in zip(divergences(base, model, given, windows, **options), given, strict=True):
        wanted = exact(base, model, of, windows, width)
        assert found.document is of
        assert np.flatnonzero(~np.isnan(found.kld)).tolist() == sorted(wanted)
        for t, (kld, nll_base, nll_model, same) in wanted.items():
            assert found.kld[t] == pytest.approx(kld, rel=1e-4, abs=1e-7)
            assert found.nll_base[t] == pytest.approx(nll_base, rel=1e-5, abs=1e-6)
            assert found.nll_model[t] == pytest.approx(nll_model, rel=1e-5, abs=1e-6)
            assert found.same_top[t] == same


@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("tokens", [8, 64])
def test_divergences_are_those_of_float64(stride, tokens):
    assert_are_those_of_float64(
        gpt(0), gpt(1), documents(), Windows(window=CONTEXT, stride=stride), tokens=tokens, memory_budget=2**14
    )


def test_the_base_is_the_first_distribution():
    """KL is not symmetric: what comes first is what is averaged over."""
    given = documents()
    there, back = (totals_of(divergences(*pair, given)) for pair in ((gpt(0), gpt(1)), (gpt(1), gpt(0))))
    assert there.kld != pytest.approx(back.kld, rel=1e-3)
    assert there.same_top == back.same_top
    assert (there.nll_base, there.nll_model) == (back.nll_model, back.nll_base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_a_model_and_its_copy_it_is_exactly_0(dtype):
    totals = totals_of(divergences(gpt(0), gpt(0), documents(), dtype=dtype))
    assert totals.tokens > 50
    assert (totals.kld, totals.largest_kld, totals.delta_p_squared) == (0.0, 0.0, 0.0)
    assert totals.same_top == totals.tokens
    assert totals.nll_base == totals.nll_model


def test_both_nll_are_those_of_document_scores():
    given, base, model = documents(), gpt(0), gpt(1)
    for found, own, other in zip(
        divergences(base, model, given),
        document_scores(base, given, WINDOWS, device=CPU, dtype=torch.float32),
        document_scores(model, given, WINDOWS, device=CPU, dtype=torch.float32),
        strict=True,
    ):
        np.testing.assert_allclose(found.nll_base, own.nll, rtol=1e-6)
        np.testing.assert_allclose(found.nll_model, other.nll, rtol=1e-6)


def test_of_a_model_with_modules_behind_it_the_main_head_is_compared():
    behind = MultiTokenModel.behind(gpt(1), depth=2).eval()
    assert (
        totals_of(divergences(gpt(0), behind, documents())).kld
        == totals_of(divergences(gpt(0), gpt(1), documents())).kld
    )


@pytest.mark.parametrize("sizes", [(V, V + 8), (V + 8, V)])
def test_padded_heads_are_compared_over_the_tokens_that_both_have(sizes):
    base, model = gpt(0, sizes[0]), gpt(1, sizes[1])
    assert_are_those_of_float64(base, model, documents(), width=V)


def test_a_token_that_one_model_lacks_is_refused_with_the_remedy():
    with pytest.raises(ArgumentError, match=r"one tokenizer, got heads of 48 and 40 tokens .* in bits per byte$"):
        divergences(gpt(0, V + 8), gpt(1), documents(vocabulary=V + 8))


def test_a_window_beyond_a_context_is_refused():
    with pytest.raises(ArgumentError, match="window must be within the base's context, got 9: take 8 or less"):
        divergences(gpt(0), gpt(1), documents(), Windows(window=9, stride=9))


def test_a_model_that_gives_nan_is_refused():
    broken = gpt(1)
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(NonFiniteError, match="got NaN"):
        divergences(gpt(0), broken, documents())


@pytest.mark.parametrize("name", ["gemma2", "cohere", "phi", "gpt2"])
def test_softcaps_scales_and_biases_of_transformers_models_are_seen(name):
    small_models = pytest.importorskip("tests.models.transformers.patching.small_models")
    make = getattr(small_models, name)
    torch.manual_seed(0)
    base, model = (lmhead.PretrainedCausalLM(make().float().eval()) for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    assert_are_those_of_float64(base, model, documents(count=4))


def test_adapters_are_compared_with_their_base():
    small_models = pytest.importorskip("tests.models.transformers.patching.small_models")
    pytest.importorskip("peft")
    from lmhead.models.transformers.lora import add_lora

    torch.manual_seed(0)
    stock = small_models.llama().float().eval()
    tuned = add_lora(copy.deepcopy(stock), lmhead.LoraOptions(rank=2, dropout=0.5, targets=("q_proj", "lm_head")))
    base, model = lmhead.PretrainedCausalLM(stock), lmhead.PretrainedCausalLM(tuned)
    assert totals_of(divergences(base, model, documents(count=4))).kld == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.2)
    assert_are_those_of_float64(base, model, documents(count=4))


class _Largest(TorchDispatchMode):
    """The most elements of a tensor that an operator made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return made


def test_no_tensor_is_as_large_as_either_models_logits():
    vocabulary, budget = 5_000, 2**18
    base, model = gpt(0, vocabulary), gpt(1, vocabulary)
    given = documents(count=40, vocabulary=vocabulary)
    with _Largest() as largest:
        divergences(base, model, given, memory_budget=budget)
    positions = max(sum(len(window) for window in WINDOWS.over(len(of) - 1)) for of in given)
    assert largest.elements <= 16 * vocabulary  # a head
    assert largest.elements < positions * vocabulary


def test_totals_do_not_depend_on_order_or_parts_and_go_through_json():
    found = divergences(gpt(0), gpt(1), documents())
    whole, first, second = totals_of(found), totals_of(found[5:]), totals_of(found[:5])
    first = DivergenceTotals.from_json(json.loads(json.dumps(first.to_json())))
    first.merge(second)
    for name, value in whole.figures().items():
        assert first.figures()[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-12))
    sums = [DivergenceSums.of(each) for each in found]
    assert whole.kld == pytest.approx(math.fsum(each.kld for each in sums), rel=1e-12)
    assert whole.same_top == sum(each.same_top for each in sums)
    assert json.loads(json.dumps(sums[3].line()))["kld"] == sums[3].kld


def test_statistics_are_those_of_all_tokens_at_once():
    found = divergences(gpt(0), gpt(1), documents())
    totals = totals_of(found)
    kld = np.concatenate([each.kld[each.document.scored] for each in found])
    delta = np.concatenate([each.delta_p[each.document.scored] for each in found])
    assert totals.mean_kld == pytest.approx(kld.mean())
    assert totals.rms_delta_p == pytest.approx(np.sqrt((delta**2).mean()))
    assert (totals.largest_delta_p, totals.least_delta_p) == (delta.max(), delta.min())
    assert totals.quantile_kld(1.0) == kld.max()
    for share in (0.5, 0.9, 0.99):
        assert totals.quantile_kld(share) == pytest.approx(np.quantile(kld, share, method="lower"), rel=ALPHA * 1.01)


def test_quantiles_hold_over_ten_powers_and_zeros():
    values = np.concatenate([np.zeros(100), 10.0 ** np.random.default_rng(0).uniform(-9, 2, 5000)])
    sketch, other = QuantileSketch(), QuantileSketch()
    sketch.add(values[::2])
    other.add(values[1::2])
    sketch.merge(other)
    assert sketch.quantile(0.01) == 0.0
    for share in np.linspace(0.05, 1.0, 20):
        assert sketch.quantile(share) == pytest.approx(np.quantile(values, share, method="lower"), rel=ALPHA * 1.01)


def test_lines_fit_80_columns_and_a_name_cannot_obey_a_terminal():
    totals = totals_of(divergences(gpt(0), gpt(1), documents()))
    intervals = {"mean_kld": (0.012345, 123.456789), "same_top_p": (0.0, 1.0)}
    lines = divergence_lines(totals, base="x" * 200 + "\x1b[2J", intervals=intervals)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert any(line.split()[:2] == ["Mean", "KLD"] and "[0.012345, 123.456789]" in line for line in lines)
    table = divergence_markdown(totals, base="a|b`c", intervals=intervals)
    assert all(line.count("|") == 4 for line in table[2:])
    assert divergence_lines(DivergenceTotals(), base="b") == ["KL(base || model), nats per token: no token scored"]
