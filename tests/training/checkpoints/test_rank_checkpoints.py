"""Checkpoints that many ranks write beside training: whole or not there, and exact to go on from."""

import errno
import hashlib
import json
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tests.ranks.launched import on_ranks
from tests.training.checkpoints.sharded_runs import Case, Training, differing

from lmhead.errors import InputError
from lmhead.ranks.ranks import ALONE
from lmhead.training.checkpoints import rank_checkpoints
from lmhead.training.run.checkpoints import Use
from lmhead.training.run.run_folder import RunFolder

DROPPING = Case("dropping", dropout=0.2)


def exact(ranks, folder: Path) -> dict[str, object]:
    """Saves at step 3 while training goes on, and goes on from there once more."""
    training = Training(DROPPING, ranks, folder)
    torch.manual_seed(50 + ranks.rank)
    training.train(3)
    training.save()
    begun = training.checkpoints.step

    polled = []

    def poll() -> None:
        """As the loop does: what all ranks sum each step says when all have written."""
        written = training.checkpoints.written()
        polled.append(ranks.summed([float(written)])[0])
        if polled[-1] == ranks.size:
            polled.append(str(training.checkpoints.publish(keep=9)))

    training.train(6, each=poll)
    training.checkpoints.wait(keep=9)
    whole = training.whole()

    again = Training(DROPPING, ranks, folder)
    again.restore(3)
    state = torch.get_rng_state()
    again.train(6)
    wrong = differing(whole, again.whole())

    training.save()  # of step 6, and before it is published the one of step 7
    training.train(7)
    training.save()
    there = training.run.steps()
    training.checkpoints.wait(keep=9)
    return {
        "begun": begun,
        "wrong": wrong,
        "there": there,
        "random": hashlib.sha256(state.numpy().tobytes()).hexdigest(),
        "nothing left": training.checkpoints.wait(keep=9) is None and training.checkpoints.step is None,
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("saved")
    return folder, on_ranks(2, exact, folder)


def test_ranks_go_on_bit_for_bit_from_what_was_saved_beside_training(saved) -> None:
    folder, ranks = saved
    for rank in ranks:
        assert rank["begun"] == 3
        assert rank["wrong"] == []
        assert rank["there"] == [3, 6]  # a second save waits for the first
        assert rank["nothing left"]
    assert ranks[0]["random"] != ranks[1]["random"]
    assert RunFolder(folder).steps() == [3, 6, 7]


def test_other_numbers_of_ranks_draw_anew_and_always_the_same(saved, tmp_path: Path) -> None:
    folder, _ = saved
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        training = Training(DROPPING, ALONE, folder)
        training.restore(3)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    training.restore(6)
    assert not torch.equal(torch.get_rng_state(), states[0])


def test_every_file_is_summed_as_sha256sum_sums_it(saved) -> None:
    folder = saved[0] / "checkpoints" / "step-6"
    names = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()[:-1]}
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == files - {"SHA256SUMS"}
    ranks = {".metadata", "state.json", *(f"{kind}" for kind in ("__0_0.distcp", "__1_0.distcp"))}
    ranks |= {f"random-{rank}-of-2.safetensors" for rank in range(2)}
    assert {name for name in names if "/" in name} == {f"ranks/{name}" for name in ranks}
    assert json.loads((folder / "ranks" / "state.json").read_text())["step"] == 6
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("harm", ["truncated", "missing", "flipped"])
@pytest.mark.parametrize("name", ["__1_0.distcp", ".metadata", "random-1-of-2.safetensors"])
def test_a_broken_file_of_a_rank_is_named_with_the_checkpoint_before(
    saved, tmp_path: Path, name: str, harm: str
) -> None:
    folder = Path(shutil.copytree(saved[0], tmp_path / "run"))
    file = folder / "checkpoints" / "step-7" / "ranks" / name
    data = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data if harm == "flipped" else data[:-9])
    run = RunFolder(folder)
    with pytest.raises(InputError) as caught:
        run.checkpoint_for_use(use="resume")
    assert f"step-7 is damaged: ranks/{name} " in str(caught.value)
    assert (
        f"the newest good checkpoint is that of step 6: go on from it with lmhead train --resume {folder} --step 6"
        in str(caught.value)
    )
    uses: list[Use] = ["sample", "init"]
    assert [run.checkpoint_for_use(use=use).name for use in uses] == ["step-7"] * 2


def test_a_checkpoint_without_sums_is_damaged_and_told_how_it_is_summed_anew(saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved[0], tmp_path / "run"))
    checkpoint = folder / "checkpoints" / "step-7"
    (checkpoint / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="SHA256SUMS is missing") as caught:
        RunFolder(folder).checkpoint_for_use(7, use="resume")
    command = str(caught.value).partition("you trust it: ")[2].partition(")")[0]
    subprocess.run(command, shell=True, check=True)
    assert RunFolder(folder).checkpoint_for_use(7, use="resume") == checkpoint
    (checkpoint / "ranks" / "__1_0.distcp").write_bytes(b"")
    with pytest.raises(InputError, match=r"ranks/__1_0\.distcp is empty"):
        RunFolder(folder).checkpoint_for_use(7, use="resume")


def failing(ranks, folder: Path) -> list[str]:
    """What all ranks are told where one cannot write, in each way; between them, what is saved."""
    told = []

    def save(step: int) -> None:
        training.train(step)
        try:
            training.saved()
            told.append(f"saved {step}")
        except InputError as error:
            told.append(str(error))
        left = [path.name for path in training.run.checkpoints.iterdir() if path.name.startswith(".")]
        told.extend(left if ranks.everyone(None) else [])

    training = Training(Case("failing"), ranks, folder)
    save(1)
    if ranks.rank == 1:  # whatever is larger is refused by the system
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))
    save(2)
    if ranks.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    save(3)
    for rank, name in ((1, "write_random_state"), (0, "sums_of")):
        real = getattr(rank_checkpoints, name)

        def full(*given: object, **named: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        if ranks.rank == rank:
            setattr(rank_checkpoints, name, full)
        save(training.progress.step + 1)
        setattr(rank_checkpoints, name, real)
    if ranks.first:
        (folder / "checkpoints").rename(folder / "elsewhere")
        (folder / "checkpoints").write_text("a file")
    training.train(6)
    with pytest.raises(InputError) as caught:
        training.saved()
    told.append(str(caught.value))
    return told


def test_a_full_disk_on_one_rank_is_one_line_on_all_and_the_older_checkpoints_stay(tmp_path: Path) -> None:
    one, other = on_ranks(2, failing, tmp_path)
    assert one == other
    assert one[0] == "saved 1"
    last = "; the last good checkpoint is"
    at = tmp_path / "checkpoints"
    assert one[1].startswith(f"cannot save {at}/step-2: rank 1: File too large: files are limited in size here")
    assert f"{last} {at}/step-1; after that: lmhead train --resume {tmp_path}" in one[1]
    assert one[2] == "saved 3"
    assert one[3].startswith(
        f"cannot save {at}/step-4: rank 1: No space left on device: free some space{last} {at}/step-3"
    )
    assert one[4].startswith(
        f"cannot save {at}/step-5: rank 0: No space left on device: free some space{last} {at}/step-3"
    )
    assert one[5].startswith(f"cannot save {at}/step-6: File exists")
    assert len(one) == 6  # no draft is left in between


def refused(ranks, folder: Path) -> list[str]:
    """What all ranks are told of checkpoints that are not of this model."""
    told = []
    for case in (Case("tied", tied=True), Case("frozen", frozen=True)):
        training = Training(case, ranks, folder)
        try:
            training.restore(6)
        except InputError as error:
            told.append(str(error))
    (folder / "checkpoints" / "step-3" / "ranks" / f"random-{ranks.rank}-of-2.safetensors").write_bytes(b"1" * 99)
    ranks.everyone(None)
    with pytest.raises(InputError) as caught:
        Training(DROPPING, ranks, folder).restore(3)
    return [*told, str(caught.value)]


def test_what_is_of_another_model_or_cannot_be_read_is_refused_on_all_ranks(saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved[0], tmp_path / "run"))
    one, other = on_ranks(2, refused, folder)
    assert one == other
    where = f"cannot resume from {folder}/checkpoints/step-"
    assert one[0].startswith(f"{where}6: other parameters are trained: lm_head.weight is in one of the two alone")
    assert one[1].startswith(f"{where}6: other parameters are trained: model.layers.0.")
    assert one[-1].startswith(f"{where}3: ")
    assert len(one) == 3
