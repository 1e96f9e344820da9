"""Labels on the slices that `--allow-gaps` puts between those of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, save, write_series
from dicom.label_builders import box, grid, rtstruct, seg
from pydicom.dataset import Dataset

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume, series_grid
from medseg.io.images import read_label
from medseg.io.load import load_case_image
from medseg.plans.sections.reading import Reading

READING = Reading(segments={"a": 1, "b": 2}, allow_gaps=True, resample_tilt=True)
HALF_A_PIXEL = 0.75
"""mm by which each slice lies aside of the one before: no frame of a SEG then lies on voxels of the resampled scan."""


def uneven(folder: Path, heights: Sequence[float], aside_mm: float = 0.0) -> tuple[Image, Image]:
    """A series with slices at these multiples of 3 mm: its grid, and the scan itself."""
    write_series(
        folder, ramp(len(heights), 8, 10), move=lambda k: (10 + aside_mm * heights[k], 20, 30 + 3.0 * heights[k])
    )
    (series,) = find_series(folder).series
    return series_grid(series, DicomOptions.of(READING)), load_case_image(Case("c", "c", (series.path,)), 1, READING)


def squares(heights: Sequence[float], aside_mm: float = 0.0) -> Dataset:
    """A SEG with 16 voxels of `a` on each of the slices of such a series."""
    square = np.zeros((8, 10), np.uint8)
    square[1:5, 2:6] = 1
    return seg([(1, (10 + aside_mm * z, 20, 30 + 3.0 * z), square) for z in heights], ["a"])


def contours(heights: Sequence[float]) -> Dataset:
    return rtstruct({"a": [box(1.5, 0.5, 5.5, 4.5, z) for z in heights]}, grid((9, 8, 10)))


@pytest.mark.parametrize("heights", [[0, 1, 2, 4, 6, 7, 8], [0, 1, 2, 3, 6, 7, 8], [0, 1, 3, 4, 6, 7, 8]])
@pytest.mark.parametrize("of", [0, 1], ids=["grid", "scan"])
@pytest.mark.parametrize(
    ("drawn", "aside_mm"),
    [(contours, 0.0), (squares, 0.0), (partial(squares, aside_mm=HALF_A_PIXEL), HALF_A_PIXEL)],
    ids=["contours", "segments", "segments on a grid of their own"],
)
def test_structures_have_no_holes_where_the_scan_is_interpolated(
    tmp_path: Path, heights: list[int], drawn: Callable[[Sequence[float]], Dataset], aside_mm: float, of: int
) -> None:
    lies = uneven(tmp_path / "ct", heights, aside_mm)[of]
    inside = [z for z in heights if 0 < z < 8]
    label = read_label(save(drawn(inside), tmp_path / "label.dcm"), READING, lies)
    assert label.same_grid(lies) == (aside_mm == 0)
    marked = [int(count) for count in (label.array[0] == 1).sum(axis=(1, 2)) if count]
    assert marked == [16] * (inside[-1] - inside[0] + 1)
    assert any("interpolated between" in note for note in label.notes)


@pytest.mark.parametrize("heights", [[1, 2, 3, 5, 6], [1, 3.5, 6]])
def test_holes_on_slices_that_are_not_those_of_the_scan_are_refused(tmp_path: Path, heights: list[float]) -> None:
    lies, _ = uneven(tmp_path / "ct", [0, 1, 2, 3, 5, 6, 7])
    between = seg([(1, (10, 20, 31 + 3.0 * z), np.ones((8, 10), np.uint8)) for z in heights], ["a"])
    path = save(between, tmp_path / "label.dcm")
    if heights[1] == 2:
        with pytest.raises(DataError, match="structures are absent on slices between others, and 1 slice of the scan"):
            read_label(path, READING, lies)
    else:  # every slice of its own grid is marked: there is no hole
        assert read_label(path, READING, lies).array.all()


def test_shapes_change_evenly_and_keep_apart(tmp_path: Path) -> None:
    lies, _ = uneven(tmp_path / "ct", [0, 1, 2, 3, 5, 6, 7])
    a = [box(0.5, 0.5, 2.5, 6.5, 3), box(0.5, 0.5, 4.5, 6.5, 5)]
    b = [box(5.5, 0.5, 9.5, 6.5, 3), box(7.5, 0.5, 9.5, 6.5, 5)]
    path = save(rtstruct({"a": a, "b": b}, grid((8, 8, 10))), tmp_path / "RS.dcm")
    label = read_label(path, READING, lies).array[0]
    assert label[4, 3].tolist() == [0, 1, 1, 1, 0, 0, 0, 2, 2, 2]


def test_a_structure_that_ends_at_the_gap_is_not_continued(tmp_path: Path) -> None:
    lies, _ = uneven(tmp_path / "ct", [0, 1, 2, 3, 5, 6, 7])
    path = save(rtstruct({"a": [box(0.5, 0.5, 2.5, 6.5, 3)]}, grid((8, 8, 10))), tmp_path / "RS.dcm")
    label = read_label(path, READING, lies)
    assert [int(plane.any()) for plane in label.array[0]] == [0, 0, 0, 1, 0, 0, 0, 0]


def test_a_gap_between_contours_on_slices_of_the_scan_is_as_drawn(tmp_path: Path) -> None:
    lies, _ = uneven(tmp_path / "ct", [0, 1, 2, 3, 5, 6, 7])
    contours = [box(0.5, 0.5, 2.5, 6.5, z) for z in (0, 2)]
    path = save(rtstruct({"a": contours}, grid((8, 8, 10))), tmp_path / "RS.dcm")
    assert [int(plane.any()) for plane in read_label(path, READING, lies).array[0]] == [1, 0, 1, 0, 0, 0, 0, 0]


def test_the_record_says_which_slices_are_interpolated(tmp_path: Path) -> None:
    write_series(tmp_path, ramp(5), move=lambda k: (0, 0, (0, 3, 9, 12, 15)[k]))
    volume = read_volume(find_series(tmp_path).series[0], DicomOptions(allow_gaps=True))
    assert volume.record["resampled"]["interpolated slices"] == [2]
    assert np.array_equal(
        [source is None for source in volume.source_slices], [False, False, True, False, False, False]
    )
