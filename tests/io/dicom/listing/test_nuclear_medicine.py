"""Nuclear medicine: a reconstructed volume is one file whose frames lie by its detector and the distance of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom.builders import AXIAL, CORONAL, OBLIQUE, image_dataset, item, normal_of, ramp, save

from medseg.core.errors import DataError
from medseg.delivery.dicom.source import check_source
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"


def write(path: Path, step_mm: float | None = 4.0, orientation: Any = AXIAL, **changes: Any) -> None:
    detector = item(ImagePositionPatient=[10, 20, 30], ImageOrientationPatient=list(orientation))
    elements = {
        "SOPClassUID": NUCLEAR, "Modality": "NM", "NumberOfFrames": 5,
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO"],
        "DetectorInformationSequence": detector, "ImagePositionPatient": None, "ImageOrientationPatient": None,
    }  # fmt: skip
    if step_mm is not None:
        elements["SpacingBetweenSlices"] = step_mm
    save(image_dataset(ramp(), **{**elements, **changes}), path)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("step_mm", [4.0, -4.0])
def test_a_reconstruction_is_a_volume(tmp_path: Path, orientation: Any, step_mm: float) -> None:
    write(tmp_path / "a.dcm", step_mm, orientation)
    (series,) = find_series(tmp_path).series
    assert not series.problems
    volume = read_volume(series)
    assert volume.image.spacing_mm == pytest.approx((4.0, 2.0, 1.5))
    assert np.array_equal(volume.image.array[0], ramp() if step_mm > 0 else ramp()[::-1])
    last = np.array([10, 20, 30]) + normal_of(orientation) * step_mm * 4
    assert series.slices[-1 if step_mm > 0 else 0].position == pytest.approx(tuple(last), abs=1e-4)


def test_frames_go_by_the_slice_vector(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", SliceVector=[2, 1, 3, 5, 4])
    (series,) = find_series(tmp_path).series
    assert np.array_equal(read_volume(series).image.array[0], ramp()[[1, 0, 2, 4, 3]])


@pytest.mark.parametrize("changes", [{"step_mm": None}, {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO"]}], ids=str)
def test_what_lacks_geometry_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path / "a.dcm", **changes)
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["no position"]


def test_no_segmentation_object_refers_to_it(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
    write(tmp_path / "a.dcm")
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError, match="label map as NIfTI"):
        check_source(series.slices, series.title)
