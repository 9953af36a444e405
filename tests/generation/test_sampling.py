"""Sampling: the distribution, the draws, the window, and text as it comes."""

import math

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from lmhead.errors import NonFiniteError
from lmhead.generation.next_token import next_token_probabilities
from lmhead.generation.sampling import TextStream, sample
from lmhead.generation.vocabulary import token_ids
from lmhead.models.gpt import GPT

LOGITS = torch.tensor([1.0, 2.0, 0.5, -1.0])


@pytest.fixture(params=["course", "modern"])
def model(request):
    torch.manual_seed(0)
    return GPT(31, 16, 2, 2, max_seq_len=12, style=request.param, init="torch", embedding_std=1.0).eval()


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["hello there, hello world"] * 9, trainer)
    return tokenizer


def draw(model, ids=(1, 2, 3), **options):
    return list(sample(model, list(ids), **{"max_new_tokens": 8, **options}))


# The distribution.


def test_temperature_divides_the_logits():
    got = next_token_probabilities(LOGITS, temperature=0.5)
    torch.testing.assert_close(got, (LOGITS / 0.5).softmax(-1))


def test_temperature_zero_takes_the_largest_logit():
    assert next_token_probabilities(LOGITS, temperature=0).tolist() == [0, 1, 0, 0]


def test_top_k_keeps_the_k_largest_in_proportion():
    got = next_token_probabilities(LOGITS, top_k=2)
    torch.testing.assert_close(got, torch.tensor([1.0, 2.0, -torch.inf, -torch.inf]).softmax(-1))


def test_top_k_keeps_k_of_equals():
    assert next_token_probabilities(torch.zeros(5), top_k=3).count_nonzero() == 3


def test_top_k_beyond_the_vocabulary_keeps_all():
    torch.testing.assert_close(next_token_probabilities(LOGITS, top_k=99), LOGITS.softmax(-1))


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, [1]), (0.5, [1]), (0.51, [1, 0]), (0.8, [1, 0]), (0.81, [1, 0, 2]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    probabilities = torch.tensor([0.3, 0.5, 0.15, 0.05])
    got = next_token_probabilities(probabilities.log(), top_p=top_p)
    expected = torch.zeros(4)
    expected[kept] = probabilities[kept] / probabilities[kept].sum()
    torch.testing.assert_close(got, expected)


def test_top_p_counts_what_top_k_left():
    got = next_token_probabilities(torch.tensor([0.4, 0.3, 0.2, 0.1]).log(), top_k=2, top_p=0.57)
    torch.testing.assert_close(got, torch.tensor([1.0, 0.0, 0.0, 0.0]))  # .4 of .7 is .571


def test_rows_are_filtered_each_for_itself():
    rows = torch.stack((LOGITS, LOGITS.flip(0)))
    got = next_token_probabilities(rows, top_k=3, top_p=0.9)
    torch.testing.assert_close(got[0], got[1].flip(0))
    torch.testing.assert_close(got[0], next_token_probabilities(LOGITS, top_k=3, top_p=0.9))


TINY = [9e-6, 1e-10, 1e-30, 2e-38, 1e-38, 1e-40, 1e-45, 1e-60, 1e-300, 5e-324]


@pytest.mark.parametrize("temperature", TINY)
@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"top_k": 2}, {"top_p": 1e-300}, {"top_k": 1}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_tiny_temperature_is_zero(temperature, options, dtype):
    for logits in ([1.0, 7.5, -3.0, 7.0], [-torch.inf, 7.5, 7.5, 7.0], [-3e38, 3e38, 0.0, 0.0], [0.0, 1e-30, 0, 0]):
        got = next_token_probabilities(torch.tensor(logits, dtype=dtype), temperature=temperature, **options)
        assert got.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [1e-5, 1e-3])
def test_a_small_temperature_does_not_overflow(temperature):
    assert next_token_probabilities(LOGITS, temperature=temperature).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [1e30, 1e38, 3e38, 1e39, 1e300, 1.7e308])
def test_a_large_temperature_makes_all_equal_but_what_is_masked(temperature):
    got = next_token_probabilities(torch.tensor([1.0, 7.5, -torch.inf, -7.0, 0.0]), temperature=temperature)
    assert got.tolist() == [0.25, 0.25, 0, 0.25, 0.25]
    assert next_token_probabilities(LOGITS, temperature=temperature, top_k=2).tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("top_p", [1e-6, 1e-40, 1e-300, 5e-324])
def test_a_tiny_top_p_keeps_the_most_probable_token(top_p):
    assert next_token_probabilities(LOGITS, top_p=top_p).tolist() == [0, 1, 0, 0]
    assert next_token_probabilities(torch.zeros(4), top_p=top_p).tolist() == [1, 0, 0, 0]


def test_large_logits_keep_their_differences():
    got = next_token_probabilities(torch.tensor([3e38, 3e38, -torch.inf]), temperature=0.5)
    assert got.tolist() == [0.5, 0.5, 0]
    got = next_token_probabilities(torch.tensor([1e300, 1e300, 0.0], dtype=torch.float64))
    assert got.tolist() == [0.5, 0.5, 0]
    assert got.dtype == torch.float32


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-3, 1.0, 1e300])
@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 2}, {"top_p": 0.5}])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_an_error(temperature, options, broken):
    for logits in (torch.tensor([1.0, broken, 0.5]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, broken]])):
        with pytest.raises(NonFiniteError, match=f"must be finite, got {broken} for 1 of {logits.numel()}: "):
            next_token_probabilities(logits, temperature=temperature, **options)
    with pytest.raises(NonFiniteError, match="must be finite, got -inf for all"):
        next_token_probabilities(torch.full((3,), -torch.inf), temperature=temperature, **options)


# The draws.


def test_greedy_is_the_argmax_loop(model):
    ids = [1, 2, 3]
    for _ in range(8):
        ids.append(int(model(torch.tensor([ids]))[0][0, -1].argmax()))
    assert draw(model, temperature=0) == ids[3:]


def test_draws_follow_the_distribution(model):
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3]]))[0][0, -1]
    expected = next_token_probabilities(logits, temperature=0.7, top_k=4)
    counts = torch.zeros(31)
    for seed in range(600):
        counts[draw(model, max_new_tokens=1, temperature=0.7, top_k=4, seed=seed)] += 1
    torch.testing.assert_close(counts / 600, expected, rtol=0, atol=0.08)  # four standard deviations of 600 draws
    assert counts[expected == 0].sum() == 0


def test_a_seed_gives_the_same_tokens_and_another_seed_others(model):
    assert draw(model, seed=1) == draw(model, seed=1)
    assert len({tuple(draw(model, seed=seed)) for seed in range(5)}) > 1


def test_a_seed_leaves_the_global_generator_alone(model):
    before = torch.get_rng_state()
    draw(model, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_without_a_seed_the_global_one_decides(model):
    torch.manual_seed(5)
    first = draw(model)
    torch.manual_seed(5)
    assert draw(model) == first


def test_a_tensor_is_a_prompt_too(model):
    assert draw(model, torch.tensor([1, 2, 3]), seed=1) == draw(model, seed=1)


def test_it_stops_before_a_stop_id(model):
    tokens = draw(model, temperature=0)
    stop = tokens[3]
    assert draw(model, temperature=0, stop_ids=(stop,)) == tokens[: tokens.index(stop)]


def test_a_full_window_goes_on_from_its_last_half(model):
    ids, longest = [1, 2, 3], 12
    window = list(ids)
    for _ in range(30):
        if len(window) > longest:
            window = window[-longest // 2 :]
        token = int(model(torch.tensor([window]))[0][0, -1].argmax())
        ids.append(token)
        window.append(token)
    assert draw(model, max_new_tokens=30, temperature=0) == ids[3:]


def test_a_long_prompt_is_read_from_its_last_ids(model):
    prompt = [int(id) for id in torch.randint(31, (40,))]
    assert draw(model, prompt, temperature=0) == draw(model, prompt[-12:], temperature=0)


def test_the_smallest_window_works():
    model = GPT(5, 4, 1, 1, max_seq_len=1)
    assert len(draw(model, [1, 2], max_new_tokens=5)) == 5


def test_nothing_asked_is_nothing_drawn(model):
    assert draw(model, max_new_tokens=0) == []


def test_sampling_is_in_evaluation_mode_and_leaves_the_model_as_it_was():
    model = GPT(31, 16, 2, 2, dropout=0.9).train()
    first = draw(model, temperature=0)
    assert model.training
    assert draw(model.eval(), temperature=0) == first
    assert not model.training


def test_sampling_leaves_the_model_trainable(model):
    draw(model)
    ids = torch.tensor([[1, 2, 3]])
    model.loss(ids, ids).backward()


@pytest.mark.parametrize("temperature", TINY)
def test_draws_at_a_tiny_temperature_are_greedy(model, temperature):
    assert draw(model, temperature=temperature, seed=3) == draw(model, temperature=0)


@pytest.mark.parametrize("temperature", [0, 1e-300, 0.8])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_weights_are_an_error_before_anything_is_drawn(model, temperature, broken):
    with torch.no_grad():
        model.model.norm.weight[3] = broken
    with pytest.raises(NonFiniteError, match="the weights are damaged, or their training diverged"):
        next(sample(model, [1, 2], max_new_tokens=4, temperature=temperature, seed=0, vocabulary={1, 2}))


def test_ids_that_are_no_tokens_are_never_drawn(model):
    vocabulary = {3, 7, 30, 99}
    for options in ({"temperature": 0}, {"temperature": 1e6}, {"top_k": 25}, {"temperature": 9.0, "top_p": 0.99}):
        assert set(draw(model, vocabulary=vocabulary, max_new_tokens=60, seed=0, **options)) <= {3, 7, 30}
    assert set(draw(model, vocabulary=vocabulary, max_new_tokens=60, seed=0, temperature=1e6)) == {3, 7, 30}


def test_the_whole_vocabulary_changes_nothing(model):
    assert draw(model, vocabulary=range(31), seed=1) == draw(model, seed=1)


def test_the_ids_of_a_tokenizer_are_those_with_a_token():
    sparse = Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    sparse.add_special_tokens(["<s>"])
    sparse.add_tokens([AddedToken("c")])
    assert {sparse.id_to_token(id) for id in token_ids(sparse)} == {"a", "b", "<s>", "c"}
    assert len(token_ids(sparse)) == 4


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"ids": []}, "ids must hold at least one token, got an empty prompt"),
        ({"ids": [31]}, r"ids must be in \[0, 31\), got \[31\]"),
        ({"temperature": -0.1}, "temperature must be finite and >= 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\], got 1.1"),
        ({"top_k": 0}, "top_k must be >= 1, got 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be >= 0, got -1"),
        ({"vocabulary": ()}, r"vocabulary must hold an id in \[0, 31\), got 0 others"),
        ({"vocabulary": (-1, 31)}, r"vocabulary must hold an id in \[0, 31\), got 2 others"),
    ],
)
def test_a_wrong_argument_is_refused_at_the_call(model, options, rule):
    with pytest.raises(ValueError, match=rule):
        sample(model, **{"ids": [1], "max_new_tokens": 1, **options})


# The text.


@pytest.mark.parametrize("text", ["hello there", "é", "naïve 日本語 🤗 text", "a\ufffdb", "\ufffd", "\n\t hello  ", ""])
def test_streamed_text_is_the_text(tokenizer, text):
    ids = tokenizer.encode(text).ids
    stream = TextStream(tokenizer)
    parts = [stream.add(id) for id in ids]
    assert "".join(parts) + stream.finish() == text


def test_a_character_is_held_back_until_its_bytes_are_there(tokenizer):
    ids = tokenizer.encode("🤗").ids
    assert len(ids) == 4
    stream = TextStream(tokenizer)
    assert [stream.add(id) for id in ids] == ["", "", "", "🤗"]
    assert stream.finish() == ""


def test_text_before_an_unfinished_character_is_not_held_back(tokenizer):
    stream = TextStream(tokenizer)
    first, *_ = tokenizer.encode("é").ids
    assert [stream.add(id) for id in (*tokenizer.encode("a").ids, first, first)] == ["a", "", "\ufffd"]
    assert stream.finish() == "\ufffd"


def test_any_tokens_stream_to_what_they_decode_to(tokenizer):
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        ids = torch.randint(tokenizer.get_vocab_size(), (30,), generator=generator).tolist()
        stream = TextStream(tokenizer)
        assert "".join(map(stream.add, ids)) + stream.finish() == tokenizer.decode(ids)


def test_a_character_that_the_prompt_began_is_completed(tokenizer):
    ids = tokenizer.encode("aé").ids
    stream = TextStream(tokenizer, ids[:-1])
    assert stream.add(ids[-1]) == "é"


def test_the_prompt_is_not_repeated(tokenizer):
    stream = TextStream(tokenizer, tokenizer.encode("hello").ids)
    assert "".join(map(stream.add, tokenizer.encode(" there").ids)) + stream.finish() == " there"
