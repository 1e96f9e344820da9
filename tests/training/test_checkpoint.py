"""Checkpoints and logs: whole or not at all, and read without running code."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import ModelError
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.log import Log, read_log

CPU = torch.device("cpu")


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {"step": 7, "network": {"w": torch.randn(3, 2)}, "average": None, "optimizer": {"groups": [{"lr": 0.1}]}}
    save_checkpoint(tmp_path / "runs" / "checkpoint.pt", state)
    back = load_checkpoint(tmp_path / "runs" / "checkpoint.pt", CPU)
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
        load_checkpoint(tmp_path / "checkpoint.pt", CPU)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_or_missing_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt cannot be read.*\nDelete it and train again"):
        load_checkpoint(path, CPU)


def test_records_are_lines_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path / "fold_0" / "log.jsonl")
    log.add("train", 10, loss=0.5)
    log.add("validation", 10, dice={"a": None})
    assert len(read_log(tmp_path / "fold_0" / "log.jsonl")) == 2  # before it is closed: a kill loses none
    log.close()
    assert read_log(tmp_path / "fold_0" / "log.jsonl") == [
        {"kind": "train", "step": 10, "loss": 0.5},
        {"kind": "validation", "step": 10, "dice": {"a": None}},
    ]


def test_a_new_run_starts_a_new_log_and_a_resumed_one_keeps_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for keep, steps, expected in ((None, (10, 20, 30), [10, 20, 30]), (20, (25,), [10, 20, 25]), (None, (5,), [5])):
        log = Log(path, keep_to_step=keep)
        for step in steps:
            log.add("train", step)
        log.close()
        assert [record["step"] for record in read_log(path)] == expected


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "train", "step": 10}\n{"kind": "train", "st')
    assert read_log(path) == [{"kind": "train", "step": 10}]
    Log(path, keep_to_step=10).close()
    assert path.read_text() == '{"kind": "train", "step": 10}\n'


def test_there_may_be_no_log(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.jsonl") == []
