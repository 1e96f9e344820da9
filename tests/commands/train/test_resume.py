"""Runs that are killed, interrupted, changed and trained further: nothing is lost, and nothing is hidden."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from learning.toy_runs import FOLD, go, interrupted, stop_at, weights
from learning.weights import assert_same_weights
from paths import HELPERS
from toy_workspace import toy_plan

from medseg.cli.app import main
from medseg.commands.train.train import Extension
from medseg.core.errors import Cancelled, DataError, MedsegError, ModelError, PlanError
from medseg.core.files import write_json
from medseg.core.progress import Progress
from medseg.models.workspace import cases_path, splits_path
from medseg.plans.file import load_plan, save_plan
from medseg.training.run.checkpoint import load_checkpoint
from medseg.training.run.log import read_log


class Killable:
    """`killable.py` and its answers."""

    def __init__(self) -> None:
        script = HELPERS / "killable.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, workspace: Path, how: str, moment: str = "") -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{workspace}\t{how}\t{moment}\n")
        self.process.stdin.flush()
        number = int(self._line())
        assert int(self._line()) == 0, "training should begin"
        return number

    def ended(self) -> int:
        """The exit code of the last one, when it has ended; -9 if it was killed."""
        return int(self._line())

    def _line(self) -> str:
        stream: IO[str] | None = self.process.stdout
        assert stream is not None
        return stream.readline()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def killable() -> Iterator[Killable]:
    one = Killable()
    yield one
    one.close()


@pytest.fixture(scope="module")
def undisturbed(base: Path, killable: Killable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `STEPS` steps."""
    workspace = tmp_path_factory.mktemp("undisturbed") / "workspace"
    shutil.copytree(base, workspace)
    killable.start(workspace, "begin")
    assert killable.ended() == 0
    return workspace


def assert_as_undisturbed(workspace: Path, undisturbed: Path) -> None:
    assert_same_weights(weights(undisturbed), weights(workspace))
    checkpoint, expected = (load_checkpoint(folder / FOLD / "checkpoint.pt") for folder in (workspace, undisturbed))
    for part in ("network", "average"):
        assert_same_weights(expected[part], checkpoint[part])
    logs = [
        [(record["kind"], record["step"]) for record in read_log(folder / FOLD / "log.jsonl")]
        for folder in (workspace, undisturbed)
    ]
    assert logs[0] == logs[1]
    seconds = [record["seconds"] for record in read_log(workspace / FOLD / "log.jsonl")]
    assert seconds == sorted(seconds)
    there, expected = (sorted(path.name for path in (one / FOLD).iterdir()) for one in (workspace, undisturbed))
    assert there == expected
    assert json.loads((workspace / FOLD / "run.json").read_text())["finished"]


@pytest.mark.slow
def test_a_run_that_is_killed_eight_times_ends_with_the_same_weights(
    workspace: Path, killable: Killable, undisturbed: Path
) -> None:
    """Four times at any moment, and four times while it writes a checkpoint, of which a half is left."""
    times = [record["seconds"] for record in read_log(undisturbed / FOLD / "log.jsonl")]
    longest = (times[-1] - times[0]) / 6
    rng = random.Random(6)

    def next_command() -> str:
        return "resume" if (workspace / FOLD / "run.json").exists() else "begin"

    for number in range(8):
        writing = number % 2 == 1
        process = killable.start(workspace, next_command(), "third checkpoint" if writing else "")
        if not writing:
            timer = threading.Timer(rng.uniform(0, longest), os.kill, (process, signal.SIGKILL))
            timer.start()
        code = killable.ended()
        timer.cancel()
        assert code in (0, -9)
        assert code == 0 or not writing or any((workspace / FOLD).glob(".*")), "a half is there"
        if code == 0:  # the machine was faster than before; there is more to kill in another run
            assert_as_undisturbed(workspace, undisturbed)
            shutil.rmtree(workspace / "runs")
    killable.start(workspace, next_command())
    assert killable.ended() == 0
    assert_as_undisturbed(workspace, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["checkpoint", "before weights", "weights", "validation", "report"])
def test_a_run_that_is_killed_at_a_bad_moment_does_the_rest(
    workspace: Path, killable: Killable, undisturbed: Path, moment: str
) -> None:
    killable.start(workspace, "begin", moment)
    assert killable.ended() == -9
    before = (workspace / FOLD / "log.jsonl").read_text().splitlines()
    killable.start(workspace, "resume")
    assert killable.ended() == 0
    assert_as_undisturbed(workspace, undisturbed)
    if moment != "checkpoint":
        assert (workspace / FOLD / "log.jsonl").read_text().splitlines() == before, "it was trained again"


@pytest.mark.slow
@pytest.mark.usefixtures("undisturbed")  # the first request is done without forking, and could not be killed
def test_two_commands_do_not_train_one_fold_at_once(workspace: Path, killable: Killable) -> None:
    process = killable.start(workspace, "begin")
    words = rf"The run in .*fold_0 is in use by another process \(process {process}\)"
    for options in ({"steps": 5}, {"resume": True}):
        with pytest.raises(MedsegError, match=words):
            go(workspace, **options)
    os.kill(process, signal.SIGKILL)
    assert killable.ended() == -9

    def stop(event: Progress) -> None:
        if event.stage == "train":
            raise Cancelled

    with pytest.raises(Cancelled):
        go(workspace, stop, resume=True)
    assert not list((workspace / FOLD).parent.glob(".*"))


def test_a_finished_run_has_nothing_left_to_do(workspace: Path) -> None:
    go(workspace, steps=5)
    before = {path: path.stat().st_mtime_ns for path in (workspace / FOLD).rglob("*")}
    result = go(workspace, resume=True)
    assert not result.trained
    assert "nothing is left to do: the run of 5 steps is finished" in result.notes[-1]
    assert before == {path: path.stat().st_mtime_ns for path in (workspace / FOLD).rglob("*")}
    with pytest.raises(PlanError, match="is finished: --set has nothing left to change"):
        go(workspace, resume=True, overrides=["training.learning_rate=0.1"])
    (workspace / FOLD / "checkpoint.pt").unlink()  # as someone may who has no use for it any more
    assert not go(workspace, resume=True).trained


def command_line(monkeypatch: pytest.MonkeyPatch, workspace: Path, *words: str) -> int:
    """Exit code of `medseg train`."""
    monkeypatch.setattr(sys, "argv", ["medseg", "train", "--workspace", str(workspace), "--device", "cpu", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_the_command_line_says_what_is_left_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(monkeypatch, workspace, "--steps", "5") == 0
    assert "repeat exactly with: medseg train --plan toy" in capsys.readouterr().out
    assert command_line(monkeypatch, workspace, "--resume") == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert command_line(monkeypatch, workspace, "--resume", "--steps", "9") == 2
    assert "--resume and --steps were given" in capsys.readouterr().err
    assert command_line(monkeypatch, workspace, "--extend", "soon") == 2
    assert "2x (twice as many steps in total)" in capsys.readouterr().err
    assert command_line(monkeypatch, workspace, "--extend", "2x") == 0
    assert "10 steps in" in capsys.readouterr().out
    (workspace / FOLD / "checkpoint.pt").unlink()
    assert command_line(monkeypatch, workspace, "--extend", "20") == 2
    assert "no checkpoint.pt to go on from" in capsys.readouterr().err


def test_requests_that_contradict_each_other_or_the_run_are_named(workspace: Path) -> None:
    for options, words in (
        ({"resume": True, "steps": 3}, "--resume and --steps were given"),
        ({"resume": True, "extend": Extension(factor=2)}, "--resume and --extend were given"),
        ({"budget_seconds": 9.0, "steps": 3}, "--steps and --budget were given"),
        ({"extend": Extension(factor=1)}, "--extend 1x leaves nothing to train"),
        ({"extend": Extension(factor=0.5)}, "--extend 0.5x leaves nothing to train"),
        ({"extend": Extension(steps=0)}, "--extend 0 leaves nothing to train"),
        ({"extend": Extension(seconds=0.0)}, "--extend 0s leaves nothing to train"),
    ):
        with pytest.raises(PlanError, match=words):
            go(workspace, **options)
    with pytest.raises(ModelError, match=r"There is no run in .*fold_0 to go on with"):
        go(workspace, resume=True)
    interrupted(workspace, 10, steps=20)
    with pytest.raises(ModelError, match="holds a run that was interrupted"):
        go(workspace, steps=20)
    with pytest.raises(ModelError, match="is not finished"):
        go(workspace, extend=Extension(factor=2))
    go(workspace, resume=True)
    with pytest.raises(ModelError, match="holds a trained model already"):
        go(workspace, steps=20)
    (workspace / FOLD / "manifest.json").rename(workspace / "manifest.json")  # as if killed while it was scored
    with pytest.raises(ModelError, match="holds a run that was interrupted"):
        go(workspace, steps=20)
    (workspace / "manifest.json").rename(workspace / FOLD / "manifest.json")
    stages: list[str] = []
    with pytest.raises(PlanError, match=r"--extend 1\.02x of a run of 20 steps leaves nothing to train"):
        go(workspace, lambda event: stages.append(event.stage), extend=Extension(factor=1.02))
    assert stages == []  # nothing was preprocessed


def test_a_changed_plan_is_told_and_the_runs_own_counts(workspace: Path) -> None:
    interrupted(workspace, 10, steps=20)
    plan = toy_plan(learning_rate=0.5)
    save_plan(plan, workspace / "plans" / "toy.yaml")
    result = go(workspace, resume=True)
    assert [note for note in result.notes if "toy.yaml has changed since the run began" in note] == [
        f"{workspace / 'plans' / 'toy.yaml'} has changed since the run began, which keeps its own plan: "
        "training.learning_rate is 0.01 in the run, 0.5 there"
    ]
    assert load_plan(workspace / FOLD / "plan.yaml").training.learning_rate == 0.01


def test_a_setting_changes_from_the_checkpoint_on_and_is_recorded(workspace: Path) -> None:
    interrupted(workspace, 10, steps=20)
    result = go(workspace, resume=True, overrides=["training.learning_rate=0.002", "inference.mirror=true"])
    assert result.record.as_json()["changes"] == [
        {"step": 10, "key": "training.learning_rate", "old": 0.01, "new": 0.002},
        {"step": 10, "key": "inference.mirror", "old": False, "new": True},
    ]
    assert result.record.as_json()["repeat_with"] is None
    rates = [
        record["learning_rate"] for record in read_log(workspace / FOLD / "log.jsonl") if record["kind"] == "train"
    ]
    assert rates == pytest.approx([0.01 * (1 - 9 / 20) ** 0.9, 0.002 * (1 - 19 / 20) ** 0.9])
    assert load_plan(workspace / FOLD / "plan.yaml").training.learning_rate == 0.002


def test_what_a_run_cannot_take_is_refused_with_old_and_new(workspace: Path) -> None:
    interrupted(workspace, 10, steps=20)
    settings = [
        "configurations.main.network.features=[8, 16]",
        "training.optimizer=sgd",
        "labels.structures={one: 1}",
        "training.average_weights=0",
        "training.weight_decay=0.1",
    ]
    with pytest.raises(PlanError) as caught:
        go(workspace, resume=True, overrides=settings)
    assert caught.value.message.splitlines() == [
        "A run that has started cannot change:",
        "  labels.structures.two: 2 -> None (weights and preprocessed cases are made for it)",
        "  training.optimizer: adamw -> sgd (its state does not fit another one)",
        "  training.average_weights: 0.9 -> 0.0 (the run has averaged its weights from its start, or not at all)",
        "  configurations.main.network.features: [4, 8] -> [8, 16] (the weights do not fit another network)",
    ]


def test_a_run_keeps_its_cases_whatever_becomes_of_the_folds(workspace: Path) -> None:
    interrupted(workspace, 10, steps=20)
    write_json(splits_path(workspace / "plans" / "toy.yaml"), [{"train": ["3", "1", "2"], "val": ["0"]}])
    result = go(workspace, resume=True)
    assert result.summary is not None
    assert [case.case for case in result.summary.cases] == ["3"]
    shutil.rmtree(workspace / FOLD)
    interrupted(workspace, 10, steps=20)
    table = cases_path(workspace / "plans" / "toy.yaml")
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("2,")) + "\n")
    with pytest.raises(DataError, match=r"Cases that the run began with are no longer in the data set \(1\): 2\."):
        go(workspace, resume=True)


@pytest.mark.slow
def test_a_vanished_cache_is_made_anew(workspace: Path) -> None:
    def vanish(event: Progress) -> None:
        if event.stage == "train" and event.done == 10:
            shutil.rmtree(workspace / "cache", ignore_errors=True)
            stop_at(10)(event)

    with pytest.raises(Cancelled):
        go(workspace, vanish, steps=20)
    go(workspace, resume=True)
    first = weights(workspace)
    shutil.rmtree(workspace / "runs")
    go(workspace, steps=20)
    assert_same_weights(first, weights(workspace))
