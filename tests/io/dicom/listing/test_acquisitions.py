"""Several acquisitions in one series: volumes of their own, wherever their slices lie; and what is one volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom.builders import MR, image_dataset, ramp, save, write_enhanced, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

PHASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "number": ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
    "time": ({"AcquisitionTime": "101000"}, {"AcquisitionTime": "101045"}),
    "date and time": ({"AcquisitionDateTime": "20200101101000"}, {"AcquisitionDateTime": "20200101101045"}),
    "kV": ({"KVP": "80"}, {"KVP": "140"}),
    "image type": ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}),
    "contrast": ({}, {"ContrastBolusAgent": "agent"}),
}
"""What tells the slices of two scans of a patient apart."""


def write_scans(
    folder: Path,
    heights: Sequence[Sequence[float]],
    each: Callable[[int, int], dict[str, Any]],
    **changes: Any,
) -> list[Series]:
    """Write a CT series of several scans, whose slices have the scan's number times 100 as pixels; return the series.

    Args:
        folder: it is made.
        heights: z of the slices of each scan, in mm.
        each: elements of slice k of a scan: (scan, k).
        changes: elements of all slices.
    """
    for scan, positions in enumerate(heights):
        for k, z in enumerate(positions):
            plane = np.full((4, 6), 100 * (scan + 1), np.int16)
            own = {"SliceThickness": 2, "InstanceNumber": k + 1, **changes, **each(scan, k)}
            save(image_dataset(plane, (0, 0, z), instance=(scan, k), **own), folder / f"{scan}_{k:02d}.dcm")
    return list(find_series(folder).series)


def values(series: Series) -> list[int]:
    return np.unique(read_volume(series).image.array).tolist()


def values_with_gaps(series: Series) -> list[int]:
    return np.unique(read_volume(series, DicomOptions(allow_gaps=True)).image.array).tolist()


@pytest.mark.parametrize("shift_mm", [1.0, 0.7, 0.2, 1.9], ids="{} mm".format)
@pytest.mark.parametrize("phases", PHASES.values(), ids=PHASES)
def test_two_scans_between_each_other_are_two_volumes(tmp_path: Path, phases: Any, shift_mm: float) -> None:
    heights = [[2 * k for k in range(6)], [2 * k + shift_mm for k in range(6)]]
    found = write_scans(tmp_path, heights, lambda scan, k: phases[scan])
    assert [(series.shape_zyx[0], series.problems) for series in found] == [(6, ()), (6, ())]
    assert sorted(values(series) for series in found) == [[100], [200]]


def test_steps_of_their_own_and_a_part_of_the_range(tmp_path: Path) -> None:
    heights = [[2.5 * k for k in range(20)], [10.4 + 5 * k for k in range(5)]]
    found = write_scans(tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1})
    assert sorted((values(series), series.spacing_mm[0]) for series in found) == [([100], 2.5), ([200], 5.0)]


def test_scans_that_share_some_positions(tmp_path: Path) -> None:
    heights = [[2 * k for k in range(10)], [3 * k for k in range(7)]]
    found = write_scans(tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1})
    assert sorted(values(series) for series in found) == [[100], [200]]


def test_three_scans(tmp_path: Path) -> None:
    heights = [[3 * k + scan for k in range(5)] for scan in range(3)]
    found = write_scans(tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1})
    assert sorted(values(series) for series in found) == [[100], [200], [300]]


def test_a_scan_that_lacks_a_slice_keeps_its_gap_to_itself(tmp_path: Path) -> None:
    heights = [[2 * k for k in range(8)], [2 * k + 1 for k in range(8) if k != 4]]
    found = write_scans(tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1})
    problems = sorted([problem.kind for problem in series.problems] for series in found)
    if len(found) == 2:
        assert problems == [[], ["missing slices"]]
    else:
        assert not any(problem.option for series in found for problem in series.problems)
    with_gap = next(series for series in found if series.problems)
    assert np.unique(read_volume(with_gap, DicomOptions(allow_gaps=True)).image.array).tolist() == [200]


@pytest.mark.parametrize("downwards", [False, True])
def test_every_slice_has_a_time_of_its_own(tmp_path: Path, downwards: bool) -> None:
    heights = [[2 * k for k in range(6)], [2 * k + 1 for k in range(6)]]
    if downwards:
        heights = [part[::-1] for part in heights]
    found = write_scans(
        tmp_path, heights, lambda scan, k: {"AcquisitionTime": f"10{scan:02d}{k:02d}.5", "AcquisitionNumber": 1}
    )
    assert sorted(values(series) for series in found) == [[100], [200]]


def test_without_a_word_on_the_acquisition_nothing_is_interpolated(tmp_path: Path) -> None:
    heights = [[2 * k for k in range(6)], [2 * k + 0.7 for k in range(6)]]
    (series,) = write_scans(tmp_path, heights, lambda scan, k: {})
    assert [(problem.kind, problem.option) for problem in series.problems] == [("mixed acquisitions", None)]
    with pytest.raises(DataError, match="2 stacks of equal steps"):
        read_volume(series, DicomOptions(allow_gaps=True))


@pytest.mark.parametrize("count", [7, 8, 10, 12])
@pytest.mark.parametrize("phases", PHASES.values(), ids=PHASES)
def test_every_third_slice_of_another_scan_is_no_part_of_the_volume(tmp_path: Path, phases: Any, count: int) -> None:
    scans = [[k for k in range(count) if k % 3], list(range(0, count, 3))]
    found = write_scans(tmp_path, scans, lambda scan, k: phases[scan], SliceThickness=1)
    assert sorted(([p.kind for p in series.problems], series.shape_zyx[0]) for series in found) == [
        ([], len(scans[1])),
        (["missing slices"], len(scans[0])),
    ]
    assert sorted(values_with_gaps(series) for series in found) == [[100], [200]]


@pytest.mark.parametrize("positions", [[0, 3, 7], [1, 2, 6], [3, 5, 6, 9]])
@pytest.mark.parametrize("name", ["kV", "image type", "contrast"])
def test_slices_with_other_grey_values_anywhere_are_no_part_of_the_volume(
    tmp_path: Path, name: str, positions: list[int]
) -> None:
    scans = [[k for k in range(11) if k not in positions], positions]
    found = write_scans(tmp_path, scans, lambda scan, k: PHASES[name][scan], SliceThickness=1)
    assert all(series.problems or series.notes for series in found)
    assert len(found) == 2 or found[0].notes


@pytest.mark.parametrize("odd", [[3], [3, 5], [8], [0], [2, 3, 4]], ids=str)
@pytest.mark.parametrize("name", ["kV", "image type", "contrast"])
def test_a_few_slices_with_other_grey_values_are_named(tmp_path: Path, name: str, odd: list[int]) -> None:
    scans = [[k for k in range(9) if k not in odd], odd]
    (series,) = write_scans(tmp_path, scans, lambda scan, k: PHASES[name][scan], SliceThickness=1)
    (note,) = series.notes
    what = {"kV": "kilovolts"}.get(name, name)
    assert note.startswith(f"{len(odd)} of its 9 slices differ from the others in {what} (1_00.dcm")


def test_scans_that_make_no_volumes_are_not_offered_for_interpolation(tmp_path: Path) -> None:
    heights = [[0, 2, 5, 6, 10], [0.9, 2.6, 5.3, 7.1, 9.2]]
    found = write_scans(tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1})
    assert all(series.problems for series in found)
    assert not any(problem.option for series in found for problem in series.problems)


ONE_VOLUME: dict[str, tuple[list[list[float]], Callable[[int, int], dict[str, Any]], dict[str, Any]]] = {
    "ranges one after another": (
        [[2 * k for k in range(6)], [12 + 2 * k for k in range(6)]],
        lambda scan, k: {"AcquisitionNumber": scan + 1, "KVP": f"{80 + 40 * scan}"},
        {},
    ),
    "a number a slice": ([[2 * k for k in range(8)]], lambda scan, k: {"AcquisitionNumber": k}, {}),
    "two slices a rotation": ([[2 * k for k in range(8)]], lambda scan, k: {"AcquisitionNumber": k // 2}, {}),
    "a time a slice": ([[2 * k for k in range(8)]], lambda scan, k: {"AcquisitionTime": f"1010{k:02d}"}, {}),
    "MR in packages": (
        [[6.6 * k for k in range(6)], [6.6 * k + 3.3 for k in range(6)]],
        lambda scan, k: {"AcquisitionNumber": scan + 1, "AcquisitionTime": f"10{scan:02d}{k:02d}"},
        {"SliceThickness": 3, "SOPClassUID": MR, "Modality": "MR"},
    ),
    "kV that is measured": ([[2 * k for k in range(8)]], lambda scan, k: {"KVP": f"{120 + k % 2}"}, {}),
    "strays": ([[2 * k for k in range(9)]], lambda scan, k: {"AcquisitionNumber": 2 if k in (3, 5) else 1}, {}),
}
"""Heights, elements of each slice, elements of all: what scanners write of one volume."""


@pytest.mark.parametrize("name", ONE_VOLUME)
def test_one_volume(tmp_path: Path, name: str) -> None:
    heights, each, changes = ONE_VOLUME[name]
    (series,) = write_scans(tmp_path, heights, each, **changes)
    assert series.shape_zyx[0] == sum(map(len, heights))
    assert not series.problems
    named = {"ranges one after another": ["kilovolts"], "strays": ["acquisition"]}.get(name, [])
    assert len(series.notes) == len(named)
    assert all(f"in {attribute} (" in note for note, attribute in zip(series.notes, named, strict=True))


def test_a_slice_missing_from_mr_in_packages_can_be_bridged(tmp_path: Path) -> None:
    heights = [[6 * k for k in range(6)], [6 * k + 3 for k in range(6) if k != 3]]
    (series,) = write_scans(
        tmp_path, heights, lambda scan, k: {"AcquisitionNumber": scan + 1}, SliceThickness=3, SOPClassUID=MR
    )
    assert [(problem.kind, problem.option) for problem in series.problems] == [("missing slices", "allow_gaps")]


@pytest.mark.parametrize("stack", [lambda k: k // 4, lambda k: k % 2], ids=["one after another", "in turns"])
def test_stacks_that_form_one_grid_are_one_volume(tmp_path: Path, stack: Callable[[int], int]) -> None:
    positions = [(0, 0, 3 * k) for k in range(8)]
    write_enhanced(tmp_path / "a.dcm", ramp(8), positions, content=lambda k: {"StackID": str(stack(k))})
    (series,) = find_series(tmp_path).series
    assert series.shape_zyx[0] == 8
    assert not series.problems
    assert np.array_equal(read_volume(series).image.array[0], ramp(8))


def test_stacks_apart_are_volumes(tmp_path: Path) -> None:
    positions = [(0, 0, 3 * k + 10 * (k // 4)) for k in range(8)]
    write_enhanced(tmp_path / "a.dcm", ramp(8), positions, content=lambda k: {"StackID": str(k // 4)})
    assert [series.shape_zyx[0] for series in find_series(tmp_path).series] == [4, 4]


@pytest.mark.parametrize("count", [1, 5])
def test_sections_without_positions_are_no_radiographs(tmp_path: Path, count: int) -> None:
    write_series(tmp_path, ramp(count), ImagePositionPatient=None)
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["no position"]


def test_a_decimal_comma_is_read_as_a_point(tmp_path: Path) -> None:
    for path in write_series(tmp_path, ramp(3), origin=(1.5, 2.5, 0)):
        path.write_bytes(path.read_bytes().replace(rb"1.5\2.5\ "[:-1], rb"1,5\2,5\ "[:-1]))
    (series,) = find_series(tmp_path).series
    assert not series.problems
    assert [slice_.position for slice_ in series.slices] == [(1.5, 2.5, 0), (1.5, 2.5, 3), (1.5, 2.5, 6)]
