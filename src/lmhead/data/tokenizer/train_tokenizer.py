"""The tokenizer of a run: a byte-level BPE trained on its documents, or one that is given."""

from collections.abc import Callable, Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.tokenizer_files import ENDS_OF_TEXT
from lmhead.errors import InputError, require
from lmhead.labels.id_count import id_count
from lmhead.options import Message, option

END_OF_TEXT = ENDS_OF_TEXT[0]  # opens and closes every document
# Words with one space before them, numbers by up to three digits, runs of punctuation, line ends with the indent after.
# Every repeat is bounded: training takes the square of a piece's length, and did not end on megabytes of one letter.
_PIECES = r" ?\p{L}{1,256}|\p{N}{1,3}| ?[^\s\p{L}\p{N}]{1,256}|\s{0,256}\n[ \t]{0,256}|\s{1,256}"


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, control_tokens: Sequence[str] = ()) -> Tokenizer:
    """A byte-level BPE of exactly `vocab_size` tokens; every text survives encoding and decoding unchanged.

    Args:
        control_tokens: further special tokens beside end-of-text.

    Raises:
        InputError: the texts hold too few distinct pieces to fill the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, *control_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise InputError(
            f"{option('vocab_size')} must be at most what the text can fill, {tokenizer.get_vocab_size()} tokens, "
            f"got {vocab_size}: give {option('vocab_size', tokenizer.get_vocab_size())}, or more text"
        )
    return tokenizer


def require_rows(vocab_size: int, tokenizer: Tokenizer, note: Callable[[str], None]) -> None:
    """Refuse a model with fewer rows than the tokenizer has ids; tell of more, which pad.

    Raises:
        ArgumentError: the largest id has no row.
    """
    ids = id_count(tokenizer)
    require(
        vocab_size >= ids,
        option("vocab_size"),
        f"be at least the tokenizer's {ids}",
        vocab_size,
        f"give {option('vocab_size', ids)}",
    )
    if vocab_size > ids:
        pads = f"{option('vocab_size', ids)} pads with none"
        note(Message(f"tokenizer: {ids:,} ids, {vocab_size:,} rows in embedding and head; {pads}"))


def encode_documents(tokenizer: Tokenizer, texts: list[str], ends: TextEnds) -> list[list[int]]:
    """Token ids of each text between its ends; control tokens written in a text stay plain text."""
    tokenizer.encode_special_tokens = True
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [[*ends.begin, *one.ids, ends.end] for one in encoded]
