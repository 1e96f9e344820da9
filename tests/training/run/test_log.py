"""The log of a run: whole lines, in order."""

import os
from pathlib import Path

import pytest

from medseg.core.errors import MedsegError
from medseg.training.run.log import Log, read_log


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log._stream = open("/dev/full", "w")  # noqa: SIM115 - closed by the log
    with pytest.raises(MedsegError, match=r"log\.jsonl could not be written: No space left on device"):
        log.add("train", 1, loss=0.5)
    log.close()
