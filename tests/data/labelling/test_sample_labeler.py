"""Samples of every form become Examples: what is learnt, why the rest is not, and errors that begin with the place."""

import pickle

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from lmhead.data.formats.sample import ChatSample, CompletionSample, TextSample, TokenSample
from lmhead.data.labelling.sample_labeler import SampleLabeler
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError, ConversationError, TemplateError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason

PLACE = Place(source="rows.jsonl", number=3, unit="line")
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for call in m.tool_calls or [] %}"
    "{{ call.function.name + call.function.arguments }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|tool|>"]


def bytes_tokenizer(*, bos: bool = False, merges: list[tuple[str, str]] = []) -> Tokenizer:  # noqa: B006
    """One token a byte, and the merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    if bos:
        start = tokenizer.token_to_id("<s>")
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    return tokenizer


def labeler(tokenizer: Tokenizer, **options: object) -> SampleLabeler:
    chat = ChatLabeler(tokenizer, chat_template=TEMPLATE)
    return SampleLabeler(chat, tokenizer, **{"end_id": tokenizer.token_to_id("<|end|>"), **options})


def text(value: str) -> TextSample:
    return TextSample(place=PLACE, text=value)


def completion(prompt: str, answer: str) -> CompletionSample:
    return CompletionSample(place=PLACE, prompt=prompt, completion=answer)


def reasons(example) -> list[str]:
    return [Reason(value).name for value in example.reason]


def test_a_text_is_learnt_whole_with_the_end_after_it() -> None:
    tokenizer = bytes_tokenizer()
    example = labeler(tokenizer)(text("ab"))
    assert tokenizer.decode(example.ids.tolist(), skip_special_tokens=False) == "ab<|end|>"
    assert example.trained.tolist() == [True, True, True]


def test_without_an_end_id_nothing_ends_a_text() -> None:
    assert len(labeler(bytes_tokenizer(), end_id=None)(text("ab"))) == 2


def test_the_beginning_of_sequence_stands_once_before_a_text_and_is_not_learnt() -> None:
    tokenizer = bytes_tokenizer(bos=True)
    example = labeler(tokenizer)(text("ab"))
    assert tokenizer.decode(example.ids.tolist(), skip_special_tokens=False) == "<s>ab<|end|>"
    assert reasons(example) == ["SCAFFOLD", "SCORED", "SCORED", "SCORED"]
    prompted = labeler(tokenizer)(completion("a", "b"))
    assert reasons(prompted) == ["PROMPT", "PROMPT", "SCORED", "SCORED"]
    assert prompted.ids[0] == tokenizer.token_to_id("<s>")


def test_a_control_token_in_a_plain_text_stays_text_and_is_noted() -> None:
    tokenizer = bytes_tokenizer()
    example = labeler(tokenizer)(text("a<|end|>b"))
    assert example.ids.tolist().count(tokenizer.token_to_id("<|end|>")) == 1  # ours
    assert len(example) == len("a<|end|>b") + 1
    assert [note.kind for note in example.notes] == ["control_token_in_text"]
    assert "<|end|>, which stays text" in example.notes[0].text
    assert tokenizer.encode("a<|end|>b", add_special_tokens=False).ids[1] == tokenizer.token_to_id("<|end|>")


def test_a_completion_is_learnt_and_its_prompt_is_not() -> None:
    example = labeler(bytes_tokenizer())(completion("ab", "cd"))
    assert reasons(example) == ["PROMPT", "PROMPT", "SCORED", "SCORED", "SCORED"]
    assert example.notes == ()


def test_a_token_that_would_reach_from_the_prompt_into_the_completion_is_cut_and_noted() -> None:
    tokenizer = bytes_tokenizer(merges=[("b", "c")])
    example = labeler(tokenizer)(completion("ab", "cd"))
    assert example.ids.tolist()[:4] == tokenizer.encode("ab").ids + tokenizer.encode("cd").ids
    assert len(tokenizer.encode("abcd").ids) == 3
    assert [note.kind for note in example.notes] == ["regions_tokenized_apart"]


def test_a_tokenizer_that_marks_the_beginning_of_a_text_joins_where_words_end() -> None:
    vocabulary = {letter: i for i, letter in enumerate(["▁", "a", "b", "c", "▁b", "<unk>", "ca"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "b"), ("c", "a")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(SPECIAL)
    label = labeler(tokenizer)
    example = label(completion("a", " b"))
    assert [tokenizer.id_to_token(i) for i in example.ids] == ["▁", "a", "▁b", "<|end|>"]
    assert [tokenizer.id_to_token(i) for i in label(completion("b", "a")).ids] == ["▁b", "a", "<|end|>"]
    with pytest.raises(
        ConversationError, match=r"^rows\.jsonl, line 3: prompt and completion must be tokens apart"
    ) as e:
        label(completion("c", "a"))
    assert e.value.kind == "tokens"


@pytest.mark.parametrize(
    ("sample", "kind", "message"),
    [
        (text(""), "nothing_to_train", "text must hold something to learn, got no token that another one predicts"),
        (completion("ab", ""), "nothing_to_train", "completion must hold something to learn"),
        (text("abcdefgh"), "too_long", "text must have at most max_length=6 tokens, got 9: give a larger max_length"),
        (
            completion("abcdefgh", "i"),
            "too_long",
            "prompt and completion must have at most max_length=6 tokens, got 10",
        ),
        (
            TokenSample(place=PLACE, ids=[1, 2, 900]),
            "ids_out_of_vocabulary",
            r"input_ids\[2\] must be in \[0, 261\), the tokenizer's ids, got 900: give the tokenizer that made them",
        ),
        (
            TokenSample(place=PLACE, ids=[1, 2, 3, 4], labels=[-100, 3, 4, -100]),
            "labels_already_shifted",
            r"labels\[1\] must be 2, the id at its place, or -100, got 3, the id after it: the labels look",
        ),
        (
            TokenSample(place=PLACE, ids=[1, 2, 3, 4], labels=[-1, -1, 3, 4]),
            "labels_are_not_input_ids",
            r"labels\[0\] must be 1, the id at its place, or -100, got -1: ignored is -100",
        ),
        (
            TokenSample(place=PLACE, ids=[1, 2, 3, 4], labels=[1, 9, 3, 4]),
            "labels_are_not_input_ids",
            r"labels\[1\] must be 2, the id at its place, or -100, got 9: a token is learnt where it stands",
        ),
        (
            TokenSample(place=PLACE, ids=[1, 2], labels=[1, -100]),
            "nothing_to_train",
            "labels must hold something to learn, got -100 everywhere but at the first token",
        ),
        (
            ChatSample(place=PLACE, messages=[{"role": "user", "content": "a"}]),
            "nothing_to_train",
            "messages must hold something to learn",
        ),
        (ChatSample(place=PLACE, messages=[]), "format", "messages must hold at least one message, got an empty list"),
        (ChatSample(place=PLACE, messages=[{"content": "a"}]), "format", r"messages\[0\] must have a role"),
    ],
)
def test_what_cannot_be_labelled_is_named_with_its_place_and_kind(sample, kind: str, message: str) -> None:
    with pytest.raises(ConversationError, match=rf"^rows\.jsonl, line 3: {message}") as caught:
        labeler(bytes_tokenizer(), max_length=6)(sample)
    assert caught.value.kind == kind
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.kind) == (type(caught.value), str(caught.value), kind)


def test_labels_of_one_repeated_token_are_not_called_shifted() -> None:
    example = labeler(bytes_tokenizer())(TokenSample(place=PLACE, ids=[7] * 6, labels=[-100] + [7] * 5))
    assert example.trained.tolist() == [False] + [True] * 5


def test_ids_without_labels_are_learnt_whole_and_nothing_is_appended() -> None:
    example = labeler(bytes_tokenizer())(TokenSample(place=PLACE, ids=[1, 2, 3]))
    assert example.labels().tolist() == [1, 2, 3]
    masked = labeler(bytes_tokenizer())(TokenSample(place=PLACE, ids=[1, 2, 3], labels=[-100, 2, -100]))
    assert reasons(masked) == ["IGNORED", "SCORED", "IGNORED"]


def test_every_form_is_cut_as_overflow_says() -> None:
    label = labeler(bytes_tokenizer(), max_length=4, overflow="truncate_end")
    assert len(label(text("abcdefgh"))) == 4
    assert reasons(label(completion("ab", "cdef"))) == ["PROMPT", "PROMPT", "SCORED", "SCORED"]
    assert label(TokenSample(place=PLACE, ids=[1, 2, 3, 4, 5])).ids.tolist() == [1, 2, 3, 4]
    with pytest.raises(ConversationError, match=r"line 3: prompt and completion must leave something to learn within"):
        label(completion("abcdef", "g"))
    from_start = labeler(bytes_tokenizer(), max_length=4, overflow="truncate_start")
    assert reasons(from_start(completion("abcdef", "gh"))) == ["PROMPT", "SCORED", "SCORED", "SCORED"]
    with pytest.raises(ConversationError, match="must leave something to learn"):
        from_start(completion("a", "bcdefg"))  # the beginning of the answer is gone


def test_a_conversation_is_labelled_as_chat_labeler_does() -> None:
    tokenizer = bytes_tokenizer()
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    example = labeler(tokenizer)(ChatSample(place=PLACE, messages=messages))
    assert example.labels().tolist() == ChatLabeler(tokenizer, chat_template=TEMPLATE)(messages).labels().tolist()


def test_a_template_that_fails_on_arguments_as_objects_gets_them_as_json() -> None:
    tokenizer = bytes_tokenizer()
    call = {"type": "function", "function": {"name": "f", "arguments": {"city": "Bern"}}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    example = labeler(tokenizer)(ChatSample(place=PLACE, messages=messages))
    learnt = tokenizer.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)
    assert learnt == 'f{"city": "Bern"}<|end|>'


def test_a_template_that_refuses_raises_its_own_kind_of_error() -> None:
    tokenizer = bytes_tokenizer()
    chat = ChatLabeler(tokenizer, chat_template="{{ raise_exception('no user') }}")
    label = SampleLabeler(chat, tokenizer, end_id=None)
    with pytest.raises(TemplateError, match=r"^rows\.jsonl, line 3: messages must be such that .*no user") as caught:
        label(ChatSample(place=PLACE, messages=[{"role": "assistant", "content": "b"}]))
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), TemplateError)


@pytest.mark.parametrize("options", [{"end_id": 10_000}, {"max_length": 1}, {"overflow": "drop"}])
def test_options_that_break_their_rules_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=rf"^{next(iter(options))} must be "):
        labeler(bytes_tokenizer(), **options)


def test_ids_need_not_be_without_gaps() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "</s>": 9}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    label = SampleLabeler(ChatLabeler(tokenizer, chat_template=TEMPLATE), tokenizer, end_id=9)
    assert label(text("a b")).ids.tolist() == [0, 1, 9]
    assert label(TokenSample(place=PLACE, ids=[0, 1, 9])).labels().tolist() == [0, 1, 9]
    with pytest.raises(ConversationError, match=r"must be in \[0, 10\)"):
        label(TokenSample(place=PLACE, ids=[0, 10]))


def test_a_role_that_nobody_knows_is_refused_with_the_place() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "critic", "content": "b"}]
    with pytest.raises(ConversationError, match=r"^rows\.jsonl, line 3: messages\[1\]\.role must be one that") as e:
        labeler(bytes_tokenizer())(ChatSample(place=PLACE, messages=messages))
    assert e.value.kind == "role"


@pytest.mark.parametrize("flag", [{"loss_mask": 0}, {"trainable": False}, {"masked": True}, {"loss_scale": 0.0}])
def test_a_flag_of_any_trainer_masks_a_turn_and_no_template_sees_it(flag: dict[str, object]) -> None:
    tokenizer = bytes_tokenizer()
    every_key = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ m.keys() | join }}<|end|>{% endfor %}"
    template = every_key + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]
    label = ChatLabeler(tokenizer, chat_template=template)
    plain = label(turns)
    flagged = label([turns[0], {**turns[1], **flag}, *turns[2:]])
    assert flagged.ids.tolist() == plain.ids.tolist()
    span = plain.spans[1]
    assert plain.trained[span.start : span.stop].all()
    assert {Reason(value).name for value in flagged.reason[span.start : span.stop]} == {"EXCLUDED", "SCAFFOLD"}
    assert flagged.trained[span.stop :].tolist() == plain.trained[span.stop :].tolist()


@pytest.mark.parametrize(
    ("prompt", "answer", "learnt"),
    [
        ("q", "<think>R</think>\nok", "ok<|end|>"),
        ("q <think>\n", "R</think>ok", "ok<|end|>"),
        ("q", "First. <think>R</think>ok", "First. ok<|end|>"),
        ("q", "<think>R</think>", "<|end|>"),
        ("q", "First. <think>cut", "First. "),
        ("q", "R</think>ok", "R</think>ok<|end|>"),  # nothing opens a thought
    ],
)
def test_reasoning_of_a_completion_is_masked_where_reasoning_is_not_learnt(prompt, answer, learnt) -> None:
    tokenizer = bytes_tokenizer()
    chat = ChatLabeler(tokenizer, chat_template=TEMPLATE, train_reasoning=False)
    example = SampleLabeler(chat, tokenizer, end_id=tokenizer.token_to_id("<|end|>"))(completion(prompt, answer))
    assert tokenizer.decode(example.ids[example.trained].tolist(), skip_special_tokens=False) == learnt
    assert set(reasons(example)) <= {"PROMPT", "REASONING", "SCORED"}
    assert [note.kind for note in example.notes] == (["reasoning_guessed"] if "cut" in answer else [])
    whole = labeler(tokenizer)(completion(prompt, answer))
    assert tokenizer.decode(whole.ids[whole.trained].tolist(), skip_special_tokens=False) == f"{answer}<|end|>"


@pytest.mark.parametrize(("prompt", "answer"), [("q", "<think>cut off"), ("q<think>", "cut off")])
def test_a_completion_of_reasoning_alone_is_refused_where_that_is_not_learnt(prompt, answer) -> None:
    tokenizer = bytes_tokenizer()
    chat = ChatLabeler(tokenizer, chat_template=TEMPLATE, train_reasoning=False)
    with pytest.raises(ConversationError, match="train_reasoning=False masks all of it") as caught:
        SampleLabeler(chat, tokenizer, end_id=tokenizer.token_to_id("<|end|>"))(completion(prompt, answer))
    assert caught.value.kind == "nothing_to_train"
