"""Where turns begin and end in templates that make it hard to tell, and what is noted of their ends."""

import pytest
from tests.labels.chat.odd_turns import KINDS, MESSAGES, REFUSED
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lmhead.errors import ConversationError
from lmhead.labels.chat.labeler import ChatLabeler


def characters(*control):
    """A tokenizer of single bytes and the control tokens given."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: number for number, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*control, "</s>"])
    return tokenizer


def labeler(kind, **options):
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = characters(*kind.control)
    label = ChatLabeler(
        tokenizer, chat_template=kind.source, special_tokens=special, stop_tokens=kind.stops or None, **options
    )
    return tokenizer, label


def learnt(tokenizer, example):
    """The learnt text of each turn that has one."""
    spans = [span for span in example.spans if span.role == "assistant" and span.start < span.stop]
    masked = {
        place
        for place, trained in enumerate(example.trained.tolist())
        if not trained and any(span.start <= place < span.stop for span in spans)
    }
    assert not masked
    assert sum(span.stop - span.start for span in spans) == example.trained.sum()
    ids = example.ids.tolist()
    return [tokenizer.decode(ids[span.start : span.stop], skip_special_tokens=False) for span in spans]


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, kind in KINDS.items() for word in kind.learnt])
def test_what_is_learnt_is_the_turn_and_its_end(name, word):
    kind = KINDS[name]
    tokenizer, label = labeler(kind)
    try:
        found = learnt(tokenizer, label([MESSAGES[letter] for letter in word]))
    except ConversationError as error:
        found = [f"refused: {error.kind}"]
    assert found == kind.learnt[word]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if REFUSED in kind.learnt.values()])
def test_a_refused_turn_is_labelled_with_the_header_that_is_given_or_says_what_cannot_be_told(name):
    kind = KINDS[name]
    messages = [MESSAGES[letter] for letter in "UA"]
    with pytest.raises(ConversationError) as caught:
        labeler(kind)[1](messages)
    message = str(caught.value)
    if "where the turn ends cannot be told" in message:
        return
    header = message.rpartition("such as ")[2]
    tokenizer, label = labeler(kind, assistant_header=header[1:-1].encode().decode("unicode_escape"))
    assert learnt(tokenizer, label(messages))[0].startswith("Reply two")


def noted(name, word):
    _, label = labeler(KINDS[name])
    return [(note.kind, note.message) for note in label([MESSAGES[letter] for letter in word]).notes]


def test_an_end_that_is_learnt_is_not_noted_as_missing():
    assert noted("open last, a default system prompt", "UAVB") == [("terminator_differs", 1), ("no_terminator", 3)]
    assert noted("an end between turns alone", "UABVA") == [
        ("terminator_differs", 1),
        ("terminator_differs", 2),
        ("no_terminator", 4),
    ]
    assert noted("white space before the end, where a call is not the last turn", "UCRA") == []
    assert noted("always prompts", "UABVA") == []


def test_a_prompt_that_the_template_does_not_render_is_not_noted_to_differ():
    assert noted("always prompts, a system prompt where there are messages", "AVB") == []
    assert noted("an end between turns alone", "AVB") == [("terminator_differs", 0), ("no_terminator", 2)]


def test_an_answer_before_any_question_is_not_noted_for_a_prompt_that_there_is_not():
    wants = "wants a question, and a system prompt at the beginning"
    assert noted(wants, "SAVB") == [("generation_prompt_differs", 3)]
    assert noted(wants, "AVB") == [("generation_prompt_differs", 2)]


def test_a_turn_that_nothing_ends_is_noted_also_where_it_is_a_call():
    assert noted("GLM", "UAVB") == [("no_terminator", 3)]
    assert noted("GLM", "UC") == [("no_terminator", 1)]
    assert noted("GLM, where stops are not known", "UCRA") == [("no_terminator", 1), ("no_terminator", 3)]


def test_a_turn_that_ends_at_no_stop_is_noted_where_stops_are_known():
    name = "an end of text behind the end of a turn"
    assert noted(name, "UAVB") == [("no_stop", 1)]
    example = labeler(KINDS[name])[1]([MESSAGES[letter] for letter in "UAVB"])
    assert example.notes[0].text == "ends with <|end|>, at which no generation stops: it stops at <|endoftext|>"
    kind = KINDS["always prompts"]
    stopping = ChatLabeler(characters(*kind.control), chat_template=kind.source, stop_tokens=["<|im_end|>"])
    assert stopping([MESSAGES[letter] for letter in "UAVB"]).notes == ()


def test_stop_tokens_are_a_collection():
    with pytest.raises(ValueError, match=r"stop_tokens must be a collection of tokens, got '<\|user\|>'"):
        ChatLabeler(characters(), chat_template="{{ messages[0].content }}", stop_tokens="<|user|>")


@pytest.mark.parametrize("name", KINDS)
def test_kept_probes_lead_to_what_probes_taken_anew_do(name):
    kind = KINDS[name]
    (_, label), (_, anew) = labeler(kind), labeler(kind, keep_probes=False)
    for word in [*kind.learnt, *kind.learnt]:
        messages = [MESSAGES[letter] for letter in word]
        outcomes = []
        for one in (label, anew):
            try:
                example = one(messages)
                outcomes.append((example.trained.tolist(), example.notes))
            except ConversationError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
