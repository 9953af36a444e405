"""PreparedEvaluation: a model that people have and data that it reads: tokenizer, labels, documents, windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.progress import Progress
from lmhead.data.rows.selection import Selection, select
from lmhead.errors import InputError, require, require_kind, require_paths
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.documents import Documents
from lmhead.evaluation.documents.held_out_documents import held_out_documents
from lmhead.evaluation.documents.read_documents import read_documents
from lmhead.evaluation.documents.trained_on import TrainedOn, trained_on
from lmhead.evaluation.scores.windows import Windows
from lmhead.given.given_model import GivenModel
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.given.labelled_as import labelled_as
from lmhead.options import option

_LONGEST: Final = 4096  # tokens of a window, where nobody says


class PreparedEvaluation:
    """What an evaluation and an audit begin with.

    Args:
        data: paths; none: what the model's run held out of its own.
        tokenizer: None: the one beside the model.

    Raises:
        InputError: model, tokenizer or data cannot be used, or do not fit one another.
    """

    def __init__(
        self,
        given: GivenModel,
        data: object,
        tokenizer: object,
        how: DocumentOptions,
        chat: ChatConfig,
        progress: Progress,
    ) -> None:
        self.given, self.how, self._progress = given, how, progress
        self.tokenizer = given.tokenizer if tokenizer is None else GivenTokenizer.of(tokenizer)
        if tokenizer is not None and self.tokenizer is not None:
            given.require_fitting(self.tokenizer)
        self.chat, self.notes = labelled_as(chat, given)
        self.selection: Selection | None = None
        self.trained: TrainedOn | None = None
        paths = paths_of(data)
        if paths:
            self.selection = select(how.source(paths, self.chat.columns), progress)
            self.documents = self._of_data(self.selection)
        else:
            self.documents = self._held_out()

    def _of_data(self, selection: Selection) -> Documents:
        run = self.given.run
        if run is not None:
            self.trained = trained_on(run, selection)
        return read_documents(
            selection,
            self.tokenizer,
            self.chat,
            self.how,
            trained_here=run is not None,
            vocab_size=self.given.model.vocab_size,
        )

    def _held_out(self) -> Documents:
        run = self.given.run
        if run is None:
            raise InputError(
                f"data must be given for {self.given.name}, which is no run that held out some of its own: "
                "lmhead eval MODEL DATA"
            )
        return held_out_documents(run, self.how, progress=self._progress)

    def windows(self, window: int | None, stride: int | None) -> Windows:
        """How documents are read.

        Raises:
            ArgumentError: the window is longer than the model's context, or the stride does not fit it.
        """
        longest = self.given.model.max_seq_len
        if window is not None:
            require_kind(option("window"), window, int)
        chosen = min(longest, _LONGEST) if window is None else window
        rule = f"be <= {longest:,} tokens, the context of {self.given.name}"
        require(chosen <= longest, option("window"), rule, chosen)
        if window is None and longest > chosen:
            note = f"texts are read {chosen:,} tokens at a time; the model's context is {longest:,}: {option('window')}"
            self.notes = (*self.notes, note)
        return Windows(window=chosen, stride=max(1, chosen // 2) if stride is None else stride)


def paths_of(data: object) -> tuple[str, ...]:
    """The paths of data as they were given: one, several, or none.

    Raises:
        ArgumentTypeError: something is no path.
    """
    if isinstance(data, str | Path):
        return (str(data),)
    require_paths("data", data)
    assert isinstance(data, Sequence)
    return tuple(map(str, data))
