"""MultiTokenPredictor: what each depth sees, documents, styles, blocks of others, checkpointing, compilation."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.multi_token.style import MultiTokenStyle

T, V, D = 10, 31, 16


def build(depth=3, *, recurrent=False, mtp_style=None, **options):
    torch.manual_seed(0)
    sizes = {"vocab_size": V, "embed_dim": D, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "init_std": 0.3}
    main = GPT.from_config(GPTConfig(**{**sizes, **options})).double()
    kind = "recurrent" if recurrent else "sequential"
    return MultiTokenModel.behind(main, depth=depth, kind=kind, style=mtp_style)


def draw_ids(B=1, length=T, seed=1):
    return torch.randint(V, (B, length), generator=torch.Generator().manual_seed(seed))


def states(model, ids, document=None):
    with torch.no_grad():
        return model.mtp.behind(model.main.trunk(ids, document=document))


@pytest.mark.parametrize("style", ["course", "modern"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_depth_k_at_i_sees_the_ids_up_to_i_plus_k_and_none_beyond(style, recurrent):
    model, ids = build(3, recurrent=recurrent, style=style), draw_ids()
    before = states(model, ids)
    for changed in range(T):
        other = ids.clone()
        other[0, changed] = (ids[0, changed] + 1) % V
        for k, (now, then) in enumerate(zip(states(model, other), before, strict=True), 1):
            first = max(changed - k, 0)  # the first position that reads it
            assert torch.equal(now[:, :first], then[:, :first])
            if first < T - k:
                assert not torch.allclose(now[:, first], then[:, first])


@pytest.mark.parametrize("recurrent", [False, True])
def test_in_a_packed_row_each_document_is_as_if_alone_at_every_depth(recurrent):
    model, ids = build(3, recurrent=recurrent), draw_ids()
    lengths = [5, 4, 1]
    document = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = states(model, ids, document)
    for start, end in [(0, 5), (5, 9)]:
        padded = torch.cat([ids[:, start:end], ids[:, :3]], 1)  # what stands behind a document is seen by none of it
        for k, (alone, row) in enumerate(zip(states(model, padded), packed, strict=True), 1):
            torch.testing.assert_close(row[:, start : end - k], alone[:, : end - start - k])


def test_recurrent_is_sequential_with_one_module_at_every_depth():
    one, several = build(3, recurrent=True), build(3)
    for layer in several.mtp.layers:
        layer.load_state_dict(one.mtp.layers[0].state_dict())
    several.main.load_state_dict(one.main.state_dict())
    ids = draw_ids(2)
    for got, expected in zip(states(one, ids), states(several, ids), strict=True):
        assert torch.equal(got, expected)


class TestStyles:
    """Two depths by hand: the chain's four choices."""

    @pytest.mark.parametrize("order", ["embedding_first", "hidden_first"])
    @pytest.mark.parametrize("main", ["normed", "unnormed"])
    @pytest.mark.parametrize("chain", ["normed", "unnormed"])
    def test_the_choices(self, order, main, chain):
        style = MultiTokenStyle(order=order, main=main, chain=chain)
        model, ids = build(2, mtp_style=style), draw_ids()
        trunk = model.main.trunk(ids)
        state = trunk.hidden if main == "normed" else trunk.unnormed
        rotation = trunk.arguments[0]
        for k, got in enumerate(states(model, ids), 1):
            module = model.mtp.layers[k - 1]
            embedded, hidden = module.enorm(model.main.model.embed_tokens(ids[:, k:])), module.hnorm(state[:, :-1])
            joined = torch.cat([embedded, hidden] if order == "embedding_first" else [hidden, embedded], -1)
            made = module.mtp_block(module.eh_proj(joined), [table[: T - k] for table in rotation], None, None)
            torch.testing.assert_close(got[:, : T - k], module.post_norm(made))
            state = module.post_norm(made) if chain == "normed" else made

    def test_zero_first_hides_the_embedding_that_a_documents_first_position_reads(self):
        model, ids = build(1, mtp_style=MultiTokenStyle(zero_first=True)), draw_ids()
        document = torch.tensor([[0] * 4 + [1] * 6])
        before, other = states(model, ids, document)[0], ids.clone()
        other[0, [1, 5]] = (ids[0, [1, 5]] + 1) % V  # what positions 0 and 4 read beside their own
        after = states(model, other, document)[0]
        assert torch.equal(after[0, [0, 4]], before[0, [0, 4]])
        assert not torch.allclose(after[0, [1, 5]], before[0, [1, 5]])

    def test_without_positions_a_row_is_one_document(self):
        style = MultiTokenStyle(zero_first=True)
        predictor = MultiTokenPredictor(D, block=lambda index: nn.Identity(), style=style)
        hidden, embedded = torch.randn(2, T, D), torch.randn(2, T, D)
        (told,) = predictor(hidden, embedded, positions=torch.arange(T))
        (assumed,) = predictor(hidden, embedded)
        assert torch.equal(told, assumed)

    @pytest.mark.parametrize("name", ["order", "main", "chain", "denominator"])
    def test_an_unknown_choice_is_refused(self, name):
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            MultiTokenStyle(**{name: "middle"})


class TestBlocksOfOthers:
    @pytest.mark.parametrize("family", ["Llama", "Qwen3"])
    def test_a_decoder_layer_of_transformers_is_a_block(self, family):
        transformers = pytest.importorskip("transformers")
        module = __import__(f"transformers.models.{family.lower()}.modeling_{family.lower()}", fromlist=["x"])
        config = getattr(transformers, f"{family}Config")(
            hidden_size=D, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1, head_dim=8, vocab_size=V
        )
        config._attn_implementation = "sdpa"
        torch.manual_seed(0)
        layer_of = getattr(module, f"{family}DecoderLayer")
        predictor = MultiTokenPredictor(D, depth=2, block=lambda index: layer_of(config, index)).double()
        rotary = getattr(module, f"{family}RotaryEmbedding")(config)
        hidden, embedded = torch.randn(2, T, D).double(), torch.randn(2, T, D).double()
        hidden.requires_grad_()
        positions = torch.arange(T)[None]
        got = predictor(
            hidden, embedded, position_embeddings=rotary(hidden, positions), attention_mask=None, use_cache=False
        )
        state = hidden
        for k, made in enumerate(got, 1):
            of = predictor.layers[k - 1]
            joined = torch.cat([of.enorm(embedded[:, k:]), of.hnorm(state[:, :-1])], -1)
            state = of.mtp_block(
                of.eh_proj(joined),
                position_embeddings=rotary(hidden, positions[:, : T - k]),
                attention_mask=None,
                use_cache=False,
            )
            torch.testing.assert_close(made[:, : T - k], of.post_norm(state))
        (gradient,) = torch.autograd.grad(got[1][:, : T - 2].square().sum(), hidden)
        assert gradient[:, : T - 2].abs().sum(-1).gt(0).all()

    def test_a_block_may_return_a_tuple_and_take_any_arguments(self):
        class Scaled(nn.Module):
            def forward(self, x, factor, *, shift):
                return x * factor + shift, "weights"

        predictor = MultiTokenPredictor(D, block=lambda index: Scaled())
        hidden, embedded = torch.randn(1, T, D), torch.randn(1, T, D)
        (got,) = predictor(hidden, embedded, 2.0, shift=1.0)
        of = predictor.layers[0]
        joined = torch.cat([of.enorm(embedded[:, 1:]), of.hnorm(hidden[:, :-1])], -1)
        torch.testing.assert_close(got[:, :-1], of.post_norm(of.eh_proj(joined) * 2 + 1))

    @pytest.mark.parametrize("recurrent", [False, True])
    def test_each_module_gets_a_block_of_its_index(self, recurrent):
        made = []
        MultiTokenPredictor(D, depth=3, block=lambda index: made.append(index) or nn.Identity(), recurrent=recurrent)
        assert made == ([0] if recurrent else [0, 1, 2])


class Checkpointed(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *arguments):
        return checkpoint(self.block, *arguments, use_reentrant=False)


def test_checkpointed_blocks_give_the_same_gradients():
    model, ids = build(2), draw_ids(2)
    targets = Targets.from_labels(ids)
    model.multi_token_loss(ids, targets)[0].backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    for layer in model.mtp.layers:
        layer.mtp_block = Checkpointed(layer.mtp_block)
    model.multi_token_loss(ids, targets)[0].backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name.replace("mtp_block.block", "mtp_block")])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of Dynamo itself
@pytest.mark.parametrize(("kind", "isolated"), [("sequential", False), ("parallel", True)])
def test_compiles_as_one_graph(kind, isolated):
    torch.manual_seed(0)
    model = MultiTokenModel.behind(build(1).main.float(), depth=2, kind=kind, isolated=isolated)
    ids = draw_ids(2)
    targets = Targets.from_labels(ids)

    def loss(ids):
        return model.multi_token_loss(ids, targets)[0]

    expected = loss(ids)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    got = torch.compile(loss, backend="aot_eager", fullgraph=True)(ids)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, list(model.parameters())), gradients)
    torch._dynamo.reset()


@pytest.mark.parametrize("precision", [torch.bfloat16])
def test_runs_under_autocast_in_what_its_weights_are(precision):
    model, ids = build(2).float(), draw_ids(2)
    exact = model.multi_token_loss(ids, Targets.from_labels(ids))[0]
    with torch.autocast("cpu", precision):
        total, _ = model.multi_token_loss(ids, Targets.from_labels(ids))
    total.backward()
    torch.testing.assert_close(total, exact, rtol=0.02, atol=0)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("hidden", "embedded", "rule"),
    [
        ((T, D), (T, D), r"hidden must be \[B, T, D\]"),
        ((1, T, 8), (1, T, 8), r"hidden must be \[B, T, D\], D = 16, got \(1, 10, 8\)"),
        ((1, T, D), (1, T - 1, D), r"embedded must be \[1, 10, 16\], as hidden, got \[1, 9, 16\]"),
        ((1, 2, D), (1, 2, D), "depth must be less than the T = 2 tokens of a row, got 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(hidden, embedded, rule):
    predictor = MultiTokenPredictor(D, depth=2, block=lambda index: nn.Identity())
    with pytest.raises(ArgumentError, match=rule):
        predictor(torch.zeros(hidden), torch.zeros(embedded))


def test_a_depth_of_0_is_refused():
    with pytest.raises(ArgumentError, match="depth must be >= 1, got 0"):
        MultiTokenPredictor(D, depth=0, block=lambda index: nn.Identity())


@pytest.mark.parametrize("positions", [torch.zeros(T - 1), torch.zeros(3, T), torch.zeros(1, 1, T)])
def test_positions_that_do_not_fit_are_refused(positions):
    predictor = MultiTokenPredictor(D, block=lambda index: nn.Identity(), style=MultiTokenStyle(zero_first=True))
    with pytest.raises(ArgumentError, match=r"positions must be \[10\] or \[2, 10\], got"):
        predictor(torch.zeros(2, T, D), torch.zeros(2, T, D), positions=positions)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"block": nn.Identity()}, "block must be a function that makes a block, got Identity: block=lambda index"),
        ({"block": None}, "block must be a function that makes a block, got NoneType"),
        ({"block": lambda index: index}, r"block\(index\) must be a Module, got int"),
        ({"norm": nn.RMSNorm(D)}, "norm must be a function that makes a norm, got RMSNorm"),
        ({"norm": lambda: None}, r"norm\(\) must be a Module, got NoneType"),
    ],
)
def test_what_makes_no_module_is_refused(options, rule):
    with pytest.raises(ArgumentTypeError, match=rule):
        MultiTokenPredictor(D, **{"block": lambda index: nn.Identity(), **options})
