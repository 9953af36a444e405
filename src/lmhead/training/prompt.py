"""The prompts of a run: what it continues along the way, the same ones each time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokenizers import Tokenizer

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer

PROMPTS: Final = 3  # that a run continues, the one that it is given among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a run continues or answers along the way, to show what it has learnt."""

    ids: list[int]
    hidden: int  # ids at the beginning that are not shown
    stop_ids: tuple[int, ...]
    control_tokens: bool  # shown too

    def text(self, tokenizer: Tokenizer, continuation: Sequence[int]) -> str:
        """The prompt with its continuation."""
        shown = [*self.ids[self.hidden :], *continuation]
        return str(tokenizer.decode(shown, skip_special_tokens=not self.control_tokens))


def text_prompt(tokenizer: RunTokenizer, prompt: str) -> Prompt:
    """The beginning of a document."""
    begin = tokenizer.ends.begin
    ids = tokenizer.backend.encode(prompt, add_special_tokens=False).ids
    return Prompt(ids=[*begin, *ids], hidden=len(begin), stop_ids=tokenizer.eos_ids, control_tokens=False)
