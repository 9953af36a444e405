"""Pretrained models are sampled through their own caches, as transformers generates."""

import pytest
import torch
from tests.models.transformers.causal_lms.build import build

from lmhead.errors import ArgumentTypeError
from lmhead.generation.sampling import sample
from lmhead.models.transformers.cached_reader import AnewReader, CachedReader
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

PROMPT = [5, 17, 60, 23]
CACHED = ["llama", "gemma2", "qwen3", "gpt2", "mixtral", "bloom"]
ANEW = ["mamba", "openai-gpt"]  # a cache of another name, and none


def made(kind: str, **fields) -> PretrainedCausalLM:
    model = build(kind, **fields).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and parameter is not model.get_input_embeddings().weight:
                parameter.mul_(12 if "h.0" in name else 6)  # else tied models repeat what they read
    return PretrainedCausalLM(model)


def greedy(model: PretrainedCausalLM, count: int = 16, prompt: list[int] = PROMPT) -> list[int]:
    return list(sample(model, prompt, max_new_tokens=count, temperature=0))


def by_argmax(model: PretrainedCausalLM, count: int = 16) -> list[int]:
    """Each time the whole text is read: at most max_seq_len tokens, the last half of them once they are full."""
    window, new = list(PROMPT), list[int]()
    for _ in range(count):
        if len(window) > model.max_seq_len:
            window = window[-(model.max_seq_len // 2) :]
        with torch.no_grad():
            new.append(int(model(torch.tensor([window]))[0, -1].argmax()))
        window.append(new[-1])
    return new


@pytest.mark.parametrize("kind", CACHED)
def test_greedy_tokens_are_those_that_transformers_generates(kind):
    model, seen = made(kind), set[int]()
    options = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for prompt in (PROMPT, [9, 41], [88, 3, 70]):
        tokens = greedy(model, 10, prompt)
        assert tokens == model.base.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()
        seen |= set(tokens)
    assert len(seen) > 2
    assert isinstance(model.reader(9), CachedReader)


@pytest.mark.parametrize("kind", ANEW)
def test_models_without_such_a_cache_are_read_anew(kind):
    model = made(kind)
    assert greedy(model) == by_argmax(model)
    assert isinstance(model.reader(9), AnewReader)


@pytest.mark.parametrize("kind", ["gemma2", "gpt2"])
def test_a_full_context_goes_on_from_its_last_half(kind):
    sizes = {"n_positions": 12} if kind == "gpt2" else {"max_position_embeddings": 12, "sliding_window": 5}
    model = made(kind, **sizes)
    assert model.max_seq_len == 12
    assert greedy(model, 30) == by_argmax(model, 30)
    assert greedy(model, 3, [9] * 20 + PROMPT) == greedy(model, 3, ([9] * 20 + PROMPT)[-12:])


def test_a_cache_that_forgets_is_not_used():
    model = made("llama")
    expected = by_argmax(model)
    attention = model.base.model.layers[0].self_attn
    own = attention.forward

    def forgetful(*args, past_key_values=None, **kwargs):
        return own(*args, past_key_values=None, **kwargs)

    attention.forward = forgetful
    assert isinstance(model.reader(9), AnewReader)
    assert greedy(model) == expected


def test_a_model_is_sampled_in_evaluation_mode_and_left_as_it_was():
    model = made("llama", attention_dropout=0.5)
    model.train()
    assert greedy(model) == greedy(model)
    assert model.training
    assert model.base.training


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT's
def test_adapters_take_part():
    model = made("llama")
    before = greedy(model)
    model.model = add_lora(model.base, LoraOptions(rank=4))
    assert greedy(model) == before
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    after = greedy(model)
    assert after != before
    assert after == by_argmax(model)


def test_a_seed_draws_the_same():
    model = made("gemma2")
    draws = [list(sample(model, PROMPT, max_new_tokens=12, seed=seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_what_is_no_language_model_is_refused():
    with pytest.raises(
        ArgumentTypeError, match=r"model must be an lmhead\.GPT or an lmhead\.PretrainedCausalLM, got Linear"
    ):
        sample(torch.nn.Linear(2, 2), PROMPT, max_new_tokens=1)
    with pytest.raises(ArgumentTypeError, match="got LlamaForCausalLM"):
        sample(build("llama"), PROMPT, max_new_tokens=1)
