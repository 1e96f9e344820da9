"""Labels of another frame of reference than the scan's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, save, uid, write_series
from dicom.label_builders import box, grid, rtstruct, seg
from pydicom.dataset import Dataset

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.io.dicom.labels.frames_of_reference import check_common_frame_of_reference
from medseg.io.dicom.listing.find import find_series
from medseg.io.layouts.find import find_cases
from medseg.io.load import load_case
from medseg.plans.sections.reading import Reading

SHAPE = ramp().shape
GTV = Reading(segments={"GTV": 1})


def contours(frame: str, series: str) -> Dataset:
    found = rtstruct({"GTV": [box(0.5, 0.5, 3.5, 2.5, 1)]}, grid(SHAPE), series=series)
    found.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = uid(frame)
    return found


def segments(frame: str, series: str) -> Dataset:
    found = seg([(1, (10, 20, 30), np.ones(SHAPE[1:], np.uint8))], ["GTV"], series=series)
    found.FrameOfReferenceUID = uid(frame)
    return found


@pytest.mark.parametrize("make", [contours, segments])
def test_a_label_of_another_frame_of_reference_is_refused(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    write_series(tmp_path / "p1" / "ct", series="ct")
    label = save(make("elsewhere", "pet"), tmp_path / "p1" / "label.dcm")
    with pytest.raises(DataError, match="another frame of reference"):
        find_cases(tmp_path)
    scan = find_series(tmp_path).series[0].path
    with pytest.raises(DataError, match="another frame of reference"):
        load_case(Case("p1", "p1", (scan,), label), 1, GTV)


@pytest.mark.parametrize("make", [contours, segments])
@pytest.mark.parametrize(("frame", "series"), [("frame of reference", "pet"), ("anonymized otherwise", "ct")])
def test_the_same_frame_or_the_series_by_name_is_taken(tmp_path: Path, make, frame: str, series: str) -> None:
    write_series(tmp_path / "p1" / "ct", series="ct")
    save(make(frame, series), tmp_path / "p1" / "label.dcm")
    (case,) = find_cases(tmp_path).cases
    assert load_case(case, 1, GTV).label.array.any()


def test_one_structure_of_several_elsewhere_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "p1" / "ct", series="ct")
    found = rtstruct({"GTV": [box(0.5, 0.5, 3.5, 2.5, 1)], "PTV": [box(0.5, 0.5, 2.5, 2.5, 1)]}, grid(SHAPE), "ct")
    for roi, frame in zip(found.StructureSetROISequence, ("frame of reference", "elsewhere"), strict=True):
        roi.ReferencedFrameOfReferenceUID = uid(frame)
    save(found, tmp_path / "p1" / "label.dcm")
    with pytest.raises(DataError, match="some of it lies in another frame of reference"):
        find_cases(tmp_path)


def test_two_labels_of_different_frames_are_not_compared(tmp_path: Path) -> None:
    one, same, other = (
        save(make(frame, "ct"), tmp_path / f"{number}.dcm")
        for number, (make, frame) in enumerate([(contours, "here"), (segments, "here"), (segments, "there")])
    )
    check_common_frame_of_reference(one, same)
    with pytest.raises(DataError, match="different frames of reference"):
        check_common_frame_of_reference(one, other)
