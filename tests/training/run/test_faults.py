"""Memory, disk, batches and validations that fail: the run ends with what it has, or goes on."""

import inspect
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.small_runs import (
    blob_samples,
    new_network,
    no_validation,
    plan_of,
    run,
    setup_of,
)
from learning.weights import assert_same_weights

from medseg.core.errors import MedsegError
from medseg.core.progress import Progress, silent
from medseg.models.run_files import CHECKPOINT
from medseg.training.data.batches import Batch, Batches
from medseg.training.data.sample_placement import PlacedSamples
from medseg.training.run import fit as fit_module
from medseg.training.run.checkpoint import load_checkpoint
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log


def test_memory_that_runs_out_names_the_keys_to_lower(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    folder = tmp_path / "main" / "fold_0"
    network = new_network(plan)

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    network.register_forward_hook(fail)
    with pytest.raises(MedsegError, match=r"not enough memory: CUDA out of memory") as caught:
        fit(network, samples, setup_of(plan, folder, 5), no_validation, silent)
    hint = caught.value.hint or ""
    assert "configurations.main.batch_size (now 2)" in hint
    assert "configurations.main.patch_voxels (now [32, 32])" in hint
    assert "configurations.main.network.features (now [8, 16, 32, 64])" in hint
    assert "--memory" in hint


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event: Progress) -> None:
        if event.done == 10:  # files may grow to half a checkpoint, as on a disk that fills up while one is written
            while not (tmp_path / CHECKPOINT).exists():  # the thread that writes the first one has its own pace
                time.sleep(0.01)
            size = (tmp_path / CHECKPOINT).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))

    try:
        with pytest.raises(
            MedsegError, match=r"checkpoint\.pt could not be written: only a part of the file was written"
        ) as caught:
            run(plan, samples, tmp_path, 40, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "Free some space" in str(caught.value)
    assert 0 < load_checkpoint(tmp_path / CHECKPOINT)["step"] <= 12
    assert [path.name for path in sorted(tmp_path.iterdir())] == [CHECKPOINT, "log.jsonl"]
    assert_same_weights(run(plan, samples, tmp_path, 40, resume=True), run(plan, samples, tmp_path / "undisturbed", 40))


def test_a_batch_that_cannot_be_made_ends_the_run_and_keeps_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    made = Batches.make

    def make(self: Batches, step: int, *others: Any) -> Batch:
        if step == 13:
            raise FileNotFoundError(2, "No such file or directory", "cache/toy/case.safetensors")
        return made(self, step, *others)

    monkeypatch.setattr(Batches, "make", make)
    with pytest.raises(MedsegError, match=r"A batch could not be made: FileNotFoundError.*case\.safetensors"):
        run(plan, samples, tmp_path, 20)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 13
    monkeypatch.undo()
    assert_same_weights(run(plan, samples, tmp_path, 20, resume=True), run(plan, samples, tmp_path / "undisturbed", 20))


def test_an_error_of_the_validation_is_not_swallowed_and_keeps_the_log(tmp_path: Path) -> None:
    def validate(network: torch.nn.Module) -> dict[str, float | None]:
        raise ZeroDivisionError

    plan = plan_of(2, validations=2)
    with pytest.raises(ZeroDivisionError):
        fit(new_network(plan), blob_samples((2, 32, 32)), setup_of(plan, tmp_path, 20), validate, silent)
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [10]


def in_a_batch() -> bool:
    """Whether a batch is being made further up, and not the list of what there is to draw from."""
    return any(frame.function == "make" for frame in inspect.stack(0))


class ShortSamples(PlacedSamples):
    """Cases on a device that is full once some have been read."""

    reads = 0

    def __getitem__(self, index: Any) -> Any:
        self.reads += isinstance(index, int) and in_a_batch()
        if self.reads > 9 and self.note is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().__getitem__(index)


@pytest.mark.parametrize("where", ["step", "batch"])
def test_cases_leave_the_gpu_when_memory_runs_out_and_the_run_goes_on(tmp_path: Path, where: str) -> None:
    """With the same weights in the end; here both places are the host's memory."""
    plan, network, events = plan_of(2), new_network(plan_of(2)), []
    make = ShortSamples if where == "batch" else PlacedSamples
    placed = make(blob_samples((2, 32, 32)), blob_samples((2, 32, 32)))
    passes = 0

    def full(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 3 and placed.note is None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    if where == "step":
        network.register_forward_hook(full)
    best = fit(network, placed, setup_of(plan, tmp_path / "short", 6), no_validation, events.append)
    assert_same_weights(run(plan, blob_samples((2, 32, 32)), tmp_path / "enough", 6), dict(best.state_dict()))
    notes = [str(event.info["note"]) for event in events if "note" in event.info]
    assert notes[-1].endswith("training cases are now read from the cache (CUDA out of memory)")
