"""Small models with multi-token prediction, drawn or trained for a moment, and greedy drafting by whole forwards."""

import torch
from torch import Tensor

from lmhead.generation.draft_counts import DraftCounts
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import Kind

V = 12


def drafting_model(*, kind: Kind = "sequential", depth: int = 2, steps: int = 0, length: int = 48) -> MultiTokenModel:
    """Of float64; trained for so many steps on rows of a noisy cycle, it drafts right sometimes."""
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=V, embed_dim=16, num_heads=2, num_layers=1, max_seq_len=length, init_std=0.3)
    model = MultiTokenModel.behind(GPT.from_config(config).double(), depth=depth, kind=kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        rows = noisy_cycles(8, 24)
        loss, _ = model.multi_token_loss(rows, Targets.from_labels(rows))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def noisy_cycles(count: int, length: int) -> Tensor:
    """Rows [count, length] that go from x to 3x + 1, or sometimes anywhere."""
    rows = torch.randint(V, (count, length))
    goes_on = torch.rand(count, length) < 0.8
    for place in range(1, length):
        rows[:, place] = torch.where(goes_on[:, place], (3 * rows[:, place - 1] + 1) % V, rows[:, place])
    return rows


@torch.no_grad()
def choices(model: MultiTokenModel, ids: list[int]) -> list[list[int]]:
    """Of the main head and of each depth the most probable token from each position, by full logits."""
    trunk = model.main.trunk(torch.tensor([ids]))
    if isinstance(model.mtp, MultiTokenPredictionHead):
        heads, states = [model.lm_head, *model.mtp.heads], [trunk.hidden] * (1 + model.depth)
    else:
        heads, states = [model.lm_head] * (1 + model.depth), [trunk.hidden, *model.mtp.behind(trunk)]
    return [head(each)[0].argmax(-1).tolist() for head, each in zip(heads, states, strict=True)]


def decoded(model: MultiTokenModel, prompt: list[int], count: int) -> tuple[list[int], DraftCounts]:
    """(the ids that greedy speculative decoding writes, what is counted of it), by forwards of whole rows alone."""
    model.eval()
    counts = DraftCounts.of_depths(model.depth)
    counts.forwards, counts.tokens = 1, count
    ids = [*prompt, main_choice(model, prompt)]
    while (to_come := len(prompt) + count - len(ids)) > 0:
        at, drafts = len(ids) - 2, list[int]()
        for depth in range(1, min(model.depth, to_come - 1) + 1):
            # a row must be longer than the depths, and nobody looks at what stands behind it
            drafts.append(choices(model, [*ids, *drafts, *[0] * model.depth])[depth][at])
        written = [main_choice(model, ids)]
        while len(written) <= len(drafts) and written[-1] == drafts[len(written) - 1]:
            written.append(main_choice(model, [*ids, *written]))
        counts.add(len(drafts), len(written) - 1)
        counts.forwards += 1
        ids += written
    return ids, counts


def main_choice(model: MultiTokenModel, ids: list[int]) -> int:
    """The token that greedy decoding writes behind these."""
    with torch.no_grad():
        return int(model.lm_head(model.main.trunk(torch.tensor([ids])).hidden[0, -1]).argmax())
