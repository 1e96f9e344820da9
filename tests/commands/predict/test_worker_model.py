"""A worker that stays answers each command with the model, the selection and the device that this command names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.commands.predict.on_cluster import (
    Loading,
    OnCluster,
    _load,
    answer_case,
    describe_worker,
    how_computed_there,
)
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import load_predictors, predict_with
from medseg.confidence.calibration import BeforeAndAfter, Calibration
from medseg.core.errors import ModelError
from medseg.core.progress import Progress
from medseg.delivery.answers.answer import Forms
from medseg.delivery.answers.options import Maps
from medseg.engines.engine import ThisProcess
from medseg.io.images import read_image
from medseg.io.layouts.scans import find_scans
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection

NO_CHANGE = BeforeAndAfter(before=0.1, after=0.1)


@pytest.fixture
def runs(small_model: Path, tmp_path: Path) -> Path:
    """The runs of a plan, without a selection."""
    shutil.copytree(small_model.parent, tmp_path / "runs" / "toy")
    return tmp_path / "runs" / "toy"


def select_temperature(runs: Path, temperature: float) -> None:
    """Write a selection that does nothing but divide logits."""
    calibration = Calibration(
        temperatures=[temperature],
        cases=3,
        voxels=9,
        nll=NO_CHANGE,
        ece={},
        ece_all=NO_CHANGE,
        diagram_before=[],
        diagram_after=[],
    )
    member = Member(configuration="main", folds=["0", "1"])
    selection = Selection(plan="toy", medseg="0", made="2026-01-01T00:00:00", members=[member], calibration=calibration)
    write_selection(selection, selection_path(runs))


def loading(runs: Path, options: PredictOptions) -> Loading:
    """What a command sends to its workers."""
    [here] = load_predictors(runs, ".", options)
    return Loading(runs, ".", options, how_computed_there(here))


def test_each_command_gets_the_temperatures_of_its_own_selection(
    runs: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    options = PredictOptions(device="cpu", maps=Maps(probabilities=True))
    select_temperature(runs, 4.0)
    [case], _ = find_scans(write_scans(tmp_path / "scans", 1), ("image",))

    def largest(name: str, options: PredictOptions) -> float:
        sent = loading(runs, options)
        output = tmp_path / name
        output.mkdir()
        answered = answer_case((case, Forms(options.maps)), sent, describe_worker(sent), output)
        assert answered.outcome.problem is None, answered.outcome
        maps = sorted((output / "probabilities").rglob("*.nii.gz"))
        return max(float(np.max(read_image(path).array)) for path in maps)

    plain = largest("plain", replace(options, selection=False))
    divided = largest("divided", options)
    assert divided < plain - 0.01  # a temperature above 1 draws probabilities together
    assert largest("plain again", replace(options, selection=False)) == plain
    select_temperature(runs, 100.0)
    assert largest("selected again", options) < divided - 0.01


def test_notes_on_a_scan_do_not_come_back_with_a_later_one(
    runs: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    options, note = PredictOptions(device="cpu"), "1 GB of memory are free: 1 instead of 2 tiles go through at once."
    sent = loading(runs, options)
    cases, _ = find_scans(write_scans(tmp_path / "scans", 2), ("image",))
    predictor = _load(sent)[0]

    def notes(number: int) -> tuple[str, ...]:
        return answer_case((cases[number], Forms()), sent, describe_worker(sent), tmp_path / "out").notes

    (tmp_path / "out").mkdir()
    predictor.notes.append(note)
    assert note in notes(0)
    assert note not in notes(1)
    # and where this process answers one folder after another, as `watch` does
    predictor.notes.append(note)
    result = predict_with([predictor], tmp_path / "scans", tmp_path / "next", options)
    assert note not in result.notes
    assert note not in (tmp_path / "next" / "manifest.json").read_text()


def test_a_warning_comes_as_soon_as_a_worker_has_answered(
    runs: Path, write_scans: Callable[[Path, int], Path], save_nifti: Callable[..., Path], tmp_path: Path
) -> None:
    array = read_image(write_scans(tmp_path / "scans", 2) / "scan000_0000.nii.gz").array[0]
    save_nifti(tmp_path / "scans" / "a_mask_0000.nii.gz", (array > 110).astype("uint8"))
    options = PredictOptions(device="cpu")
    [here] = load_predictors(runs, ".", options)
    elsewhere, events = OnCluster.of(ThisProcess(1), runs, ".", options, here), list[Progress]()
    predict_with([here], tmp_path / "scans", tmp_path / "out", options, events.append, elsewhere=elsewhere)
    (event,) = [event for event in events if "warning" in event.info]
    assert (event.stage, event.done, event.total, event.info["case"]) == ("predict", 1, 3, "a_mask")
    assert "looks like a label map" in event.info["warning"]


def test_a_worker_with_another_selection_is_refused(runs: Path) -> None:
    options = PredictOptions(device="cpu")
    select_temperature(runs, 2.0)
    sent = loading(runs, options)
    select_temperature(runs, 3.0)  # such as on a machine whose files are older
    with pytest.raises(ModelError, match=r"would answer otherwise than the others: selection \(SHA-256\): "):
        describe_worker(sent)
    select_temperature(runs, 2.0)
    assert describe_worker(sent) == sent.computed  # nothing of what was refused is kept


def test_the_key_of_a_loaded_model_names_selection_and_device(runs: Path) -> None:
    options = PredictOptions(device="cpu")
    plain = loading(runs, options)
    select_temperature(runs, 2.0)
    selected = loading(runs, options)
    elsewhere = replace(selected, options=replace(options, device="cuda"))
    assert len({plain.key, selected.key, elsewhere.key}) == 3
    assert plain.computed["selection (SHA-256)"] == ""
