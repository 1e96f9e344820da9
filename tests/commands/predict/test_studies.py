"""`medseg predict` on DICOM studies: one case a study, answers on the grid of the series."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom.builders import MR, OBLIQUE, uid, write_series
from dicom.label_builders import grid

import medseg
from medseg.core.errors import DataError
from medseg.delivery.answers.options import WriteOptions

NIFTI = WriteOptions(forms=("nifti",))
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def study(folder: Path, name: str, **changes) -> Path:
    pixels = np.random.default_rng(len(name)).integers(0, 200, (8, 16, 16)).astype(np.int16)
    write_series(folder / name, pixels, series=name, StudyInstanceUID=uid(name), **changes)
    return folder / name


def predict(source: Path, output: Path, model: Path, **options) -> medseg.PredictResult:
    asked = medseg.PredictOptions(write=NIFTI, mirror=False, device="cpu", **options)
    return medseg.predict(source, output, model, options=asked)


def test_answers_lie_on_the_series(tmp_path: Path, small_model: Path) -> None:
    study(tmp_path / "in", "p1")
    study(tmp_path / "in", "p2x", orientation=OBLIQUE)
    study(tmp_path / "in", "gap33", move=lambda k: (0.0, 0.0, 3.0 * k + (3.0 if k > 3 else 0.0)))
    found = predict(tmp_path / "in", tmp_path / "out", small_model)
    assert sorted(found.files) == ["p1", "p2x"]
    assert "--allow-gaps" in found.failed["gap33"]
    assert any(note.startswith('p1: series 4 "thorax"') and "; the only series" in note for note in found.notes), (
        found.notes
    )
    answer = nib.load(tmp_path / "out" / "p2x.nii.gz")
    assert answer.shape == (16, 16, 8)
    assert np.allclose(answer.affine, grid(orientation=OBLIQUE).affine, atol=1e-4)
    for file in ("manifest.json", "predict.jsonl"):
        text = (tmp_path / "out" / file).read_text()
        assert "SECRET" not in text
        assert uid("p1") not in text
        assert "the only series" in text


def test_a_run_continues_until_a_slice_changes(tmp_path: Path, small_model: Path) -> None:
    folder = study(tmp_path / "in", "p1")
    predict(tmp_path / "in", tmp_path / "out", small_model)
    assert predict(tmp_path / "in", tmp_path / "out", small_model, keep_finished=True).kept == ("p1",)
    write_series(folder, np.zeros((8, 16, 16), np.int16), series="p1", StudyInstanceUID=uid("p1"))
    assert predict(tmp_path / "in", tmp_path / "out", small_model, keep_finished=True).kept == ()


def test_gaps_are_bridged_when_allowed_and_kept_apart_in_the_record(tmp_path: Path, small_model: Path) -> None:
    study(tmp_path / "in", "gap33", move=lambda k: (0.0, 0.0, 3.0 * k + (3.0 if k > 3 else 0.0)))
    with pytest.raises(DataError, match="--allow-gaps"):
        predict(tmp_path / "in", tmp_path / "out", small_model)
    predict(tmp_path / "in", tmp_path / "out", small_model, allow_gaps=True)
    assert nib.load(tmp_path / "out" / "gap33.nii.gz").shape == (16, 16, 9)


def test_series_are_chosen_by_rule(tmp_path: Path, small_model: Path) -> None:
    for number in (4, 5):
        write_series(
            tmp_path / "p1" / str(number),
            np.arange(2048, dtype=np.int16).reshape(8, 16, 16),
            step_mm=float(number),
            series=f"s{number}",
            SeriesNumber=number,
        )
    with pytest.raises(DataError, match="has 2 series for the channel"):
        predict(tmp_path / "p1", tmp_path / "out", small_model)
    found = predict(tmp_path / "p1", tmp_path / "out", small_model, series=["SeriesNumber=5"])
    assert abs(nib.load(found.files["p1"]).affine[2, 2]) == 5


def test_what_is_odd_about_a_series_is_told(tmp_path: Path, small_model: Path) -> None:
    study(tmp_path / "in", "p1", Modality="MR", SOPClassUID=MR)
    at_detector = {"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2], "FrameOfReferenceUID": None}
    write_series(
        tmp_path / "in" / "x",
        np.zeros((1, 16, 16), np.uint16),
        series="x",
        StudyInstanceUID=uid("x"),
        Modality="DX",
        SOPClassUID=DIGITAL_XRAY,
        **dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness")),
        **at_detector,
    )
    notes = predict(tmp_path / "in", tmp_path / "out", small_model).notes
    (note,) = [note for note in notes if "at the detector (ImagerPixelSpacing)" in note]
    assert note.startswith('x: series 4 "thorax"')
