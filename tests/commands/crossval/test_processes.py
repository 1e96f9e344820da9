"""A fold that several processes train together is that of one process; what goes wrong in them is said."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from safetensors.torch import load_file
from toy_workspace import toy_plan, write_toy_workspace

from medseg.commands.crossval.crossval import crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.crossval.processes import _Others, several_processes
from medseg.commands.train.options import TrainOptions
from medseg.core.errors import Cancelled, DataError, MedsegError
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
    with (
        pytest.raises(MedsegError, match="no torch on this machine"),
        several_processes(2, tmp_path, tmp_path, TrainOptions()),
    ):
        raise AssertionError("it is not begun")


def test_the_process_that_failed_is_heard_and_not_one_that_warned_before(tmp_path: Path) -> None:
    said = [
        ("print('a warning', file=sys.stderr)", "a warning"),
        ("print('a warning of one that had to end', file=sys.stderr); sys.exit(3)", "a warning"),
        ("print('the disk is full', file=sys.stderr); sys.exit(1)", "the disk is full"),
    ]
    for count, (_, expected) in enumerate(said, start=1):
        others = _Others()
        with ExitStack() as stack:
            for code, _ in said[:count]:
                others.said.append(stack.enter_context(tempfile.TemporaryFile()))
                command = [sys.executable, "-c", f"import sys; {code}"]
                others.started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=others.said[-1]))
            assert others.problem() == expected
