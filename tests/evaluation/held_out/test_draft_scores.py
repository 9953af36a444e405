"""Of each depth nll, accuracy and accepted drafts, against plain loops over full logits."""

from collections.abc import Sequence

import pytest
import torch
from tests.evaluation.held_out.drafting_models import V, choices, drafting_model, noisy_cycles
from torch import Tensor

from lmhead.evaluation.held_out.draft_scores import DepthSums, accepted_drafts
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.problem import TokenStatistics


def statistics_of(model: MultiTokenModel, ids: Tensor, targets: Targets) -> list[TokenStatistics]:
    with torch.no_grad():
        return model.eval().multi_token_loss(ids, targets, document=targets.document, top_k=1)[1]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_draft_is_accepted_where_it_and_all_before_it_are_what_the_main_head_chooses(depth):
    model, ids = drafting_model(depth=depth, steps=20).eval(), noisy_cycles(3, 20)
    accepted, whole = accepted_drafts(statistics_of(model, ids, Targets.from_targets(ids.roll(-1, 1))))
    for row in range(3):
        main, *drafts = choices(model, ids[row].tolist())
        for i in range(20):
            agreed = [drafts[k - 1][i] == main[i + k] for k in range(1, depth + 1) if i + k < 20]
            assert accepted[row, i] == [*agreed, False].index(False)
            assert whole[row, i] == (len(agreed) == depth)
    assert accepted.max() == depth


def test_figures_of_each_depth_are_those_of_full_logits():
    model, ids = drafting_model(steps=20).eval(), noisy_cycles(4, 20)
    document = torch.tensor([[0] * 9 + [1] * 8 + [-1] * 3] * 4)
    targets = Targets.from_labels(ids, document=document, weight=(torch.rand(4, 20) > 0.2).double())
    counts = DepthSums(2)
    for part in (slice(0, 1), slice(1, 4)):
        counts.update(statistics_of(model, ids[part], targets.rows(part)))
    with torch.no_grad():
        trunk = model.main.trunk(ids, document=document)
        logits = [model.lm_head(states) for states in (trunk.hidden, *model.mtp.behind(trunk))]
    chosen = [each.argmax(-1) for each in logits]
    scored = [targets.at(1 + k).scored for k in range(3)]
    chains = [(row, i) for row, i in scored[0].nonzero().tolist() if scored[1][row, i] and scored[2][row, i]]
    chains = [(row, i) for row, i in chains if scored[0][row, i + 1] and scored[0][row, i + 2]]
    first = [chosen[1][row, i] == chosen[0][row, i + 1] for row, i in chains]
    second = [one and chosen[2][row, i] == chosen[0][row, i + 2] for one, (row, i) in zip(first, chains, strict=True)]
    for k, (depth, kept) in enumerate(zip(counts.scores(), (first, second), strict=True), 1):
        ahead = targets.at(1 + k).ids[scored[k]]
        nll = torch.nn.functional.cross_entropy(logits[k][scored[k]], ahead)
        assert depth.tokens == len(ahead) > 20
        assert depth.nll == pytest.approx(float(nll), rel=1e-12)
        assert depth.accuracy == pytest.approx(float((chosen[k][scored[k]] == ahead).double().mean()))
        tried = chains if k == 1 else [one for one in first if one]
        assert depth.acceptance == pytest.approx(sum(map(int, kept)) / len(tried))
    assert counts.accepted_length == pytest.approx(1 + sum(map(int, first + second)) / len(chains))


def judged(logits: Tensor, targets: Tensor) -> TokenStatistics:
    return cross_entropy(logits, targets, return_stats=True, top_k=1)[1]


def test_the_best_drafts_write_one_token_more_than_there_are_depths():
    assert counted([[1, 2, 3, 4, 5], [2, 3, 4, 5], [3, 4, 5]]).accepted_length == 3
    assert counted([[1, 2, 3, 4, 5], [0, 0, 0, 0], [3, 4, 5]]).accepted_length == 1  # the second is of no use alone


def counted(chosen: Sequence[Sequence[int]]) -> DepthSums:
    """Of heads that choose these tokens, all of them scored."""
    counts = DepthSums(len(chosen) - 1)
    logits = [torch.nn.functional.one_hot(torch.tensor([row]).long(), V).double() for row in chosen]
    counts.update([judged(each, each.argmax(-1)) for each in logits])
    return counts


def test_a_depth_that_scores_nothing_has_no_figures():
    counts = counted([[1, 2], [2], []])
    first, second = counts.scores()
    assert (first.tokens, first.accuracy, first.acceptance) == (1, 1.0, None)
    assert (second.nll, second.accuracy, second.acceptance, second.tokens) == (None, None, None, 0)
    assert counts.accepted_length is None
