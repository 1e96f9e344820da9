"""Scans unlike those of training: refused one by one or named, in every record; and the ways out work."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.core.errors import DataError, ScanWarning
from medseg.core.progress import Progress
from medseg.inference.predictor import Predictor
from medseg.models.run_files import PLAN
from medseg.plans.file import load_plan, save_plan
from medseg.plans.sections.data import ChannelRange, ScanRange

CHANNEL = ChannelRange(quantiles=[[50.0] * 5, [150.0] * 5], spread=[50.0, 80.0], fewest_values=500, most_equal=0.0)
RANGES = ScanRange(spacing=[[1.0, 1.0, 1.0], [1.5, 1.5, 1.5]], size=[[10.0] * 3, [30.0] * 3], channels=[CHANNEL])


@pytest.fixture
def model(tmp_path: Path, small_model: Path) -> Path:
    """The small model, with what it knows of its training scans."""
    import shutil

    folder = tmp_path / "model" / "toy" / "main"
    shutil.copytree(small_model, folder)
    for path in folder.glob(f"*/{PLAN}"):
        plan = load_plan(path)
        plan.data.scans = RANGES
        save_plan(plan, path)
    return folder


@pytest.fixture
def scans(tmp_path: Path, write_scans: Callable[[Path, int], Path], save_nifti: Callable[..., Path]) -> Path:
    """A good scan, one with thick slices, and three that cannot be answered."""
    folder = write_scans(tmp_path / "scans", 1)
    array = np.asarray(nib.load(folder / "scan000_0000.nii.gz").dataobj)
    save_nifti(folder / "thick_0000.nii.gz", array[:, :, :6], np.diag([1.0, 1.0, 4.0, 1.0]))
    save_nifti(folder / "metres_0000.nii.gz", array, np.diag([0.001, 0.001, 0.0015, 1.0]))
    save_nifti(folder / "blank_0000.nii.gz", np.zeros_like(array), np.diag([1.0, 1.0, 1.5, 1.0]))
    save_nifti(folder / "mask_0000.nii.gz", (array > 110).astype(np.uint8), np.diag([1.0, 1.0, 1.5, 1.0]))
    return folder


def run(scans: Path, out: Path, model: Path, **options: object) -> PredictResult:
    return predict(scans, out, model, options=PredictOptions(**{"device": "cpu", "folds": ["0"], **options}))  # type: ignore[arg-type]


def test_what_cannot_be_answered_is_refused_and_the_rest_goes_on(tmp_path: Path, model: Path, scans: Path) -> None:
    out = tmp_path / "out"
    result = run(scans, out, model)
    assert list(result.files) == ["scan000", "thick"]
    assert "Is the spacing in its header in another unit?" in result.failed["metres"]
    assert "holds the value 0 in every voxel" in result.failed["blank"]
    assert "looks like a label map" in result.failed["mask"]
    assert list(result.warnings) == ["thick"]
    (text,) = result.warnings["thick"]
    assert "unusual along z: it has voxels of 4 x 1 x 1 mm" in text
    rows = {row["case"]: row["warning"] for row in csv.DictReader((out / "volumes.csv").open())}
    assert rows == {"scan000": "", "thick": text}
    entry = json.loads((out / "manifest.json").read_text())["commands"]["predict"]
    cases = {case["case"]: case for case in entry["cases"]}
    assert cases["thick"]["warnings"] == [text]
    assert "warnings" not in cases["scan000"]
    assert "another unit" in cases["metres"]["problem"]
    # a second run keeps the answers, and what was said of them
    again = run(scans, out, model, keep_finished=True)
    assert (again.kept, again.warnings) == (("scan000", "thick"), result.warnings)


def test_the_ways_out_of_a_refusal_are_ways_out(tmp_path: Path, model: Path, scans: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (scans / "metres_0000.nii.gz").rename(only / "metres_0000.nii.gz")
    corrected = run(only, tmp_path / "a", model, overrides=["inference.spacing=[1.5,1,1]"])
    assert (list(corrected.files), corrected.warnings) == (["metres"], {})
    anyway = run(only, tmp_path / "b", model, overrides=["inference.unlike_scans=warn"])
    assert list(anyway.files) == ["metres"]
    assert "another unit" in anyway.warnings["metres"][0]


def test_a_scan_that_takes_more_memory_than_there_is_is_named_by_its_spacing(
    tmp_path: Path, model: Path, scans: Path, save_nifti: Callable[..., Path]
) -> None:
    only = tmp_path / "only"
    array = np.asarray(nib.load(scans / "scan000_0000.nii.gz").dataobj)
    save_nifti(only / "huge_0000.nii.gz", array, np.diag([1000.0, 1000.0, 1500.0, 1.0]))
    result = run(only, tmp_path / "out", model, overrides=["inference.unlike_scans=warn"])
    assert "spacing of 1500 x 1000 x 1000" in result.failed["huge"]
    assert "GB are free" in result.failed["huge"]


def test_the_python_api_warns_and_refuses(model: Path, scans: Path) -> None:
    predictor = Predictor.load(model, "cpu", ["0"])
    with pytest.warns(ScanWarning, match="unusual along z"):
        predictor(scans / "thick_0000.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor(scans / "scan000_0000.nii.gz")
    with pytest.raises(DataError, match="label map"):
        predictor(scans / "mask_0000.nii.gz")


def test_a_model_that_knows_little_says_so_once(tmp_path: Path, small_model: Path, scans: Path) -> None:
    result = run(scans, tmp_path / "out", small_model)
    assert sum("does not say which spacings" in note for note in result.notes) == 1
    assert set(result.failed) == {"metres", "blank"}
    assert "looks like a label map" in result.warnings["mask"][0]


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_warning_comes_while_other_scans_are_still_to_be_answered(
    tmp_path: Path, model: Path, write_scans: Callable[[Path, int], Path], save_nifti: Callable[..., Path], device: str
) -> None:
    folder = write_scans(tmp_path / "scans", 8)
    array = np.asarray(nib.load(folder / "scan000_0000.nii.gz").dataobj)
    save_nifti(folder / "a_thick_0000.nii.gz", array[:, :, :6], np.diag([1.0, 1.0, 4.0, 1.0]))
    events: list[Progress] = []
    options = PredictOptions(device=device, folds=["0"])
    result = predict(folder, tmp_path / "out", model, options=options, callback=events.append)
    ((number, event),) = [(number, event) for number, event in enumerate(events) if "warning" in event.info]
    assert event.info == {"case": "a_thick", "warning": result.doubts("a_thick")[0]}
    assert event.done < event.total == 9
    assert events[number + 1 :], "others go on after it"
    events.clear()
    again = PredictOptions(device=device, folds=["0"], keep_finished=True)
    assert predict(folder, tmp_path / "out", model, options=again, callback=events.append).doubts("a_thick")
    assert not [event for event in events if "warning" in event.info]  # it was said when it was answered
