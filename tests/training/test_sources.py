"""A run's training loss by source: sums that are those of its tokens in float64, however a step is cut and shared."""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.training.rank_runs import tiny, trained, trained_alone, words

from lmhead.batches.source_groups import source_groups
from lmhead.cli.main import main
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import PackedRows, pack
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.step.loss_by_source import LossBySource, means
from lmhead.training.step.window import WindowCounts, WindowLoss, backward

LENGTH, V = 16, 40


def model() -> GPT:
    torch.manual_seed(0)
    made = GPT.from_config(GPTConfig(vocab_size=V, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=LENGTH))
    return made.double()


def conversations(draw: np.random.Generator, *, weighted: bool) -> PackedRows:
    examples = []
    for size in draw.integers(2, LENGTH + 1, 30).tolist():
        trained = draw.random(size) < 0.6
        example = Example.of(draw.integers(0, V, size).tolist(), trained=trained.tolist())
        weight = draw.choice([0.0, 0.5, 2.0], size).astype(np.float32) if weighted else None
        examples.append(dataclasses.replace(example, weight=weight))
    return pack(examples, length=LENGTH, overflow="drop", untrained="keep")


def taken(window: list[PackedBatch], source: np.ndarray, count: int, **options: float) -> WindowLoss:
    return backward(
        model().loss,
        window,
        WindowCounts.of(window),
        device=torch.device("cpu"),
        dtype=torch.float32,
        sums=LossBySource(source, count),
        **{"label_smoothing": 0.0, "z_loss": 0.0, **options},
    )


def by_hand(window: list[PackedBatch], source: np.ndarray, count: int) -> np.ndarray:
    """[2, S]: token after token."""
    sums, wide = np.zeros((2, count)), model()
    for batch in window:
        with torch.no_grad():
            logits = wide(batch.ids, document=batch.attention_document)
        logits = logits[0] if isinstance(logits, tuple) else logits
        for row, place in batch.targets.scored.nonzero().tolist():
            if batch.targets.weight is not None and not batch.targets.weight[row, place]:
                continue
            number = source[int(batch.source[row, place])]
            sums[0, number] += float(-logits[row, place].log_softmax(-1)[batch.targets.ids[row, place]])
            sums[1, number] += 1
    return sums


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_sums_by_source_are_those_of_the_tokens_however_the_window_is_cut(seed: int, weighted: bool) -> None:
    draw = np.random.default_rng(seed)
    rows, count = conversations(draw, weighted=weighted), int(draw.integers(1, 6))
    source = draw.integers(0, count, 30)
    whole = [rows.take(0, 6)]
    expected = by_hand(whole, source, count)
    for window in (whole, [rows.take(0, 1), rows.take(1, 3), rows.take(4, 2)]):
        made = taken(window, source, count)
        assert made.by_source is not None
        np.testing.assert_allclose(made.by_source, expected, rtol=1e-10, atol=1e-12)
        if not weighted:
            total, tokens = made.by_source.sum(1)
            assert tokens == made.scored
            assert total / tokens == pytest.approx(made.loss, rel=1e-12)


def test_what_is_added_to_the_loss_is_not_in_the_sums() -> None:
    rows, source = conversations(np.random.default_rng(0), weighted=False), np.arange(30) % 3
    plain = taken([rows.take(0, 4)], source, 3)
    more = taken([rows.take(0, 4)], source, 3, label_smoothing=0.2, z_loss=1e-2)
    assert more.loss > plain.loss
    np.testing.assert_allclose(more.by_source, plain.by_source, rtol=1e-12)


def test_the_sums_change_no_gradient_and_no_loss() -> None:
    rows, made = conversations(np.random.default_rng(0), weighted=False), model()
    window = [rows.take(0, 2), rows.take(2, 2)]
    results = []
    for sums in (None, LossBySource(np.arange(30) % 3, 3)):
        made.zero_grad()
        loss = backward(
            made.loss, window, WindowCounts.of(window), device=torch.device("cpu"), dtype=torch.float32,
            label_smoothing=0.0, z_loss=0.0, sums=sums,
        )  # fmt: skip
        results.append((loss.loss, torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_means_leave_out_sources_without_a_token() -> None:
    assert means(np.array([[3.0, 0.0, 1.0], [2.0, 0.0, 4.0]]), ("a", "b", "c")) == {"a": (1.5, 2), "c": (0.25, 4)}


def written(folder: Path, kind: str) -> Path:
    """Rows of three sources, by a column, of one file."""
    rows = []
    for number, text in enumerate(words(120).split("\n\n")):
        source = ("web", "books", "code")[number % 3]
        if kind == "chat":
            messages = [{"role": "user", "content": str(number)}, {"role": "assistant", "content": text[:5]}]
            rows.append({"messages": messages, "source": source})
        else:
            rows.append({"text": text, "source": source})
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def keyed(data: Path, out: Path, **options: Any) -> Any:
    config = tiny(data, out, **options)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, source_key="source"))


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_each_step_of_a_run_tells_its_sources_and_they_add_up_to_its_loss(tmp_path: Path, kind: str) -> None:
    log = trained_alone(keyed(written(tmp_path, kind), tmp_path / "run", steps=6, precision="float32"))
    steps = [record for record in log if "loss" in record]
    assert len(steps) == 6
    before = 0
    for step in steps:
        assert set(step["sources"]) <= {"web", "books", "code"}
        tokens = sum(count for _, count in step["sources"].values())
        assert tokens == step["tokens"] - before
        before = step["tokens"]
        total = sum(nll * count for nll, count in step["sources"].values())
        assert total / tokens == pytest.approx(step["loss"], rel=1e-6)
    for record in log:
        if "evaluation" in record:
            classes = record["classes"]["source"]
            assert set(classes) == {"web", "books", "code"}
            assert sum(count for _, count in classes.values()) == record["tokens"]
            total = sum(nll * count for nll, count in classes.values())
            assert total / record["tokens"] == pytest.approx(record["nll"], rel=1e-9)


def test_a_run_of_one_source_logs_none(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(words(120))
    log = trained_alone(tiny(file, tmp_path / "run", steps=2))
    assert not any("sources" in record for record in log if "loss" in record)


def test_many_files_are_told_in_few_names_whose_sums_are_exact(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(60):
        (folder / f"f{number % 40}").mkdir(parents=True, exist_ok=True)
        (folder / f"f{number % 40}" / f"{number}.txt").write_text(words(4, seed=number))
    log = trained_alone(tiny(folder, tmp_path / "run", steps=3))
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for step in (record for record in log if "loss" in record):
        total = sum(nll * count for nll, count in step["sources"].values())
        tokens = sum(count for _, count in step["sources"].values())
        assert total / tokens == pytest.approx(step["loss"], rel=1e-6)
        for name, (nll, count) in step["sources"].items():
            sums[name][0] += nll * count
            sums[name][1] += count
    assert 1 < len(sums) <= 32


@pytest.mark.parametrize(
    ("size", "options"), [(2, {}), (4, {"rows": 3, "accumulate": 2}), (2, {"mesh": "cp=2"}), (2, {"mesh": "tp=2"})]
)
def test_ranks_have_the_sums_of_one_process(tmp_path: Path, size: int, options: dict[str, Any]) -> None:
    file = written(tmp_path, "text")
    one = trained_alone(keyed(file, tmp_path / "one", steps=3, **options))
    many = on_ranks(size, trained, keyed(file, tmp_path / "many", steps=3, **options), mesh=options.get("mesh"))[0]
    pairs = [(a, b) for a, b in zip(one, many, strict=True) if "sources" in a]
    assert len(pairs) == 3
    for alone, shared in pairs:
        assert alone["sources"].keys() == shared["sources"].keys()
        for name, (nll, tokens) in alone["sources"].items():
            assert shared["sources"][name][1] == tokens
            assert shared["sources"][name][0] == pytest.approx(nll, rel=5e-6)


def test_further_tokens_are_no_part_of_the_sums(tmp_path: Path) -> None:
    file = written(tmp_path, "text")
    config = keyed(file, tmp_path / "run", steps=3)
    log = trained_alone(dataclasses.replace(config, mtp=MultiTokenConfig(depth=1)).resolved())
    for step in (record for record in log if "loss" in record):
        assert "mtp_loss_1" in step
        tokens = sum(count for _, count in step["sources"].values())
        total = sum(nll * count for nll, count in step["sources"].values())
        assert total / tokens == pytest.approx(step["loss"], rel=1e-6)


def test_a_resumed_run_logs_the_same_sources_bit_for_bit(tmp_path: Path) -> None:
    file, flags = written(tmp_path, "text"), ["--source-key", "source", "--save-every", "2", "--steps", "4"]
    sizes = ["--vocab-size", "280", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"]
    told = {}
    for name in ("whole", "resumed"):
        run = tmp_path / name
        assert main(["train", "--data", str(file), "--out", str(run), "--rows", "4", *sizes, *flags]) == 0
        if name == "resumed":
            assert main(["train", "--resume", str(run), "--step", "2"]) == 0
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        told[name] = [line["sources"] for line in lines if "loss" in line]
    assert len(told["whole"]) == 4
    assert told["resumed"] == told["whole"]


def test_sources_in_a_flat_folder_of_many_are_the_largest_and_the_others(tmp_path: Path) -> None:
    groups = source_groups({f"{number}.txt": 1 + number for number in range(10_000)}, most=32)
    assert len(set(groups.values())) == 32
    assert groups["9999.txt"] == "9999.txt"
    assert groups["0.txt"] == "9,969 other sources"


@pytest.mark.parametrize("more", [(), ("--no-pack", "--lora", "2")])
def test_a_model_of_transformers_tells_its_sources_too(
    tmp_path: Path, gemma: Path, chat: Path, more: tuple[str, ...]
) -> None:
    pytest.importorskip("transformers")
    rows = [json.loads(line) for line in chat.read_text().splitlines()]
    file, run = tmp_path / "chat.jsonl", tmp_path / "run"
    named = [{**row, "from": ("web", "books")[place % 2]} for place, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in named))
    flags = ["--max-seq-len", "200", "--rows", "2", "--steps", "2", "--accumulate", "2", "--precision", "float32"]
    data = ["--data", str(file), "--source-key", "from", "--prompt", "hello"]
    assert main(["train", "--init", str(gemma), *data, "--out", str(run), *flags, *more]) == 0
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [step for step in steps if "loss" in step]
    assert len(steps) == 2
    for step in steps:
        assert set(step["sources"]) <= {"web", "books"}
        tokens = sum(count for _, count in step["sources"].values())
        total = sum(nll * count for nll, count in step["sources"].values())
        assert total / tokens == pytest.approx(step["loss"], rel=1e-6)
