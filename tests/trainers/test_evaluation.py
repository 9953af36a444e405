"""EvaluationMixin: the figures of an evaluation are sums over tokens, whatever shares a batch or a rank."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lmhead
from lmhead import (
    ArgumentError,
    ArgumentTypeError,
    EvaluationMixin,
    Example,
    PackedCollator,
    PaddedCollator,
    StatisticsCallback,
    trainer_dataset,
)

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'lmhead[test]'")
pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import arguments, byte_level, examples, llama  # noqa: E402
from transformers import Trainer  # noqa: E402


class EvaluatingTrainer(EvaluationMixin, Trainer):
    pass


def sharp():
    """Logits as far apart as a trained model's."""
    model = llama()
    with torch.no_grad():
        model.lm_head.weight *= 30
    return model


@pytest.fixture(scope="module")
def exact():
    """By float64 logits of each Example alone."""
    model, nll, entropy, hits, count = sharp(), 0.0, 0.0, 0, 0
    for example in examples():
        with torch.no_grad():
            logits = model(torch.from_numpy(example.ids).long()[None]).logits[0].double()
        targets = example.targets().ids
        scored = targets != -100
        logits, targets = logits[scored], targets[scored]
        nll += float(F.cross_entropy(logits, targets, reduction="sum"))
        logp = logits.log_softmax(-1)
        entropy += float(-(logp.exp() * logp).sum())
        hits += int((logits.argmax(-1) == targets).sum())
        count += len(targets)
    return {"nll": nll / count, "entropy": entropy / count, "accuracy": hits / count, "tokens": count}


def evaluated(folder, data, *, model=None, collator=None, **options):
    if model is None:
        model = sharp()
        lmhead.patch(model)
    made = {name: options.pop(name) for name in ("compute_metrics", "processing_class", "callbacks") if name in options}
    trainer = EvaluatingTrainer(
        model=model,
        args=arguments(folder, **options),
        eval_dataset=data,
        train_dataset=data,
        data_collator=collator or PaddedCollator(),
        **made,
    )
    return trainer, trainer.evaluate()


@pytest.mark.parametrize("layout", ["padded by 4", "padded by 3", "packed"])
def test_figures_are_those_of_all_tokens_at_once(tmp_path, exact, layout):
    if layout == "packed":
        data, collator = trainer_dataset(lmhead.pack(examples(), length=40, overflow="drop")), PackedCollator()
        _, metrics = evaluated(tmp_path, data, collator=collator)
    else:
        _, metrics = evaluated(tmp_path, trainer_dataset(examples()), per_device_eval_batch_size=int(layout[-1]))
    assert {name: metrics[f"eval_{name}"] for name in exact} == pytest.approx(exact, rel=1e-5)
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(exact["nll"]), rel=1e-5)
    assert metrics["eval_loss"] == metrics["eval_nll"]
    assert "eval_bits_per_byte" not in metrics  # nothing tells the bytes


def test_no_logits_are_made_but_for_compute_metrics(tmp_path, monkeypatch):
    made = []
    linear = F.linear

    def watched(hidden, weight, bias=None):
        made.append(weight.shape[0] == 100 and hidden.dim() == 3)
        return linear(hidden, weight, bias)

    data = trainer_dataset(examples(8))
    model = llama()
    lmhead.patch(model)
    monkeypatch.setattr(F, "linear", watched)
    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    evaluated(tmp_path, data, model=model)
    assert not any(made)
    _, metrics = evaluated(
        tmp_path, data, model=model, compute_metrics=lambda given: {"V": given.predictions.shape[-1]}
    )
    assert any(made)
    assert metrics["eval_V"] == 100


def test_a_model_without_logits_cannot_be_given_to_compute_metrics(tmp_path):
    model = llama()
    lmhead.patch(model, logits="never")
    with pytest.raises(ArgumentError, match=r"compute_metrics must be given logits, .* logits='eval'"):
        evaluated(tmp_path, trainer_dataset(examples(4)), model=model, compute_metrics=lambda given: {})


def test_a_model_that_is_not_patched_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"model must be patched, .*: lmhead\.patch\(trainer\.model\)"):
        evaluated(tmp_path, trainer_dataset(examples(4)), model=llama())


def test_each_data_set_has_figures_of_its_own_and_a_record(tmp_path):
    data = trainer_dataset(examples())
    model = llama()
    lmhead.patch(model)
    trainer, metrics = evaluated(tmp_path, {"a": data, "b": data.select(range(5))}, model=model)
    assert metrics["eval_a_tokens"] > metrics["eval_b_tokens"] > 0
    callback = StatisticsCallback()
    trainer.add_callback(callback)
    trainer.train_dataset = data
    trainer.args.max_steps = 1
    trainer.train()
    trainer.evaluate()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record.get("set") for record in records if "evaluation" in record] == ["a", "b"]
    assert records[-1]["evaluation"] == "full"
    assert records[-1]["tokens"] == metrics["eval_b_tokens"]


def test_checkpoints_can_be_judged_by_it(tmp_path):
    model = llama()
    lmhead.patch(model)
    data = trainer_dataset(examples())
    trainer = EvaluatingTrainer(
        model=model,
        args=arguments(
            tmp_path,
            max_steps=2,
            eval_strategy="steps",
            eval_steps=1,
            metric_for_best_model="nll",
            greater_is_better=False,
        ),
        train_dataset=data,
        eval_dataset=data,
        data_collator=PaddedCollator(),
    )
    trainer.train()
    found = [logs["eval_nll"] for logs in trainer.state.log_history if "eval_nll" in logs]
    assert len(found) == 2
    assert trainer.state.best_metric == min(found)


def test_a_mixin_behind_the_trainer_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"write class Late\(lmhead\.EvaluationMixin, Trainer\)"):
        type("Late", (Trainer, EvaluationMixin), {})


def test_bits_per_byte_are_over_the_bytes_of_what_is_scored(tmp_path):
    tokenizer = byte_level()
    prompt, answer = tokenizer("Wie?")["input_ids"], tokenizer("Größe<end>")["input_ids"]
    example = Example.of([*prompt, *answer], trained=[False] * len(prompt) + [True] * len(answer))
    model = llama()
    model.resize_token_embeddings(300)
    lmhead.patch(model)
    _, metrics = evaluated(tmp_path, [example] * 3, model=model, processing_class=tokenizer)
    assert metrics["eval_bytes"] == 3 * len("Größe".encode())
    bits = metrics["eval_nll"] * metrics["eval_tokens"] / math.log(2) / metrics["eval_bytes"]
    assert metrics["eval_bits_per_byte"] == pytest.approx(bits)


def test_bytes_may_be_told_by_whoever_knows_them(tmp_path):
    class Counting(EvaluatingTrainer):
        def scored_bytes(self, ids):
            return 4 * len(ids)

    model = llama()
    lmhead.patch(model)
    metrics = Counting(
        model=model, args=arguments(tmp_path), eval_dataset=examples(5), data_collator=PaddedCollator()
    ).evaluate()
    assert metrics["eval_bytes"] == 4 * metrics["eval_tokens"]


def test_rows_that_a_sampler_repeats_count_once(tmp_path):
    """As on the last of two ranks, whose last batch of three rows has two that rank 0 had at first."""

    class Ranks:
        num_processes, process_index, device = 2, 1, torch.device("cpu")

        def gather_for_metrics(self, mine):
            return torch.cat([torch.zeros_like(mine), mine])[:4]

    trainer = EvaluatingTrainer(model=llama(), args=arguments(tmp_path))
    trainer.accelerator = Ranks()
    assert trainer._real_rows(3) == 1


def test_ranks_add_up():
    from lmhead.trainers.evaluated_tokens import EvaluatedTokens

    def part(seed):
        logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(seed))
        return lmhead.cross_entropy(logits, torch.arange(7), return_stats=True)[1]

    whole, mine, others = EvaluatedTokens(), EvaluatedTokens(), EvaluatedTokens()
    for tokens, seeds in ((whole, (0, 1)), (mine, (0,)), (others, (1,))):
        for seed in seeds:
            tokens.update(part(seed), num_bytes=10 + seed)
    sent = []
    others.merged(lambda values: sent.append(values) or values)
    merged = mine.merged(lambda values: np.add(values, sent[0]).tolist())
    assert merged.figures() == pytest.approx(whole.figures())
    assert whole.figures()["bytes"] == 21
    mine.update(part(2), num_bytes=None)
    assert "bytes" not in mine.figures()
    assert EvaluatedTokens().figures() == {"tokens": 0}
