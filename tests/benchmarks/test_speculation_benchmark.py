"""The benchmark of speculation counts what decoding counts, over all its prompts."""

import pytest
import torch
from benchmarks.speculation import counted

from lmhead.generation.speculative import speculate
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel


@pytest.mark.parametrize("drafts", [1, 3])
def test_counts_are_those_of_all_prompts(drafts):
    torch.manual_seed(0)
    model = MultiTokenModel.behind(GPT(11, 8, 2, 1, max_seq_len=32, embedding_std=1.0), depth=1).eval()
    prompts = [[1, 2, 3], [4]]
    made = [speculate(model, [each], max_new_tokens=12, draft_tokens=drafts, temperature=0).counts for each in prompts]
    total = counted(model, prompts, 12, drafts)
    assert total.tokens == 24
    assert total.forwards == sum(each.forwards for each in made)
    assert total.drafted == [sum(depth) for depth in zip(*(each.drafted for each in made), strict=True)]
    assert len(total.acceptance) == drafts
