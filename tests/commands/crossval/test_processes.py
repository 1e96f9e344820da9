"""A fold that several processes train together is that of one process; what goes wrong in them is said."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import HELPERS, ROOT
from rank_problem import SecondFails
from safetensors.torch import load_file
from torch.distributed import TCPStore
from toy_workspace import toy_plan, write_toy_workspace

from medseg.commands.crossval import processes
from medseg.commands.crossval.crossval import crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.crossval.processes import _Workers, several_processes
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core.errors import Cancelled, DataError, MedsegError, PlanError
from medseg.core.progress import Progress
from medseg.plans.file import save_plan

pytestmark = pytest.mark.slow  # another process takes seconds to import torch

WEIGHTS = Path("runs") / "toy" / "main" / "fold_0" / "weights.safetensors"


def write_workspace(folder: Path) -> Path:
    write_toy_workspace(folder)
    save_plan(toy_plan(optimizer="sgd"), folder / "plans" / "toy.yaml")  # AdamW blows up rounding of gradients near 0
    return folder


def options_for(processes: int, *overrides: str) -> CrossvalOptions:
    return CrossvalOptions(
        processes=processes,
        training=TrainOptions(device="cpu", steps=6, overrides=["inference.backend=torch", *overrides]),
    )


def test_two_processes_that_are_stopped_and_go_on_train_what_one_trains(tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if event.stage == "train" and event.done > 2:
            raise Cancelled

    alone, together = (write_workspace(tmp_path / name) for name in ("alone", "together"))
    assert not crossval(None, alone, options_for(1)).failed
    with pytest.raises(Cancelled):
        crossval(None, together, options_for(2), stop)
    assert "RANK" not in os.environ
    assert (together / WEIGHTS).with_name("run.json").exists()
    assert not (together / WEIGHTS).exists()
    seen: list[Progress] = []
    assert not crossval(None, together, options_for(2), seen.append).failed
    assert any(event.stage == "train" and event.done == 6 for event in seen)
    weights = load_file(together / WEIGHTS)
    for name, value in load_file(alone / WEIGHTS).items():
        assert value.allclose(weights[name], rtol=1e-3, atol=1e-4), name


def test_more_processes_than_samples_are_refused_in_the_name_of_the_fold(tmp_path: Path) -> None:
    options = options_for(2, "configurations.main.batch_size=1")
    with pytest.raises(DataError, match="main, fold 0: The batch has 1 sample and there are 2 processes") as caught:
        crossval(None, write_workspace(tmp_path), options)
    assert "--processes 1" in str(caught.value)
    assert "RANK" not in os.environ


def test_a_process_that_ends_before_it_joins_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch on this machine')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    workspace = write_workspace(tmp_path / "workspace")
    with (
        pytest.raises(MedsegError, match="no torch on this machine"),
        several_processes(2, workspace / "plans" / "toy.yaml", workspace, TrainOptions()),
    ):
        raise AssertionError("it is not begun")


def test_too_few_devices_are_refused_before_a_process_is_started(tmp_path: Path) -> None:
    with (
        pytest.raises(PlanError, match="This is process 99 of this machine, which has"),
        several_processes(99, tmp_path, tmp_path, TrainOptions(device="cuda")),
    ):
        raise AssertionError("it is not begun")


@pytest.mark.parametrize(
    ("end", "reason"),
    [("refuses", "--device cuda:7 was given to several processes"), ("is killed", "Process 2 of 2 .* by SIGKILL")],
)
def test_a_process_that_ends_before_the_group_is_formed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, reason: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HELPERS), str(ROOT)]))
    workspace = write_workspace(tmp_path)
    plan, options = workspace / "plans" / "toy.yaml", SecondFails(device="cpu", steps=2, init=end)
    with (
        pytest.raises(MedsegError, match=reason),
        several_processes(2, plan, workspace, options),
    ):
        train(plan, workspace, options)
    assert "RANK" not in os.environ
    assert not torch.distributed.is_initialized()


def test_a_process_that_is_killed_amid_the_training_is_said_and_the_fold_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, really_start = [], processes._start

    def start_and_note(*args: Any) -> subprocess.Popen[bytes]:
        started.append(really_start(*args))
        return started[-1]

    def kill(event: Progress) -> None:
        if event.stage == "train" and event.done > 2:
            started[0].kill()

    monkeypatch.setattr(processes, "_start", start_and_note)

    workspace = write_workspace(tmp_path)
    with pytest.raises(DataError, match="main, fold 0: Process 2 of 2 that train together was ended by SIGKILL"):
        crossval(None, workspace, replace(options_for(2), folds=("0",)), kill)
    assert (workspace / WEIGHTS).with_name("run.json").exists()
    assert not (workspace / WEIGHTS).exists()
    assert not crossval(None, workspace, replace(options_for(1), folds=("0",))).failed


def start(workers: _Workers, *scripts: str) -> None:
    """Start a shell for each script in the place of another process."""
    for script in scripts:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the record
        workers.stderr_files.append(said)
        workers.started.append(subprocess.Popen(["sh", "-c", script], stderr=said))


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        (("echo a warning >&2", "echo a warning >&2; echo medseg error: no memory >&2; exit 2"), "no memory"),
        (("sleep 1; echo a warning >&2; exit 2", "echo ImportError >&2; exit 1"), "ImportError"),
        (("echo a warning >&2; exit 3", "sleep 1; echo ImportError >&2; exit 1"), "ImportError"),
        (("echo a warning >&2", "kill -9 $$"), "Process 3 of 3 that train together was ended by SIGKILL"),
        (("echo a warning >&2", "exit 0"), "without saying why"),
    ],
)
def test_the_reason_is_that_of_the_process_that_failed_first(scripts: tuple[str, ...], reason: str) -> None:
    workers = _Workers()
    start(workers, *scripts)
    problem = workers.problem()
    assert reason in problem
    assert "warning" not in problem


def test_a_wait_for_what_a_process_was_to_write_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LEAVE_SECONDS", 0.0)
    workers = _Workers(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
    client = TCPStore("127.0.0.1", workers.store.port, is_master=False, wait_for_workers=False)
    start(workers, "exit 3")
    with workers.watched(), pytest.raises(RuntimeError, match="Connection"):
        client.wait(["never"], timedelta(minutes=5))


def test_a_wait_on_a_gpu_for_a_process_that_has_ended_ends_this_one() -> None:
    script = """
        import subprocess, tempfile, time
        from medseg.commands.crossval import processes

        processes._LEAVE_SECONDS = processes._BLOCKED_SECONDS = 0.0
        said = tempfile.TemporaryFile()
        failing = subprocess.Popen(["sh", "-c", "echo medseg error: no memory >&2; exit 2"], stderr=said)
        with processes._Workers(None, [failing], [said], on_gpu=lambda: True).watched():
            time.sleep(300)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ended.stderr.strip() == "no memory"
