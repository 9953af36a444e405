"""An evaluation of a model with multi-token prediction: its main head's figures, and those of each depth."""

import json

import pytest
import torch
from tests.evaluation.held_out.held_out_data import chat, model, text
from tests.evaluation.held_out.test_evaluate import Held

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.held_out.draft_scores import DepthSums
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out, seconds_of_decoding, seconds_per_position
from lmhead.evaluation.token_scores import token_scores
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack
from lmhead.models.causal_lm import CausalLM
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.problem import TokenStatistics

CPU = torch.device("cpu")


def with_depths(depth: int = 2) -> MultiTokenModel:
    main = model()
    torch.manual_seed(1)
    return MultiTokenModel.behind(main, depth=depth)


def judged(judge: CausalLM, held_out: HeldOut, **options: object) -> Evaluation:
    return evaluate_held_out(judge, held_out, device=CPU, dtype=torch.float32, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("held_out", [text, chat])
def test_the_main_head_has_the_figures_that_it_has_alone(held_out):
    alone, beside = judged(model(), held_out()), judged(with_depths(), held_out())
    assert beside.nll == pytest.approx(alone.nll, rel=1e-6)
    for name in ("tokens", "bytes", "accuracy", "answers", "exact", "whole"):
        assert getattr(beside, name) == getattr(alone, name)
    assert alone.depths is None
    assert {"depths", "accepted_length", "decoded_length", "sampled_length"}.isdisjoint(alone.as_dict())


@pytest.mark.parametrize("held_out", [text, chat])
@pytest.mark.parametrize("watched", [False, True])
def test_each_depth_is_scored_on_what_is_to_be_learnt_that_far_ahead(held_out, watched):
    judge, counts, hits = with_depths().eval(), DepthSums(2), [0, 0]
    for batch in held_out().batches():
        document = batch.attention_document
        with torch.no_grad():
            _, statistics = judge.multi_token_loss(batch.ids, batch.targets, document=document, top_k=1)
        counts.update(statistics)
        for k in (1, 2):
            ahead, top = batch.targets.at(1 + k), statistics[k].top_ids
            assert top is not None
            hits[k - 1] += int((ahead.scored & (top[..., 0] == ahead.ids)).sum())
    options = {"seen": lambda batch, statistics: None} if watched else {}  # of prompts, too, which count in nothing
    result = judged(judge, held_out(), **options)
    assert result.depths is not None
    for depth, expected, hit in zip(result.depths, counts.scores(), hits, strict=True):
        assert depth.nll == pytest.approx(expected.nll, rel=1e-6)
        assert (depth.tokens, depth.acceptance) == (expected.tokens, expected.acceptance)
        assert depth.accuracy == pytest.approx(hit / depth.tokens)
    assert result.accepted_length == counts.accepted_length
    assert result.tokens >= result.depths[0].tokens >= result.depths[1].tokens > 100


def test_depths_are_a_kind_of_class_and_a_line_of_the_log():
    result = judged(with_depths(), text())
    assert result.depths is not None
    assert list(result.classes["depth"]) == ["1", "2", "3"]
    for name, nll in [("1", result.nll), ("2", result.depths[0].nll), ("3", result.depths[1].nll)]:
        assert result.classes["depth"][name][0] == pytest.approx(nll, rel=1e-6)
    line = json.loads(json.dumps(result.as_dict()))
    assert [depth["tokens"] for depth in line["depths"]] == [depth.tokens for depth in result.depths]
    assert line["accepted_length"] == result.accepted_length


def test_a_whole_evaluation_lets_the_model_write_and_one_of_a_part_does_not():
    whole, part = judged(with_depths(), text()), judged(with_depths(), text(), part=Part())
    assert whole.decoded_length is not None
    assert 1 <= whole.decoded_length <= 3
    assert whole.sampled_length is not None
    assert 1 < whole.sampled_length <= 3
    assert (part.decoded_length, part.sampled_length) == (None, None)
    assert {"decoded_length", "sampled_length"}.isdisjoint(part.as_dict())
    assert part.depths is not None


def test_what_is_seen_of_a_batch_is_the_main_heads():
    seen: dict[str, list[TokenStatistics]] = {"alone": [], "beside": []}
    for name, judge in (("alone", model()), ("beside", with_depths())):
        judged(judge, chat(), seen=lambda batch, statistics, name=name: seen[name].append(statistics))
    for alone, beside in zip(seen["alone"], seen["beside"], strict=True):
        assert torch.equal(alone.scored, beside.scored)
        torch.testing.assert_close(alone.nll, beside.nll)


def test_rows_that_are_no_longer_than_the_depths_are_the_main_heads_alone():
    short = pack([Example.of([5, 6], trained=[True, True])], length=2, overflow="drop").take(0, 1)
    result = judged(with_depths(), Held([short]))  # type: ignore[arg-type]
    assert (result.tokens, result.accepted_length, result.decoded_length, result.sampled_length) == (
        1,
        None,
        None,
        None,
    )
    assert [(depth.tokens, depth.nll) for depth in result.depths or ()] == [(0, None)] * 2
    assert list(result.classes["depth"]) == ["1"]


def test_it_can_be_timed_and_ended():
    assert seconds_per_position(with_depths(), text(), device=CPU, dtype=torch.float32) > 0
    assert seconds_of_decoding(with_depths(), text()) > 0
    assert seconds_of_decoding(model(), text()) == 0
    told: list[tuple[int, int]] = []

    def stop() -> None:  # while it writes
        raise InterruptedError

    with pytest.raises(InterruptedError):
        judged(with_depths(), text(), told=lambda done, total: told.append((done, total)), each=stop)
    assert told[-1] == (text().read(), text().read())


def test_scores_of_tokens_are_the_main_heads():
    batch: PackedBatch = next(iter(text().batches()))
    alone, beside = (token_scores(each, batch, device=CPU, dtype=torch.float32) for each in (model(), with_depths()))
    for one, other in zip(alone, beside, strict=True):
        assert one.nll.tolist() == pytest.approx(other.nll.tolist(), nan_ok=True)
