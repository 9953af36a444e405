"""StatisticsCallback: what is logged of training is of its tokens, and nothing waits for it."""

import json
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

import lmhead
from lmhead import EvaluationMixin, PaddedCollator, StatisticsCallback, shift_labels, trainer_dataset

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install 'lmhead[test]'")
pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import arguments, examples, llama  # noqa: E402
from transformers import Trainer, TrainerCallback  # noqa: E402

from lmhead.record.record import kind_of, read_record  # noqa: E402
from lmhead.training.run.log import RunLog  # noqa: E402


def run(folder, callback, *others, trainer=Trainer, resume=None, **options):
    model = llama()
    lmhead.patch(model)
    made = trainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=trainer_dataset(examples()),
        eval_dataset=trainer_dataset(examples(5)),
        data_collator=PaddedCollator(),
        callbacks=[*others, callback],
    )
    made.train(resume_from_checkpoint=resume)
    return made


def records(folder):
    """But for the header."""
    return [record for record in RunLog(folder / "log.jsonl").records() if "record" not in record]


class Looking(TrainerCallback):
    """What stock logits say of every micro-batch, by the weights that it was read with."""

    def __init__(self):
        self.sums = []
        self.window = torch.zeros(4, dtype=torch.float64)

    def look(self, model, args, labels, **inputs):
        stock = llama()
        stock.load_state_dict(model.state_dict())
        with torch.no_grad():
            logits = stock(**inputs).logits.double()
        targets = shift_labels(labels)
        logits, targets = logits[targets != -100], targets[targets != -100]
        logp = logits.log_softmax(-1)
        nll, entropy = F.cross_entropy(logits, targets, reduction="sum"), -(logp.exp() * logp).sum()
        hits = (logits.argmax(-1) == targets).sum()
        self.window += torch.stack([nll, entropy, hits.double(), torch.tensor(len(targets)).double()])


def test_arguments_that_are_no_json_are_told_as_text(tmp_path):
    run(tmp_path, StatisticsCallback(), max_steps=1, liger_kernel_config={"where": tmp_path, (1, 2): 3})
    config = read_record(tmp_path / "log.jsonl").header["config"]
    assert config["liger_kernel_config"] == {"where": str(tmp_path)}


def test_records_are_those_of_every_steps_tokens(tmp_path, monkeypatch):
    looking = Looking()
    step = Trainer.training_step

    def watched(trainer, model, inputs, *args):
        looking.look(model, trainer.args, **inputs)
        if trainer.accelerator.sync_gradients:
            looking.sums.append(looking.window)
            looking.window = torch.zeros(4, dtype=torch.float64)
        return step(trainer, model, inputs, *args)

    monkeypatch.setattr(Trainer, "training_step", watched)
    run(tmp_path, StatisticsCallback(), logging_steps=3)
    found = records(tmp_path)
    assert [record["step"] for record in found] == [1, 2, 3, 4]
    total = 0
    for record, (nll, entropy, hits, count) in zip(found, looking.sums, strict=True):
        total += int(count)
        exact = {"loss": nll / count, "entropy": entropy / count, "accuracy": hits / count, "tokens": total}
        assert {name: record[name] for name in exact} == pytest.approx({k: float(v) for k, v in exact.items()}, 1e-5)
    assert [record["rate"] for record in found] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert ["grad_norm" in record for record in found] == [False, False, True, False]


def test_trainers_logs_are_over_the_tokens_since_the_last(tmp_path):
    made = run(tmp_path, StatisticsCallback(), logging_steps=2)
    logs = [logs for logs in made.state.log_history if "loss" in logs]
    found = records(tmp_path)
    counts = [found[0]["tokens"], *(b["tokens"] - a["tokens"] for a, b in pairwise(found))]
    for place, one in enumerate(logs):
        both = slice(2 * place, 2 * place + 2)
        for name, of in (("nll", "loss"), ("accuracy", "accuracy"), ("entropy", "entropy")):
            sums = sum(record[of] * count for record, count in zip(found[both], counts[both], strict=True))
            assert one[name] == pytest.approx(sums / sum(counts[both]), rel=1e-6)
        assert one["tokens"] == found[2 * place + 1]["tokens"]
    assert "nll" not in made.state.log_history[-1]  # the summary of the run


def test_nothing_is_read_from_the_device_within_a_window(tmp_path, monkeypatch):
    callback = StatisticsCallback()
    reads = []
    monkeypatch.setattr(type(callback), "_read", lambda self, **_: reads.append(len(self._steps)))
    run(tmp_path, callback, logging_steps=2)
    assert reads == [2, 4, 4]  # steps that wait: at two logs and at the end
    assert all(sums.shape == (4,) for *_, sums in callback._steps)


@pytest.mark.parametrize("trainer", [Trainer, type("Evaluating", (EvaluationMixin, Trainer), {})])
def test_reporters_are_told_where_the_mixin_is(tmp_path, trainer):
    class Reporter(TrainerCallback):
        told = False

        def on_log(self, args, state, control, logs=None, **_):
            self.told |= "nll" in logs

    reporter = Reporter()  # before the callback, as all reporters are
    run(tmp_path, StatisticsCallback(), reporter, trainer=trainer, max_steps=1)
    assert reporter.told == issubclass(trainer, EvaluationMixin)


def test_a_resumed_run_goes_on_in_its_log(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 2, "save_only_model": False}
    run(tmp_path, StatisticsCallback(), **saved)
    whole = records(tmp_path)
    run(tmp_path, StatisticsCallback(), resume=str(tmp_path / "checkpoint-2"), **saved)
    again = records(tmp_path)
    timeless = [{name: value for name, value in record.items() if name != "seconds"} for record in again]
    assert len(again) >= 3  # older versions end a resumed epoch before its last window
    for one, other in zip(timeless, whole, strict=False):
        assert one == pytest.approx({name: other[name] for name in one}, rel=1e-6)
    assert sorted(record["seconds"] for record in again) == [record["seconds"] for record in again]


def test_the_log_begins_with_one_header_that_tells_the_run(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 2, "save_only_model": False, "hub_token": "hf_secret"}
    run(tmp_path, StatisticsCallback(), **saved)
    run(tmp_path, StatisticsCallback(), resume=str(tmp_path / "checkpoint-2"), **saved)
    read = read_record(tmp_path / "log.jsonl")
    assert [kind_of(record) for record in RunLog(tmp_path / "log.jsonl").records()].count("header") == 1
    assert RunLog(tmp_path / "log.jsonl").records()[0] == read.header
    assert (read.header["record"], read.header["step"]) == (1, 0)
    assert read.header["config"]["learning_rate"] == arguments(tmp_path).learning_rate
    assert read.header["model"]["parameters"] == sum(parameter.numel() for parameter in llama().parameters())
    assert read.header["environment"]["versions"]["transformers"] == transformers.__version__
    whole = (tmp_path / "log.jsonl").read_text()
    assert "hf_secret" not in whole
    assert str(tmp_path) not in whole


def test_an_older_log_is_set_aside(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 9}\n')
    run(tmp_path, StatisticsCallback(), max_steps=1)
    assert [record["step"] for record in records(tmp_path)] == [1]
    assert json.loads((tmp_path / "log.jsonl-2").read_text()) == {"step": 9}


def test_the_log_may_be_elsewhere(tmp_path):
    run(tmp_path / "out", StatisticsCallback(tmp_path / "runs" / "a"), max_steps=1)
    assert len(records(tmp_path / "runs" / "a")) == 1


def test_it_is_a_callback_of_transformers():
    callback = StatisticsCallback()
    assert isinstance(callback, TrainerCallback)
    assert isinstance(callback, StatisticsCallback)
