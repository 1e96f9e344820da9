"""Checkpoints: whole or not at all, behind the training, and read without running code."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.core.errors import MedsegError, ModelError
from medseg.training.run.checkpoint import Checkpoints, load_checkpoint, on_host, save_checkpoint


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {"step": 7, "network": {"w": torch.randn(3, 2)}, "average": None, "optimizer": {"groups": [{"lr": 0.1}]}}
    save_checkpoint(tmp_path / "runs" / "checkpoint.pt", state)
    back = load_checkpoint(tmp_path / "runs" / "checkpoint.pt")
    torch.testing.assert_close(back.pop("network")["w"], state.pop("network")["w"], rtol=0, atol=0)  # type: ignore[index]
    assert back == state
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["checkpoint.pt"]


class Trap:
    """An object that would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 1, "network": Trap(tmp_path / "sprung")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match=r"The checkpoint .*checkpoint\.pt cannot be read"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_or_missing_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt cannot be read.*\nDelete it and train again"):
        load_checkpoint(path)


def test_numbers_are_read_without_the_tensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", {"step": 7, "network": {"w": torch.zeros(3)}})
    assert load_checkpoint(tmp_path / "checkpoint.pt", peek=True)["step"] == 7


def test_a_copy_does_not_change_with_its_original() -> None:
    weight = torch.zeros(2)
    copy = on_host({"network": {"w": weight}, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}], "random": None})
    weight += 1
    assert copy == {
        "network": {"w": copy["network"]["w"]},
        "groups": [{"lr": 0.1, "betas": [0.9, 0.99]}],
        "random": None,
    }
    assert copy["network"]["w"].tolist() == [0, 0]


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, confirm = threading.Event(), os.fsync

    def held(file: int) -> None:
        gate.wait(10)
        confirm(file)

    monkeypatch.setattr(os, "fsync", held)
    checkpoints, weight = Checkpoints(tmp_path / "checkpoint.pt"), torch.zeros(2)
    assert checkpoints.due(-1)
    checkpoints.write({"step": 1, "w": weight})
    weight += 1  # a step, while the first checkpoint lies half written
    assert not checkpoints.due(-1)
    assert not checkpoints.path.exists()
    gate.set()
    checkpoints.write({"step": 2, "w": weight})  # waits for the first
    assert load_checkpoint(checkpoints.path)["step"] in (1, 2)
    checkpoints.wait()
    assert load_checkpoint(checkpoints.path)["w"].tolist() == [1, 1]
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_first_checkpoint_comes_sooner(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoint.pt")
    checkpoints._start_time -= 20
    assert checkpoints.due(60)
    checkpoints.write({"step": 1})
    checkpoints.wait()
    checkpoints._start_time -= 20
    assert not checkpoints.due(60)
    checkpoints.close()


def test_an_error_of_the_thread_surfaces(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    checkpoints = Checkpoints(tmp_path / "file" / "checkpoint.pt")
    checkpoints.write({"step": 1})
    with pytest.raises(MedsegError, match=r"checkpoint\.pt could not be written"):
        checkpoints.wait()
    checkpoints.write({"step": 2})
    with pytest.raises(MedsegError, match="could not be written"):
        checkpoints.write({"step": 3})
    checkpoints.close()
