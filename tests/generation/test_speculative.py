"""Speculative decoding gives what plain decoding gives: greedy the same tokens, drawn the same distribution."""

import copy
import functools
import itertools
import math

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from lmhead.generation.next_token import next_token_probabilities
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import speculate, speculative_sample
from lmhead.generation.speculator import Speculator
from lmhead.labels.targets import Targets
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.draft_reader import AnewDraftReader
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import MultiTokenStyle

KINDS = [("sequential", 1), ("sequential", 3), ("recurrent", 2), ("parallel", 2)]
PROMPTS = [[1, 2, 3], [4], list(range(5, 16)), [3] * 12]  # one token, nearly the context, as long as it
UNLIKE = MultiTokenStyle(order="hidden_first", main="unnormed", chain="normed", zero_first=True)


def made(kind="sequential", depth=2, *, style="modern", mtp_style=None, vocab_size=31, seed=0, **options):
    torch.manual_seed(seed)
    gpt = GPT(vocab_size, 16, 2, 2, max_seq_len=12, style=style, init="torch", embedding_std=1.0, **options)
    return MultiTokenModel.behind(gpt, depth=depth, kind=kind, style=mtp_style).eval()


def agreeing(kind, depth, mtp_style=None):
    """A model whose drafts are often right."""
    return copy.deepcopy(trained(kind, depth, mtp_style))


@functools.cache
def trained(kind, depth, mtp_style):
    """Module and decoder were trained to count, in steps that the text has."""
    model = made(kind, depth, vocab_size=11, mtp_style=mtp_style)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(50):
        step = torch.randint(1, 4, (8, 1), generator=generator)
        ids = (torch.randint(11, (8, 1), generator=generator) + step * torch.arange(12)) % 11
        noise = torch.rand(ids.shape, generator=generator) < 0.1
        ids = torch.where(noise, torch.randint(11, ids.shape, generator=generator), ids)
        if kind == "parallel":
            hidden = model.main.hidden(ids)
            losses = model.mtp.losses(hidden, labels=ids)
            loss = model.main.loss(ids, Targets.from_labels(ids)) + sum(losses) / ids.numel()
        else:
            loss, _ = model.multi_token_loss(ids, Targets.from_labels(ids))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def plain(model, prompt, **options):
    return list(sample(model, prompt, **{"max_new_tokens": 30, "temperature": 0, **options}))


# Greedy.


@pytest.mark.parametrize("style", ["course", "modern"])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_greedy_gives_what_plain_greedy_gives(kind, depth, style):
    model = made(kind, depth, style=style)
    expected = [plain(model, prompt) for prompt in PROMPTS]
    assert speculate(model, PROMPTS, max_new_tokens=30, temperature=0).tokens == expected
    for prompt, tokens in zip(PROMPTS, expected, strict=True):
        assert list(speculative_sample(model, prompt, max_new_tokens=30, temperature=0)) == tokens


@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_drafts_that_are_often_right_change_nothing_but_the_forwards(kind, depth):
    model = agreeing(kind, depth)
    prompts = [[0, 2, 4, 6], [5], [9, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1]]
    expected = [plain(model, prompt) for prompt in prompts]
    batch = speculate(model, prompts, max_new_tokens=30, temperature=0)
    alone = [speculative_sample(model, prompt, max_new_tokens=30, temperature=0) for prompt in prompts]
    assert [list(tokens) for tokens in alone] == expected == batch.tokens
    assert sum(tokens.counts.forwards for tokens in alone) == batch.counts.forwards
    assert batch.counts.tokens == 120
    assert batch.counts.tokens_per_forward > 1.1


def test_a_reader_without_a_cache_gives_the_same(monkeypatch):
    model = agreeing("sequential", 3)
    cached = speculate(model, PROMPTS_OF_ELEVEN, max_new_tokens=30, temperature=0)
    monkeypatch.setattr(GPT, "draft_reader", super(GPT, model.main).draft_reader.__func__)
    assert isinstance(model.main.draft_reader(rows=1, room=1, depth=1), AnewDraftReader)
    anew = speculate(model, PROMPTS_OF_ELEVEN, max_new_tokens=30, temperature=0)
    assert (anew.tokens, anew.counts) == (cached.tokens, cached.counts)


PROMPTS_OF_ELEVEN = [[0, 2, 4, 6], [5], [9, 8]]


@pytest.mark.parametrize("mtp_style", [None, UNLIKE], ids=["usual", "unlike"])
@pytest.mark.parametrize(("kind", "depth", "deeper"), [("sequential", 3, 3), ("sequential", 1, 3), ("recurrent", 2, 4)])
def test_drafts_are_those_of_a_module_that_sees_the_true_tokens(monkeypatch, kind, depth, deeper, mtp_style):
    model = agreeing(kind, depth, mtp_style=mtp_style)
    seen = []
    drafted = Speculator._drafted

    def noted(self, rows):
        drafts = drafted(self, rows)
        seen.extend((list(row.window), ids) for row, ids in zip(rows, drafts.ids.tolist(), strict=True))
        return drafts

    monkeypatch.setattr(Speculator, "_drafted", noted)
    made = speculate(model, PROMPTS_OF_ELEVEN, max_new_tokens=20, temperature=0, draft_tokens=deeper)
    assert 0 < made.counts.accepted[0] < made.counts.drafted[0]  # both happened
    if deeper > depth:  # one module, further than it was trained
        model.mtp.depth = deeper
    full = [(window, ids) for window, ids in seen if len(ids) == deeper and len(window) + deeper <= 12]
    assert len(full) > 10
    for window, ids in full:
        row = torch.tensor([[*window, *ids]])
        with torch.no_grad():
            states = model.mtp.behind(model.main.trunk(row))
            wanted = [int(model.lm_head(each[0, len(window) - 2]).argmax()) for each in states]
        assert ids == wanted


def test_it_stops_before_a_stop_id():
    model = agreeing("sequential", 3)
    tokens = plain(model, [0, 2])
    for stop in set(tokens):
        expected = tokens[: tokens.index(stop)]
        drawn = speculative_sample(model, [0, 2], max_new_tokens=30, temperature=0, stop_ids=(stop,))
        assert list(drawn) == expected
        assert drawn.counts.tokens == len(expected) + 1  # the stop id took a read as well


def test_no_more_tokens_than_asked():
    model = agreeing("recurrent", 2)
    for count in range(8):
        made = speculate(model, [[0, 2], [5]], max_new_tokens=count, temperature=0, draft_tokens=4)
        assert made.tokens == [plain(model, prompt, max_new_tokens=count) for prompt in ([0, 2], [5])]


def test_ids_that_are_no_tokens_are_never_made():
    model = agreeing("sequential", 2)
    vocabulary = {1, 4, 7, 99}
    expected = [plain(model, prompt, vocabulary=vocabulary) for prompt in PROMPTS_OF_ELEVEN]
    made = speculate(model, PROMPTS_OF_ELEVEN, max_new_tokens=30, temperature=0, vocabulary=vocabulary)
    assert made.tokens == expected
    drawn = speculate(model, PROMPTS_OF_ELEVEN, max_new_tokens=60, temperature=50.0, seed=0, vocabulary=vocabulary)
    assert {token for tokens in drawn.tokens for token in tokens} == {1, 4, 7}


def test_the_smallest_context_works():
    torch.manual_seed(0)
    model = MultiTokenModel.behind(GPT(5, 4, 1, 1, max_seq_len=2), depth=1)
    assert speculate(model, [[1, 2]], max_new_tokens=5, temperature=0).tokens == [plain(model, [1, 2])[:5]]


def test_the_model_is_left_in_the_mode_that_it_was_in():
    model = made(dropout=0.9).train()
    first = speculate(model, [[1, 2]], max_new_tokens=9, temperature=0)
    assert model.training
    assert speculate(model.eval(), [[1, 2]], max_new_tokens=9, temperature=0) == first
    assert not model.training


# Drawn.


def deviation(counted, expected):
    """Of a chi-square from its mean, in standard deviations (Wilson & Hilferty 1931); rare outcomes are one."""
    assert counted[expected == 0].sum() == 0
    rare = expected < 5
    if rare.any():
        counted = torch.cat([counted[~rare], counted[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]]).clamp(min=1e-9)
    freedom = len(expected) - 1
    chi_square = float(((counted - expected) ** 2 / expected).sum())
    return ((chi_square / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))


@pytest.mark.parametrize(
    ("kind", "depth", "options"),
    [
        ("sequential", 3, {}),
        ("sequential", 2, {"temperature": 0.7, "top_k": 3}),
        ("recurrent", 1, {"temperature": 1.3, "top_p": 0.8, "draft_tokens": 3}),
        ("parallel", 2, {"temperature": 1.5, "top_k": 4, "top_p": 0.9}),
    ],
)
def test_drawn_tokens_are_distributed_as_plain_ones(kind, depth, options):
    torch.manual_seed(3)
    gpt = GPT(5, 8, 2, 1, max_seq_len=12, init="torch", embedding_std=1.0)
    model = MultiTokenModel.behind(gpt, depth=depth, kind=kind).eval()
    torch.nn.init.normal_(gpt.lm_head.weight, std=0.4)
    rows, T = 6000, 3
    made = speculate(model, [[1, 2]] * rows, max_new_tokens=T, seed=0, **options)
    cells = sum(torch.tensor([tokens[at] for tokens in made.tokens]) * 5 ** (T - 1 - at) for at in range(T))
    filters = {name: value for name, value in options.items() if name != "draft_tokens"}
    expected = outcome_probabilities(model, [1, 2], T, filters)
    assert 0 < made.counts.accepted[0] < made.counts.drafted[0]
    assert deviation(cells.bincount(minlength=5**T).float(), expected * rows) < 3


def outcome_probabilities(model, prompt, T, filters):
    """[V^T]: of each row of T tokens behind the prompt."""
    V = model.vocab_size
    rows = torch.tensor([[*prompt, *outcome] for outcome in itertools.product(range(V), repeat=T)])
    with torch.no_grad():
        p = next_token_probabilities(model.main(rows)[0], **filters)
    at = range(len(prompt) - 1, len(prompt) - 1 + T)
    return torch.stack([p[range(len(rows)), t, rows[:, t + 1]] for t in at]).prod(0)


def test_a_seed_gives_the_same_tokens_and_leaves_the_global_generator_alone():
    model = made()
    before = torch.get_rng_state()
    first = speculate(model, PROMPTS, max_new_tokens=20, seed=1).tokens
    assert speculate(model, PROMPTS, max_new_tokens=20, seed=1).tokens == first
    assert speculate(model, PROMPTS, max_new_tokens=20, seed=2).tokens != first
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("temperature", [9e-6, 1e-30, 0.0])
def test_a_tiny_temperature_is_greedy(temperature):
    model = made()
    expected = [plain(model, prompt) for prompt in PROMPTS]
    assert speculate(model, PROMPTS, max_new_tokens=30, temperature=temperature, seed=1).tokens == expected


# Counts, errors.


def test_counts_add_up():
    model = agreeing("sequential", 2)
    counts = speculate(model, [[0, 2, 4]], max_new_tokens=9, temperature=0).counts
    assert counts.tokens == 9
    assert counts.drafted[0] >= counts.drafted[1] >= 1
    assert counts.accepted[0] >= counts.accepted[1]
    # Each read gives one token and those that were accepted; none is read beyond the last.
    assert counts.forwards + sum(counts.accepted) == 9


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_broken_weights_are_an_error(temperature):
    model = made()
    with torch.no_grad():
        model.main.model.norm.weight[3] = float("nan")
    with pytest.raises(NonFiniteError, match="the weights are damaged, or their training diverged"):
        speculate(model, [[1, 2]], max_new_tokens=4, temperature=temperature, seed=0)


def test_a_model_without_modules_is_refused():
    with pytest.raises(
        ArgumentTypeError, match=r"must be a MultiTokenModel, got GPT: only a model .* --mtp 1\) drafts"
    ):
        speculate(GPT(5, 4, 1, 1), [[1]], max_new_tokens=1)


def test_one_prompt_is_no_list_of_prompts():
    with pytest.raises(ArgumentTypeError, match=r"prompts must be a list of prompts, got Tensor: one is \[ids\]"):
        speculate(made(), torch.tensor([1, 2]), max_new_tokens=1)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"prompts": []}, "prompts must hold at least one prompt, got none"),
        ({"prompts": [[1], []]}, "ids must hold at least one token, got an empty prompt"),
        ({"prompts": [[31]]}, r"ids must be in \[0, 31\), got \[31\]"),
        ({"draft_tokens": 0}, "draft_tokens must be >= 1, got 0"),
        (
            {"draft_tokens": 3},
            "draft_tokens must be at most 2, the model's depths, got 3: a module that stands alone drafts any",
        ),
        ({"temperature": -0.1}, "temperature must be finite and >= 0, got -0.1"),
        ({"top_k": 0}, "top_k must be >= 1, got 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be >= 0, got -1"),
    ],
)
def test_a_wrong_argument_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        speculate(made(), **{"prompts": [[1]], "max_new_tokens": 1, **options})


def test_a_prompt_that_is_longer_than_the_context_is_refused():
    model = agreeing("sequential", 1)
    rule = r"prompts\[1\] must hold at most the 12 tokens of the model's context, got 13: give its last 12"
    with pytest.raises(ArgumentError, match=rule):
        speculate(model, [[1], [2] * 13], max_new_tokens=1)
    assert len(speculate(model, [[1], [2] * 12], max_new_tokens=3).tokens[1]) == 3
