"""SEG and RTSTRUCT with fewer slices than the scan, with others, or drawn on another series: right or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, save, write_series
from dicom.label_builders import box, grid, rtstruct, seg
from pydicom.dataset import Dataset

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.layouts.find import find_cases
from medseg.io.load import load_case
from medseg.plans.sections.reading import Reading

SHAPE = ramp().shape  # 5 slices of 4 x 6, from z = 30 mm on, 3 mm apart
HERE, ELSEWHERE = box(0.5, 0.5, 3.5, 2.5, 1), box(0.5, 0.5, 3.5, 2.5, 40)


def frames(*z_mm: float, x_mm: float = 10, larger: int = 0) -> Dataset:
    """A SEG whose frames are full, at some heights."""
    full = np.ones((SHAPE[1] + larger, SHAPE[2] + larger), np.uint8)
    return seg([(1, (x_mm, 20, z), full) for z in z_mm], ["GTV"], series="ct")


def contours(*outlines: object, series: str = "ct") -> Dataset:
    return rtstruct({"GTV": [*outlines]}, grid(SHAPE), series)


def loaded(folder: Path, label: Dataset) -> Image:
    write_series(folder / "p1" / "ct", series="ct")
    save(label, folder / "p1" / "label.dcm")
    (case,) = find_cases(folder).cases
    return load_case(case, 1, Reading(segments={"GTV": 1})).label


@pytest.mark.parametrize(
    ("label", "voxels", "note"),
    [
        (frames(30), [24, 0, 0, 0, 0], None),
        (frames(30, 36), [24, 0, 24, 0, 0], None),
        (frames(30, 180), [24, 0, 0, 0, 0], "24 marked voxels lie outside of the scan"),
        (frames(30, larger=2), [24, 0, 0, 0, 0], "24 marked voxels lie outside of the scan"),
        (contours(HERE), [0, 6, 0, 0, 0], None),
        (contours(HERE, series="pet"), [0, 6, 0, 0, 0], None),  # in the same frame of reference
        (contours(HERE, ELSEWHERE), [0, 6, 0, 0, 0], "1 contour of GTV lies outside of the scan"),
    ],
)
def test_what_lies_in_the_scan_is_read_and_the_rest_is_named(
    tmp_path: Path, label: Dataset, voxels: list[int], note: str | None
) -> None:
    read = loaded(tmp_path, label)
    assert read.array[0].sum(axis=(1, 2)).tolist() == voxels
    assert [note in text for text in read.notes if note] == [True] * (note is not None)
    assert note is not None or not read.notes


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (frames(30, 31.5), "lie on different grids"),
        (frames(30, x_mm=11), "lie on different grids"),
        (frames(300), "everything that it marks lies outside of the scan"),
        (contours(ELSEWHERE), "all 1 contours lie outside of the scan"),
        (contours(box(100, 100, 110, 110, 1)), "all 1 contours lie outside of the scan"),
    ],
)
def test_labels_of_other_places_are_refused(tmp_path: Path, label: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, label)
