"""Each hint about a cascade is followed as it was printed: with what it says, both stages are trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sets import run, write_data

import medseg
from medseg.core.errors import Stopped
from medseg.core.progress import Progress
from medseg.plans.file import load_plan
from medseg.training.length import budget

pytestmark = pytest.mark.slow

_SMALL = {"patch_voxels": "[16,16,16]", "batch_size": "2", "network.features": "[4,8,8]"}
_TINY = " ".join(
    f"--set configurations.{name}.{key}={value}"
    for name in ("3d_lowres", "3d_fullres")
    for key, value in _SMALL.items()
)
_TRAIN = "train --plan toy --steps 1"
_FOLDS = [
    {"train": ["case_0", "case_1", "case_4"], "val": ["case_2", "case_3"]},
    {"train": ["case_2", "case_3"], "val": ["case_0", "case_1", "case_4"]},
]
LOW, LATER = Path("runs/toy/3d_lowres"), Path("runs/toy/3d_cascade_fullres")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a planned cascade of two folds, of which fold 0 is trained."""
    folder = tmp_path_factory.mktemp("cascade")
    write_data(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(f"plan data --name toy --cascade --preset cpu --set training.validation_cases=1 {_TINY}") == 0
        (folder / "plans" / "toy.splits.json").write_text(json.dumps(_FOLDS))
        assert run(_TRAIN) == 0
    return folder


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained workspace, which is the working folder."""
    shutil.copytree(trained, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def hint_of(capsys: pytest.CaptureFixture[str]) -> Callable[[str, str], re.Match[str]]:
    """Run a command that is refused, and return the part of its output that is followed."""

    def refused(line: str, pattern: str) -> re.Match[str]:
        capsys.readouterr()
        assert run(line) == 2
        output = " ".join("".join(capsys.readouterr()).split())
        match = re.search(pattern, output)
        assert match, output
        return match

    return refused


def test_a_plan_without_the_first_stage_is_planned_as_a_cascade(
    workspace: Path, hint_of: Callable[[str, str], re.Match[str]]
) -> None:
    assert run("plan data --name single --preset cpu") == 0
    line = "train --plan single --steps 1 --set configurations.3d_fullres.previous_stage=3d_lowres"
    options = hint_of(line, r"`(--cascade --force)`")[1]
    assert run(f"plan data --name single {options} --preset cpu {_TINY}") == 0
    cascade = load_plan(workspace / "plans" / "single.yaml")  # training one is what the workspace was made by
    stage = cascade.configuration(cascade.default_configuration).previous_stage
    assert stage in cascade.configurations


def test_a_first_stage_of_another_plan_is_moved_away(
    workspace: Path, hint_of: Callable[[str, str], re.Match[str]]
) -> None:
    line = f"{_TRAIN} --fold 1 --set configurations.3d_lowres.spacing_mm=[2,2,2]"
    folder = hint_of(line, r"Move (\S+) away to have it trained again")[1]
    shutil.move(folder, workspace / "away")
    assert run(line) == 0


def test_a_first_stage_that_is_gone_is_put_back_or_trained_again(
    workspace: Path, hint_of: Callable[[str, str], re.Match[str]]
) -> None:
    shutil.move(LOW / "fold_1", "away")
    pattern = r"Put them back, or move (\S+) away and train again without --resume or --extend"
    folder = hint_of("train --plan toy --extend 1", pattern)[1]
    shutil.move(folder, "later")
    assert run(_TRAIN) == 0
    shutil.rmtree(LOW / "fold_1")
    shutil.move("away", LOW / "fold_1")
    assert run("train --plan toy --extend 1") == 0


def test_a_budget_that_is_too_short_gives_way_to_steps(
    workspace: Path, hint_of: Callable[[str, str], re.Match[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree("runs")
    monkeypatch.setattr(budget, "measured_step_seconds", lambda *_: 0.1)  # the least is twenty steps
    hint_of(
        "train --plan toy --budget 2s", "Give a longer budget, or --steps in its place: the previous stage has 2 folds"
    )
    assert run(_TRAIN) == 0


def test_a_command_that_is_stopped_in_the_first_stage_goes_on(workspace: Path) -> None:
    shutil.rmtree("runs")

    def stop(event: Progress) -> None:
        if event.stage == "train" and "loss" in event.info:
            raise KeyboardInterrupt

    with pytest.raises(Stopped) as stopped:
        medseg.train("toy", ".", medseg.TrainOptions(steps=20, device="cpu"), stop)
    command = re.search(r"`medseg (train .*? --resume)` continues it", str(stopped.value))
    assert command, stopped.value
    assert run(command[1]) == 0
    assert json.loads((LATER / "fold_0" / "run.json").read_text())["finished"]


def test_a_cascade_is_packaged_where_it_is_not_exported(
    workspace: Path, tmp_path: Path, hint_of: Callable[[str, str], re.Match[str]]
) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    pattern = r"Export a model of (3d_lowres) alone, or use `(medseg package)`"
    hint = hint_of(f"export {LATER} {tmp_path / 'a.onnx'}", pattern)
    assert run(f"export {LOW.parent / hint[1]} {tmp_path / 'a.onnx'}") == 0
    assert run(f"{hint[2].removeprefix('medseg ')} {LATER} {tmp_path / 'a.medseg'}") == 0
