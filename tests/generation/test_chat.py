"""A conversation keeps its history, drops the oldest turns when the context is full, and survives a stopped answer."""

import pytest
import torch

from lmhead.data.tokenizer.chatml import CHATML
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError, NonFiniteError
from lmhead.generation.chat import Chat
from lmhead.generation.chat_prompt import ChatPrompt
from lmhead.generation.sampling import sample
from lmhead.models.gpt import GPT

BACKEND = train_tokenizer(
    ["user assistant system Hello there, what is it?"], 275, control_tokens=("<|im_start|>", "<|im_end|>")
)
PROMPT = ChatPrompt.of(TokenizerFiles(json=BACKEND.to_str(), chat_template=CHATML))
END = BACKEND.token_to_id("<|im_end|>")


def chat(context: int = 64, tokens: int = 8, **options: object) -> Chat:
    torch.manual_seed(0)
    model = GPT(vocab_size=275, embed_dim=16, num_heads=2, num_layers=1, max_seq_len=context)
    given = {"stop_ids": (END,), "max_new_tokens": tokens, "seed": 0, "temperature": 1.0, **options}
    return Chat(model, PROMPT, **given)  # type: ignore[arg-type]


def said(talk: Chat, question: str) -> str:
    return "".join(talk.answer(question))


def test_question_and_answer_are_remembered() -> None:
    talk = chat()
    first = said(talk, "Hello")
    second = said(talk, "what")
    assert talk.messages == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "what"},
        {"role": "assistant", "content": second},
    ]


def test_the_answer_is_what_the_model_samples_after_the_whole_history() -> None:
    talk = chat(context=128)
    said(talk, "Hello")
    asked = [*talk.messages, {"role": "user", "content": "what"}]
    ids = sample(talk.model, PROMPT.ids(asked), max_new_tokens=8, seed=1, stop_ids=(END,))
    assert said(talk, "what") == BACKEND.decode(list(ids))


def test_every_stop_id_ends_an_answer() -> None:
    longer = chat(tokens=40)
    said(longer, "Hello")
    tokens = list(sample(longer.model, PROMPT.ids(longer.messages[:1]), max_new_tokens=20, seed=0))
    at = next(i for i in range(2, 20) if tokens[i] not in tokens[:i])
    stopped = chat(tokens=40, stop_ids=(END, tokens[at]))
    assert said(stopped, "Hello") == BACKEND.decode(tokens[:at])
    assert not stopped.cut_off


def test_the_oldest_turns_make_room_and_the_system_prompt_stays() -> None:
    talk = chat(context=64)
    talk.set_system("it")
    for _ in range(9):
        said(talk, "Hello")
        assert talk.dropped % 2 == 0
        assert len(PROMPT.ids(talk.messages[:-1])) + 8 <= 64
    assert talk.dropped >= 2
    assert talk.messages[0] == {"role": "system", "content": "it"}
    assert talk.messages[1]["role"] == "user"


def test_a_question_that_never_fits_is_refused_and_forgotten() -> None:
    talk = chat(context=64)
    said(talk, "Hello")
    before = list(talk.messages)
    with pytest.raises(InputError, match=r"must fit into the model's context of 64 tokens, got \d+"):
        talk.answer("Hello there " * 40)
    assert talk.messages == before


def test_an_answer_that_comes_to_the_end_of_the_context_says_so() -> None:
    talk = chat(context=32, tokens=500, stop_ids=())
    said(talk, "Hello")
    assert talk.cut_off
    assert not cut_off_after(chat(context=64, tokens=3, stop_ids=()))


def cut_off_after(talk: Chat) -> bool:
    said(talk, "Hello")
    return talk.cut_off


def test_a_stopped_answer_is_remembered_as_far_as_it_came() -> None:
    talk = chat(tokens=30, stop_ids=())
    pieces = talk.answer("Hello")
    first = "".join(next(pieces) for _ in range(5))
    pieces.close()
    assert talk.messages[-1] == {"role": "assistant", "content": first}


def test_reset_keeps_the_system_prompt_and_an_empty_one_removes_it() -> None:
    talk = chat()
    talk.set_system("it")
    said(talk, "Hello")
    talk.set_system("there")
    assert [message["content"] for message in talk.messages[:2]] == ["there", "Hello"]
    talk.reset()
    assert talk.messages == [{"role": "system", "content": "there"}]
    talk.set_system("")
    assert talk.messages == []


def test_each_answer_has_draws_of_its_own() -> None:
    talk = chat(context=128, stop_ids=())
    first = said(talk, "Hello")
    talk.reset()
    assert said(talk, "Hello") != first
    assert said(chat(context=128, stop_ids=()), "Hello") == first


def test_an_answer_is_made_of_tokens_alone() -> None:
    torch.manual_seed(0)
    model = GPT(vocab_size=5000, embed_dim=16, num_heads=2, num_layers=1, max_seq_len=64)
    drawn: list[int] = []
    talk = Chat(model, PROMPT, stop_ids=(), max_new_tokens=40, seed=0, temperature=1e6)
    model.model.embed_tokens.register_forward_hook(lambda module, inputs, output: drawn.extend(inputs[0][0].tolist()))
    said(talk, "Hello")
    assert len(drawn) > 40
    assert max(drawn) < 275


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_broken_weights_are_an_error(temperature: float) -> None:
    talk = chat(temperature=temperature)
    with torch.no_grad():
        talk.model.model.embed_tokens.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError):
        said(talk, "Hello")
