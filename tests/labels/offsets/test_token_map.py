"""Which characters a token stands for, whatever the tokenizer leaves out of its offsets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labels.chat.chat_cases import assistant, tokenizer_for, user
from tests.labels.chat.chat_templates import CHATML
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from lmhead.errors import ConversationError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.offsets.token_bytes import TokenBytes
from lmhead.labels.offsets.token_map import tokenized


def added(tokenizer):
    return {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}


def spaced() -> Tokenizer:
    """Words with the space in front of them, as byte-level tokenizers have them."""
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "\u0120": 2, "\u0120b": 3}, [("\u0120", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_each_token_has_its_characters():
    tokens = tokenized(spaced(), "a b", [], {})
    assert (tokens.ids.tolist(), tokens.starts.tolist(), tokens.stops.tolist()) == ([0, 3], [0, 1], [1, 3])
    assert tokens.span(1, 3) == (1, 2)
    assert tokens.span(3, 3) == (0, 0)


def test_a_token_across_a_border_is_split_there():
    tokens = tokenized(spaced(), "a b", [2], {})
    assert (tokens.ids.tolist(), tokens.cuts) == ([0, 2, 1], (2,))


def test_white_space_that_the_offsets_leave_out_belongs_to_the_token():
    tokenizer = spaced()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert tokenizer.encode("a b").offsets == [(0, 1), (2, 3)]
    assert tokenized(tokenizer, "a b", [], {}).starts.tolist() == [0, 1]
    assert tokenized(tokenizer, "a b", [2], {}).ids.tolist() == [0, 2, 1]


def test_a_character_of_several_tokens_stays_whole():
    tokenizer = tokenizer_for()
    tokens = tokenized(tokenizer, "a\U0001f600b", [1, 2], {})
    assert tokens.cuts == ()
    assert tokenizer.decode(tokens.ids[slice(*tokens.span(1, 2))].tolist()) == "\U0001f600"


def test_no_text_has_no_tokens():
    assert len(tokenized(spaced(), "", [], {}).ids) == 0


@pytest.mark.parametrize(("text", "learnt"), [("Reply", "Reply<|im_end|>\n"), ("\nReply", "Reply<|im_end|>\n")])
def test_a_control_token_that_swallows_white_space_stays_whole(text, learnt):
    """As Phi-3's `<|end|>`: the line break behind it is part of it, and belongs to whoever the token belongs to."""
    source = CHATML.replace("message.role + '\n'", "message.role + '<|sep|>'").replace(
        "assistant\n", "assistant<|sep|>"
    )
    tokenizer = tokenizer_for()
    names = ("<|im_start|>", "<|im_end|>", "<|sep|>")
    tokenizer.add_special_tokens([AddedToken(name, rstrip=True, special=True, normalized=False) for name in names])
    example = ChatLabeler(tokenizer, chat_template=source)([user("Ask"), assistant(text)])
    assert example.notes == ()
    ids = example.ids[example.trained].tolist()
    assert tokenizer.decode(ids, skip_special_tokens=False) == learnt.rstrip()


def test_a_tokenizer_that_marks_the_beginning_of_a_text_is_refused_where_it_would_have_to_be_cut():
    tokenizer = Tokenizer(models.BPE({"\u2581": 0, "a": 1, "\n": 2, "\n\n": 3, "b": 4}, [("\n", "\n")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    assert tokenized(tokenizer, "a\n\nb", [1], {}).cuts == ()
    with pytest.raises(ConversationError, match="tokenizer must let a text be cut at character 2") as caught:
        tokenized(tokenizer, "a\n\nb", [2], {})
    assert caught.value.kind == "tokens"


PIECES = st.sampled_from(
    ["\n", " ", "Reply", "Ask", "a", "\u00e9", "\U0001f600", "<|im_end|>", "<|x|>", "<|", "x|>", "<tag>"]
)


def with_added_tokens() -> Tokenizer:
    tokenizer = tokenizer_for(CHATML)
    tokenizer.add_special_tokens([AddedToken("<|x|>", rstrip=True, normalized=False), "<|x|>\n<|"])
    tokenizer.add_tokens([AddedToken("<tag>", single_word=True), AddedToken("Reply a", normalized=True)])
    return tokenizer


@given(pieces=st.lists(PIECES, min_size=1, max_size=30), places=st.lists(st.integers(1, 60), max_size=6))
@settings(max_examples=max(300, settings().max_examples))
def test_pieces_told_by_their_bytes_are_those_that_the_tokenizer_makes(pieces, places):
    """Where a token is cut apart, only what stands between the nearest control tokens is tokenised anew."""
    tokenizer, text = with_added_tokens(), "".join(pieces)
    borders = sorted({place for place in places if place < len(text)})
    names = added(tokenizer)
    try:
        anew = tokenized(tokenizer, text, borders, names)
    except ConversationError:  # a border within a control token that takes the white space behind it
        with pytest.raises(ConversationError):
            tokenized(tokenizer, text, borders, names, TokenBytes(tokenizer, names))
        return
    told = tokenized(tokenizer, text, borders, names, TokenBytes(tokenizer, names))
    assert told.cuts == anew.cuts
    for field in ("ids", "starts", "stops", "anchors"):
        assert getattr(told, field).tolist() == getattr(anew, field).tolist()
