"""eval_loss of EvaluationMixin: the mean over all scored tokens, whatever shares a batch; by source too (HF #39241)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lmhead
from lmhead import ArgumentError, EvaluationMixin, Example, PaddedCollator, StatisticsCallback, trainer_dataset

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'lmhead[test]'")
pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import arguments, llama, mixtral  # noqa: E402
from transformers import EarlyStoppingCallback, Trainer  # noqa: E402

NAMES = ("web", "books/old", "code")


class Exact(EvaluationMixin, Trainer):
    pass


def sharp() -> Any:
    model = llama()
    with torch.no_grad():
        model.lm_head.weight *= 30
    return model


def unequal(count: int = 17, seed: int = 0) -> list[Example]:
    """Of 3 to 60 tokens; those before a place of its own are not learnt."""
    draw = np.random.default_rng(seed)
    made = []
    for size in draw.integers(3, 60, count).tolist():
        first = int(draw.integers(0, size - 1))
        made.append(Example.of(draw.integers(3, 100, size).tolist(), trained=[t >= first for t in range(size)]))
    return made


def by_hand(model: Any, examples: list[Example]) -> list[tuple[float, int]]:
    """Of each Example alone: nats in float64, and tokens."""
    found = []
    for example in examples:
        with torch.no_grad():
            logits = model(torch.from_numpy(example.ids).long()[None]).logits[0].double()
        targets = example.targets().ids
        scored = targets != -100
        found.append((float(F.cross_entropy(logits[scored], targets[scored], reduction="sum")), int(scored.sum())))
    return found


def mean(found: list[tuple[float, int]]) -> float:
    return sum(nll for nll, _ in found) / sum(tokens for _, tokens in found)


def evaluated(folder: Path, kind: type, model: Any, data: Any, **options: Any) -> dict[str, float]:
    made = {name: options.pop(name) for name in ("compute_metrics", "callbacks") if name in options}
    trainer = kind(
        model=model, args=arguments(folder, **options), eval_dataset=data, data_collator=PaddedCollator(), **made
    )
    found: dict[str, float] = trainer.evaluate()
    return found


def test_stock_eval_loss_changes_with_the_batch_size_and_ours_is_float64s(tmp_path: Path) -> None:
    examples = unequal()
    exact = mean(by_hand(sharp(), examples))
    stock, ours = [], []
    for size in (1, 2, 3, 5, 8, 17):
        data = trainer_dataset(examples)
        stock.append(evaluated(tmp_path, Trainer, sharp(), data, per_device_eval_batch_size=size)["eval_loss"])
        model = sharp()
        lmhead.patch(model)
        metrics = evaluated(tmp_path, Exact, model, data, per_device_eval_batch_size=size)
        assert metrics["eval_loss"] == metrics["eval_nll"]
        ours.append(metrics["eval_loss"])
    assert max(stock) - min(stock) > 1e-2
    assert ours == pytest.approx([exact] * len(ours), rel=1e-6)


@pytest.mark.parametrize("metrics", [False, True])
def test_compute_metrics_leaves_it_exact(tmp_path: Path, metrics: bool) -> None:
    examples, model = unequal(), sharp()
    lmhead.patch(model)
    more = {"compute_metrics": lambda given: {"rows": len(given.label_ids)}} if metrics else {}
    found = evaluated(tmp_path, Exact, model, trainer_dataset(examples), per_device_eval_batch_size=5, **more)
    assert found["eval_loss"] == pytest.approx(mean(by_hand(sharp(), examples)), rel=1e-6)
    assert found.get("eval_rows") == (len(examples) if metrics else None)


def test_data_sets_by_name_are_exact_each(tmp_path: Path) -> None:
    parts = {"a": unequal(7, seed=1), "b": unequal(4, seed=2)}
    model = sharp()
    lmhead.patch(model)
    data = {name: trainer_dataset(examples) for name, examples in parts.items()}
    found = evaluated(tmp_path, Exact, model, data, per_device_eval_batch_size=3)
    for name, examples in parts.items():
        assert found[f"eval_{name}_loss"] == pytest.approx(mean(by_hand(sharp(), examples)), rel=1e-6)


def test_checkpoints_are_judged_and_training_stopped_by_the_exact_loss(tmp_path: Path) -> None:
    examples, model = unequal(), sharp()
    lmhead.patch(model)
    data = trainer_dataset(examples)
    trainer = Exact(
        model=model,
        args=arguments(
            tmp_path, max_steps=6, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
            metric_for_best_model="loss", greater_is_better=False, load_best_model_at_end=True, learning_rate=5.0,
        ),
        train_dataset=data,
        eval_dataset=data,
        data_collator=PaddedCollator(),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )  # fmt: skip
    trainer.train()
    logs = [each for each in trainer.state.log_history if "eval_loss" in each]
    assert all(each["eval_loss"] == each["eval_nll"] for each in logs)
    assert trainer.state.best_metric == min(each["eval_nll"] for each in logs)
    lmhead.unpatch(model)
    assert trainer.state.best_metric == pytest.approx(mean(by_hand(model, examples)), rel=1e-5)


def test_what_a_router_adds_is_added_by_tokens(tmp_path: Path) -> None:
    examples = unequal(9)

    def model() -> Any:
        made = mixtral()
        made.config.output_router_logits = True
        return made

    patched = model()
    lmhead.patch(patched)
    found = evaluated(tmp_path, Exact, patched, trainer_dataset(examples), per_device_eval_batch_size=1)
    exact, losses = by_hand(model(), examples), []
    for example in examples:
        ids = torch.from_numpy(example.ids).long()[None]
        labels = torch.where(torch.from_numpy(example.learnt), ids[0], -100)[None]
        with torch.no_grad():
            losses.append(float(model()(input_ids=ids, labels=labels).loss))
    tokens = [count for _, count in exact]
    assert found["eval_nll"] == pytest.approx(mean(exact), rel=1e-5)
    assert found["eval_loss"] == pytest.approx(np.average(losses, weights=tokens), rel=1e-5)
    assert found["eval_loss"] > found["eval_nll"] + 0.1


def test_where_no_token_is_scored_there_is_no_loss(tmp_path: Path) -> None:
    import datasets

    model = sharp()
    lmhead.patch(model)
    data = datasets.Dataset.from_list([{"input_ids": [3, 4, 5], "labels": [-100] * 3}])
    found = evaluated(tmp_path, Exact, model, data)
    assert found["eval_tokens"] == 0
    assert "eval_loss" not in found


def sourced(examples: list[Example]) -> Any:
    data = trainer_dataset(examples)
    return data.add_column("source", [NAMES[index % 3] for index in range(len(examples))])


class BySource(Exact):
    source_key = "source"


@pytest.mark.parametrize("size", [1, 4, 17])
def test_a_column_of_sources_gives_the_loss_of_each(tmp_path: Path, size: int) -> None:
    examples, model = unequal(), sharp()
    lmhead.patch(model)
    found = evaluated(tmp_path, BySource, model, sourced(examples), per_device_eval_batch_size=size)
    exact = by_hand(sharp(), examples)
    for place, name in enumerate(NAMES):
        assert found[f"eval_nll/{name}"] == pytest.approx(mean(exact[place::3]), rel=1e-6)
        assert found[f"eval_tokens/{name}"] == sum(tokens for _, tokens in exact[place::3])
    total = sum(found[f"eval_nll/{name}"] * found[f"eval_tokens/{name}"] for name in NAMES)
    assert total / found["eval_tokens"] == pytest.approx(found["eval_loss"], rel=1e-12)
    assert sum(found[f"eval_tokens/{name}"] for name in NAMES) == found["eval_tokens"]


def test_a_column_of_sources_reaches_no_model_in_training_and_the_record_of_evaluations(tmp_path: Path) -> None:
    examples, model = unequal(), sharp()
    lmhead.patch(model)
    trainer = BySource(
        model=model,
        args=arguments(tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1, metric_for_best_model="nll/web"),
        train_dataset=sourced(examples),
        eval_dataset=sourced(examples),
        data_collator=PaddedCollator(),
        callbacks=[StatisticsCallback()],
    )
    trainer.train()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = next(record for record in records if "evaluation" in record)
    assert set(told["classes"]["source"]) == set(NAMES)
    assert trainer.state.best_metric == pytest.approx(told["classes"]["source"]["web"][0])


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = sharp()
    lmhead.patch(model)
    with pytest.raises(ArgumentError, match=r"source_key must name a column .*, got 'source' for rows with input_ids"):
        evaluated(tmp_path, BySource, model, trainer_dataset(unequal(3)))


def on_one_of_two(ranks: Any, folder: str) -> dict[str, float]:
    """17 rows in batches of 3 on each of 2 ranks: the last batches have rows that a sampler repeats."""
    model = sharp()
    lmhead.patch(model)
    return evaluated(Path(folder), BySource, model, sourced(unequal()), per_device_eval_batch_size=3)


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_have_the_loss_of_one(tmp_path: Path, size: int) -> None:
    from tests.ranks.launched import on_ranks

    one = on_one_of_two(None, str(tmp_path))
    for found in on_ranks(size, on_one_of_two, str(tmp_path)):
        same = [name for name in one if name.startswith(("eval_nll", "eval_tokens", "eval_loss"))]
        assert {name: found[name] for name in same} == pytest.approx({name: one[name] for name in same}, rel=1e-7)
