"""Logs of a run for TensorBoard and MLflow: the run's own figures and pictures, each once, after resumes and kills too.

tests/cli/test_no_network.py trains with both while every way to a network is blocked.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as pillow

from medseg.commands.train.logs import RunLogs, logs_of_run
from medseg.commands.train.options import TrainOptions
from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.core.options import parse_list
from medseg.delivery.logs.table import LOGS, check_logs
from medseg.models.run_files import FoldFolder

Figures = dict[str, list[tuple[int, float]]]


def training(step: int, loss: float) -> dict[str, Any]:
    return {"kind": "train", "step": step, "loss": loss, "learning_rate": 0.01, "seconds": step / 10}


def validation(step: int, dice: float) -> dict[str, Any]:
    scores = {"liver": dice, "lung (left)": None}
    return {"kind": "validation", "step": step, "loss": 1.5, "dice": scores, "iou": {"liver": dice / (2 - dice)}}


FIRST = [training(10, 0.75), validation(10, 0.5), training(20, 0.5)]
EXPECTED: Figures = {
    "loss/train": [(10, 0.75), (20, 0.5)],
    "learning_rate": [(10, 0.01), (20, 0.01)],
    "loss/validation": [(10, 1.5)],
    "dice/liver": [(10, 0.5)],
    "dice/mean of structures": [(10, 0.5)],
    "iou/liver": [(10, 1 / 3)],
    "iou/mean of structures": [(10, 1 / 3)],
}


@pytest.fixture
def files(tmp_path: Path) -> FoldFolder:
    folder = tmp_path / "mühe 100%" / "runs" / "toy" / "main" / "fold_0"
    (folder / "pictures").mkdir(parents=True)
    return FoldFolder(folder)


def session(
    files: FoldFolder,
    names: Sequence[str],
    done: int,
    earlier: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    picture: int | None = None,
    finished: bool = False,
) -> list[str]:
    """Log a session of a run; returns what was told."""
    told: list[str] = []
    logs = RunLogs(files, names, told.append)
    logs.begin(done, earlier)
    for record in records:
        logs.add(record)
    if picture is not None:
        stream = io.BytesIO()
        pillow.new("RGB", (8, 6), (picture, 0, 0)).save(stream, "PNG")
        files.picture(picture).write_bytes(stream.getvalue())
        logs.add_picture(picture, stream.getvalue())
    logs.end(finished)
    return told


def read_tensorboard(files: FoldFolder) -> tuple[Figures, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(files.log_folder("tensorboard")), {"scalars": 0, "images": 0}).Reload()
    tags = events.Tags()
    figures = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags["scalars"]}
    pictures = [event.step for tag in tags["images"] for event in events.Images(tag)]
    return figures, pictures


def mlflow_run(files: FoldFolder) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=files.log_folder("mlflow").as_uri())
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return client, run


def read_mlflow(files: FoldFolder) -> tuple[Figures, list[int]]:
    client, run = mlflow_run(files)
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    figures = {name: [(metric.step, metric.value) for metric in metrics] for name, metrics in history.items()}
    images = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    return figures, sorted(int(re.split("[+%]", path)[2]) for path in images)  # % before mlflow 2.17


READ = {"tensorboard": read_tensorboard, "mlflow": read_mlflow}


def same(figures: Figures, expected: Figures) -> bool:
    close = {name: [(step, pytest.approx(value)) for step, value in values] for name, values in expected.items()}
    return close == figures


@pytest.mark.parametrize("name", LOGS)
def test_a_run_is_logged_once_over_its_sessions_and_after_a_kill(name: str, files: FoldFolder) -> None:
    pytest.importorskip(name)
    assert session(files, [name], 0, [], FIRST, picture=10) == []
    assert same(READ[name](files)[0], EXPECTED)
    assert READ[name](files)[1] == [10]

    session(files, [name], 20, FIRST, [training(30, 0.25)], finished=True)  # stopped, and resumed at its last step
    more = {**EXPECTED, "loss/train": [*EXPECTED["loss/train"], (30, 0.25)]}
    more["learning_rate"] = [(10, 0.01), (20, 0.01), (30, 0.01)]
    assert same(READ[name](files)[0], more)
    assert READ[name](files)[1] == [10]

    session(files, [name], 10, FIRST[:2], [training(20, 8.0)])  # killed: steps 11 to 30 are made again
    assert same(READ[name](files)[0], {**EXPECTED, "loss/train": [(10, 0.75), (20, 8.0)]})
    assert READ[name](files)[1] == [10]


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_is_asked_for_later_has_the_sessions_before(name: str, files: FoldFolder) -> None:
    pytest.importorskip(name)
    session(files, [], 0, [], FIRST, picture=10)
    session(files, [name], 20, FIRST, [])
    assert same(READ[name](files)[0], EXPECTED)
    assert READ[name](files)[1] == [10]


def test_a_run_that_goes_on_is_the_same_run_in_mlflow(files: FoldFolder) -> None:
    pytest.importorskip("mlflow")
    session(files, ["mlflow"], 0, [], FIRST)
    first = mlflow_run(files)[1].info
    session(files, ["mlflow"], 20, FIRST, [training(30, 0.25)], finished=True)
    second = mlflow_run(files)[1].info
    assert first.run_id == second.run_id
    assert (first.run_name, first.status, second.status) == ("toy/main/fold_0", "KILLED", "FINISHED")


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_cannot_be_written_does_not_end_the_training(name: str, files: FoldFolder) -> None:
    pytest.importorskip(name)
    files.log_folder(name).write_text("in the way")
    (told,) = session(files, [name], 0, [], FIRST)
    assert str(files.log_folder(name)) in told
    assert "training goes on" in told


def test_a_run_goes_on_with_the_logs_that_it_has(files: FoldFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    files.log_folder("tensorboard").mkdir()
    assert logs_of_run(files, [], continues=True) == (["tensorboard"], [])
    assert logs_of_run(files, [], continues=False) == ([], [])
    monkeypatch.setitem(LOGS, "tensorboard", replace(LOGS["tensorboard"], package="no_such_package"))
    names, (note,) = logs_of_run(files, [], continues=True)
    assert names == []
    assert pip_install("tensorboard") in note


def test_a_new_run_leaves_no_log_of_one_that_was_given_up(files: FoldFolder) -> None:
    pytest.importorskip("tensorboard")
    session(files, ["tensorboard"], 0, [], FIRST)
    session(files, [], 0, [], FIRST)
    assert not files.log_folder("tensorboard").exists()


def test_unknown_and_missing_logs_are_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match=r"'tensorbord'; known are tensorboard, mlflow\. Did you mean tensorboard\?"):
        TrainOptions(log=parse_list("tensorbord")).check()
    with pytest.raises(PlanError, match="known are tensorboard, mlflow"):
        TrainOptions(log=parse_list("")).check()
    monkeypatch.setitem(LOGS, "mlflow", replace(LOGS["mlflow"], package="no_such_package"))
    with pytest.raises(PlanError, match=re.escape(f"not installed.\n{pip_install('mlflow')}")):
        check_logs(["mlflow"])
