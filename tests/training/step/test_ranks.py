"""Two processes on one machine train as one does with the same batch; one writes, and one says what went wrong."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rank_problem
import torch
from paths import HELPERS, ROOT
from rank_problem import CURVES, curve, fitted

from medseg.core.errors import Cancelled, PlanError
from medseg.core.progress import Progress
from medseg.training.run.log import read_log
from medseg.training.step.ranks import ALONE, Ranks, joined, lost_another, own_device, rank_from_environment


def free_port() -> int:
    with socket.socket() as record:
        record.bind(("127.0.0.1", 0))
        return int(record.getsockname()[1])


def interrupted(folder: Path) -> None:
    """A run of one process that was stopped in the middle."""

    def stop(event: Progress) -> None:
        if event.done == 10:
            raise Cancelled

    folder.mkdir()
    with pytest.raises(Cancelled):
        fitted(folder, ALONE, callback=stop)


class Outcome:
    """What two processes found and said."""

    def __init__(self, folder: Path) -> None:
        interrupted(folder / "run")
        environment = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        environment |= {
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)]),
        }
        command = [sys.executable, rank_problem.__file__, str(folder)]
        started = [
            subprocess.Popen(
                command,
                env={**os.environ, **environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        self.said = [process.communicate()[1] for process in started]
        self.codes = [process.returncode for process in started]
        assert (folder / "0.pt").exists(), self.said
        self.found: list[dict[str, Any]] = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
        self.folder = folder


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_same_loss_curve_as_one_process_with_the_whole_batch(outcome: Outcome, name: str) -> None:
    losses, weights = curve(name, ALONE)
    for found in outcome.found:
        torch.testing.assert_close(found[name][0], losses, rtol=1e-5, atol=1e-5)
        for key, value in found[name][1].items():
            if name != "muon" or value.ndim > 1:  # AdamW blows up the rounding in biases before a normalization
                torch.testing.assert_close(value, weights[key], rtol=1e-3, atol=1e-4)
    assert losses[0] != losses[-1]


@pytest.mark.slow
def test_every_process_ends_with_the_same_weights(outcome: Outcome) -> None:
    for key in CURVES:
        first, second = (found[key] for found in outcome.found)
        assert first[0] == second[0]
        assert all(torch.equal(value, second[1][name]) for name, value in first[1].items())


@pytest.mark.slow
def test_resumed_by_two_processes_and_written_by_one(outcome: Outcome, tmp_path: Path) -> None:
    undisturbed = fitted(tmp_path, ALONE)
    for found in outcome.found:
        for name, value in found["resumed"].items():
            torch.testing.assert_close(value, undisturbed[name], rtol=1e-3, atol=1e-4)
    mine, theirs = read_log(tmp_path / "log.jsonl"), read_log(outcome.folder / "run" / "log.jsonl")
    assert [(record["kind"], record["step"]) for record in theirs] == [
        (record["kind"], record["step"]) for record in mine
    ]
    for record, other in zip(mine, theirs, strict=True):
        if record["kind"] == "train":
            assert other["loss"] == pytest.approx(record["loss"], abs=1e-5)
        else:
            assert other["dice"] == {"one": 0.0, "two": None}


@pytest.mark.slow
def test_all_get_what_the_first_one_made(outcome: Outcome) -> None:
    assert [found["shared"] for found in outcome.found] == [{"rank": 0, "none": None}] * 2


@pytest.mark.slow
def test_all_wait_for_days_for_the_first_one_which_preprocesses(outcome: Outcome) -> None:
    assert [found["wait"] for found in outcome.found] == [7 * 24 * 3600.0] * 2


@pytest.mark.slow
def test_the_process_that_failed_says_why_and_the_others_end_silently(outcome: Outcome) -> None:
    assert "one process failed" in outcome.said[1]
    assert "Traceback" not in outcome.said[0]
    assert outcome.codes == [2, 1], outcome.said


def test_a_process_that_was_killed_is_told_from_an_error_of_ones_own() -> None:
    told = lost_another(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711"))
    assert told is not None
    assert "--resume" in str(told)
    assert lost_another(RuntimeError("a size does not fit")) is None
    assert lost_another(PlanError("Connection closed by peer")) is None


def test_a_batch_is_split_evenly_and_without_gaps() -> None:
    assert [Ranks(rank, 4).numbers(9) for rank in range(4)] == [range(0, 2), range(2, 4), range(4, 6), range(6, 9)]
    assert ALONE.numbers(2) == range(2)
    with pytest.raises(PlanError, match="batch has 2 samples and there are 3 processes") as caught:
        Ranks(0, 3).numbers(2)
    assert "--nproc-per-node 2" in str(caught.value)


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as (ranks, device):
        assert (ranks, device, ranks.first) == (ALONE, "cpu", True)
    assert not torch.distributed.is_initialized()
    sums = torch.ones(3, requires_grad=True)
    assert ALONE.total(sums) is sums
    ALONE.wait()
    monkeypatch.setenv("RANK", "3")
    assert rank_from_environment() == 0  # torchrun sets both
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert rank_from_environment() == 3


def test_several_processes_do_not_share_a_device() -> None:
    assert own_device("cpu", 1) == "cpu"
    with pytest.raises(PlanError, match="--device cuda:1 was given to several processes"):
        own_device("cuda:1", 0)
    with pytest.raises(PlanError, match="This is process 100 of this machine, which has"):
        own_device("cuda", 99)
