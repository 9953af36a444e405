"""Tokenised data: what the reading of texts or conversations hands to the run."""

from dataclasses import dataclass

from lmhead.batches.contract import HeldOut, TrainingRows
from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.prompt import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedData:
    """Data as tokens, with all that came to be known on the way."""

    config: TrainConfig  # with what the data decides: the vocabulary's size, the date that templates are told
    tokenizer: RunTokenizer
    rows: TrainingRows
    held_out: HeldOut
    prompts: tuple[Prompt, ...]  # at least one, that of the config first
    new_ids: tuple[int, ...] = ()  # of tokens that the weights which training starts from have never seen
