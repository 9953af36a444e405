"""A model of transformers on several ranks: all of it, adapters, modules behind it; losses are those of one process."""

from pathlib import Path

import pytest
from tests.ranks.launched import on_ranks
from tests.training.chat_runs import write_chat
from tests.training.rank_runs import trained, trained_alone
from tests.training.tiny_pretrained import write_gemma2

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import TrainFlags, train_config
from lmhead.training.config.train_config import TrainConfig

pytest.importorskip("transformers")
pytest.importorskip("peft")

FLAGS = [
    *("--device", "cpu", "--precision", "float32", "--rows", "3", "--accumulate", "2", "--max-seq-len", "200"),
    *("--steps", "2", "--eval-every", "2", "--sample-every", "100", "--prompt", "What?"),
]
RUNS = {
    "all of it, and a module": ["--mtp", "1", "--mtp-isolated", "--average"],
    "a module beside what is frozen": ["--mtp", "1", "--mtp-frozen"],
    "adapters, and heads": ["--lora", "2", "--mtp", "2", "--mtp-kind", "parallel", "--gradient-checkpointing"],
}


def config(folder: Path, name: str, size: int) -> TrainConfig:
    words = [*("--init", str(folder / "init"), "--data", str(folder / "chat.jsonl")), *FLAGS, *RUNS[name]]
    flags = given(TrainFlags, [*words, "--out", str(folder / f"{size} {name}")], command="train", about="")
    return train_config(flags).resolved()


def all_runs(ranks, folder: Path) -> list[list[dict]]:
    return [trained(ranks, config(folder, name, ranks.size)) for name in RUNS]


def figures(log: list[dict]) -> dict[str, float]:
    """Every loss and norm of it, of each depth too."""
    kept = ("loss", "norm", "nll")
    return {
        f"{number} {name}": value
        for number, record in enumerate(log)
        for name, value in record.items()
        if name.endswith(kept) or name.startswith("mtp_loss")
    }


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of PEFT
def test_a_model_of_transformers_trains_as_on_one_process(tmp_path: Path) -> None:
    write_gemma2(tmp_path / "init")
    write_chat(tmp_path / "chat.jsonl", 12)
    many = on_ranks(2, all_runs, tmp_path)[0]
    for name, log in zip(RUNS, many, strict=True):
        one = figures(trained_alone(config(tmp_path, name, 1)))
        assert len(one) >= 9
        assert figures(log) == pytest.approx(one, rel=2e-6), name
