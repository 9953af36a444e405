"""`lmhead estimate --nproc` of a model that transformers loads: what is known of it, and what is refused."""

import pytest
from tests.training.tiny_pretrained import write_gemma2

from lmhead.cli.flags.train_config import train_config
from lmhead.cli.main import main
from lmhead.cli.plans.planned_run import planned_run


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return write_gemma2(tmp_path_factory.mktemp("gemma") / "gemma")


def test_its_weights_are_shared_as_the_decoders_are(gemma):
    alone, shared = (
        planned_run(train_config({"init": str(gemma), "nproc": nproc, "precision": "float32"}), hardware=None)
        for nproc in (1, 4)
    )
    parameters = alone.memory.end.weights / 4
    assert alone.memory.lasting == 16 * parameters
    assert shared.memory.lasting == pytest.approx(alone.memory.lasting / 4, rel=0.01)
    assert sum(group.count for group in shared.groups) == 1 + 2  # the root, two layers
    body = 4 * sum(group.parameters for group in shared.groups if not group.root)
    sent = {each.name: each.sent for each in shared.traffic}
    assert shared.accumulate == 4
    assert sent["weights of the blocks, forward"] == pytest.approx(4 * body * 3 / 4, rel=0.01)


def test_adapters_alone_have_gradients_and_states(gemma):
    pytest.importorskip("peft")
    config = train_config({"init": str(gemma), "nproc": 2, "lora.rank": 4, "precision": "bfloat16"})
    plan = planned_run(config, hardware="h100")
    trained = config.model.trained
    assert plan.memory.end.optimizer == pytest.approx(8 * trained / 2, rel=0.01)
    assert plan.memory.end.weights == pytest.approx((2 * config.model.parameters + 4 * trained) / 2, rel=0.01)
    assert plan.fits


def test_activations_are_unknown(gemma, capsys):
    assert main(["estimate", "--init", str(gemma), "--nproc", "2", "--hardware", "h100"]) == 0
    out = capsys.readouterr().out
    assert "activations of a micro-batch" in out
    assert "unknown" in out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--mesh", "cp=2"), "--mesh must come with a model whose attention is known, got cp=2"),
        (("--lora", "4", "--quantize", "4bit"), "--quantize must be left out where several ranks train, got 4bit"),
    ],
)
def test_what_its_ranks_cannot_do_is_one_line(gemma, capsys, flags, says):
    if "--lora" in flags:
        pytest.importorskip("peft")
    assert main(["estimate", "--init", str(gemma), "--nproc", "2", *flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
