"""Meshes of four ranks with cp and tp in them, against one process; run by `make nightly`."""

from pathlib import Path

import pytest
from tests.ranks.launched import on_ranks
from tests.ranks.test_context_parallel import everything as of_parts
from tests.ranks.test_tensor_parallel import everything
from tests.training.rank_runs import words
from tests.training.test_split_rows_and_vocabulary import one_and_many

from lmhead.training.config.multi_token_config import MultiTokenConfig


@pytest.mark.parametrize("mesh", ["tp=4", "dp=2,tp=2", "shard=2,cp=2,tp=2"])
def test_losses_gradients_and_statistics_are_one_process_own(mesh: str) -> None:
    size = 8 if mesh.count("=") == 3 else 4
    for errors in on_ranks(size, everything, mesh=mesh):
        assert max(errors) < 1e-12


def test_four_ranks_share_the_tokens_of_rows() -> None:
    for errors in on_ranks(4, of_parts, mesh="cp=4"):
        assert max(errors["next_tokens"], errors["further_tokens"]) < 1e-12


@pytest.mark.parametrize("mesh", ["shard=2,tp=2", "cp=2,tp=2", "dp=2,cp=2", "dp=2,tp=2"])
@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_runs_are_one_process_own(tmp_path: Path, mesh: str, kind: str) -> None:
    file = tmp_path / "text.txt"
    file.write_text(words(200))
    mtp = MultiTokenConfig(depth=2, kind=kind)  # type: ignore[arg-type]
    one_and_many(file, tmp_path, 4, mesh, mtp=mtp, steps=6, tied=kind == "sequential")
