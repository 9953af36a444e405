"""On a random 16-state Markov chain, t + 2 costs what the chain's entropies say: 1.651 nats sequential, 2.378 parallel.

Row S2 of the seeds. Who knows the token in between (sequential) pays the entropy of a step, H(x[t+2] | x[t+1]); who
knows x[t] alone (a head of its own on the same hidden state) that of two, H(x[t+2] | x[t]).
"""

import pytest
import torch

from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

STATES, STEPS, ROWS, LENGTH = 16, 180, 64, 16


@pytest.fixture(scope="module")
def chain():
    """Transition probabilities [16, 16]."""
    return (2 * torch.randn(STATES, STATES, generator=torch.Generator().manual_seed(0))).softmax(-1)


def stationary(chain):
    return torch.linalg.matrix_power(chain.double(), 1000)[0]


def entropy(chain, steps):
    """Of the state `steps` ahead, in nats, over the chain's stationary distribution."""
    ahead = torch.linalg.matrix_power(chain.double(), steps)
    return (stationary(chain)[:, None] * -ahead * ahead.log()).sum().item()


def walks(chain, rows, length, generator):
    """Rows of states [rows, length]."""
    states = [torch.multinomial(stationary(chain), rows, replacement=True, generator=generator)]
    for _ in range(length - 1):
        states.append(torch.multinomial(chain[states[-1]], 1, generator=generator)[:, 0])
    return torch.stack(states, 1)


def test_the_chains_entropies_are_1_651_and_2_378(chain):
    assert entropy(chain, 1) == pytest.approx(1.651, abs=5e-4)
    assert entropy(chain, 2) == pytest.approx(2.378, abs=5e-4)


@pytest.mark.parametrize(("kind", "expected"), [("sequential", 1.651), ("parallel", 2.378)])
def test_two_ahead_costs_a_step_for_who_reads_the_token_between_and_two_steps_for_who_does_not(chain, kind, expected):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    config = GPTConfig(vocab_size=STATES, embed_dim=16, num_heads=1, num_layers=1, max_seq_len=LENGTH, mlp_dim=32)
    model = MultiTokenModel.behind(GPT.from_config(config), kind=kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, STEPS)
    for ids in walks(chain, STEPS * ROWS, LENGTH, generator).split(ROWS):
        optimizer.zero_grad(set_to_none=True)
        model.multi_token_loss(ids, Targets.from_labels(ids))[0].backward()
        optimizer.step()
        schedule.step()
    ids = walks(chain, 4096, LENGTH, generator)
    with torch.no_grad():
        _, statistics = model.multi_token_loss(ids, Targets.from_labels(ids))
    next_token, two_ahead = ((of.nll.sum() / of.scored.sum()).item() for of in statistics)
    assert next_token == pytest.approx(1.651, abs=0.02)
    assert two_ahead == pytest.approx(expected, abs=0.02)
