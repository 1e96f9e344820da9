"""RTSTRUCT: contours by position, holes, and what is named instead of drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom.builders import AXIAL, CORONAL, OBLIQUE, SAGITTAL, TURNED, save
from dicom.label_builders import box, grid, rtstruct

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.images import read_image, read_label
from medseg.plans.sections.reading import Reading


def drawn(folder, rois, lies=None, reading=None, **others):
    lies = lies or grid()
    path = save(rtstruct(rois, lies, **others), folder / "RS.dcm")
    return read_label(path, reading or Reading(segments=dict.fromkeys(rois, 1)), lies)


def plane(*rows: str) -> list[list[int]]:
    return [[int(sign == "#") for sign in row] for row in rows]


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, TURNED, OBLIQUE])
def test_a_box_by_hand_in_every_orientation(tmp_path: Path, orientation) -> None:
    # from voxel 1.5 to 4.5 along x and 0.5 to 3.5 along y: the centres of x = 2, 3, 4 and y = 1, 2, 3
    label = drawn(tmp_path, {"GTV": [box(1.5, 0.5, 4.5, 3.5, 2)]}, grid(orientation=orientation))
    expected = np.zeros((5, 8, 10), int)
    expected[2, 1:4, 2:5] = 1
    assert np.array_equal(label.array[0], expected)
    assert label.same_grid(grid(orientation=orientation))
    assert not label.notes


def test_a_contour_within_another_is_a_hole_and_one_within_that_an_island(tmp_path: Path) -> None:
    rings = [box(0.5, 0.5, 8.5, 6.5, 1), box(2.5, 1.5, 7.5, 5.5, 1), box(4.5, 2.5, 5.5, 3.5, 1)]
    label = drawn(tmp_path, {"ring": rings}, grid((3, 8, 10)))
    assert label.array[0, 1].tolist() == plane(
        "..........",
        ".########.",
        ".##.....#.",
        ".##..#..#.",
        ".##.....#.",
        ".##.....#.",
        ".########.",
        "..........",
    )


def test_a_hole_joined_by_a_keyhole(tmp_path: Path) -> None:
    outer, inner = box(0.5, 0.5, 8.5, 6.5, 1), box(3.5, 2.5, 5.5, 4.5, 1)
    keyhole = [*outer, outer[0], inner[0], *reversed(inner), outer[0]]
    joined = drawn(tmp_path, {"a": [keyhole]}, grid((3, 8, 10)))
    apart = drawn(tmp_path, {"a": [outer, inner]}, grid((3, 8, 10)))
    assert np.array_equal(joined.array, apart.array)
    assert joined.array.sum() == 8 * 6 - 2 * 2


def test_a_contour_stored_twice_leaves_no_hole(tmp_path: Path) -> None:
    one = box(0.5, 0.5, 4.5, 3.5, 1)
    label = drawn(tmp_path, {"a": [one, one[2:] + one[:2]]})
    assert label.array.sum() == 4 * 3


def test_of_many_contours_of_one_form_each_is_kept_once(tmp_path: Path) -> None:
    islands = [box(x - 0.5, y - 0.5, x + 0.5, y + 0.5, 1) for x in range(0, 40, 2) for y in range(0, 30, 2)]
    label = drawn(tmp_path, {"a": [*islands, *islands[::-1]]}, grid((3, 30, 40)))
    assert label.array[0, 1, ::2, ::2].all()
    assert label.array.sum() == len(islands) == 300


def test_names_are_looked_up_by_pattern_and_others_left_out(tmp_path: Path) -> None:
    rois = {"GTV-1": [box(0.5, 0.5, 2.5, 2.5, 0)], "gtv_2 ": [box(3.5, 0.5, 4.5, 2.5, 0)], "BODY": [box(0, 0, 9, 7, 0)]}
    label = drawn(tmp_path, rois, reading=Reading(segments={"tumour": 3, "GTV*": 3}))
    assert {*np.unique(label.array)} == {0, 3}
    assert label.array.astype(bool).sum() == 4 + 2
    none = drawn(tmp_path, rois, reading=Reading(segments={"liver": 1}))
    assert not none.array.any()
    assert none.notes == ("RS.dcm holds none of liver; it holds GTV-1, gtv_2, BODY",)


def test_overlaps_are_refused_ordered_or_given_values(tmp_path: Path) -> None:
    rois = {"PTV": [box(0.5, 0.5, 4.5, 4.5, 0)], "GTV": [box(2.5, 2.5, 6.5, 4.5, 0)]}
    segments = {"GTV": 1, "PTV": 2}
    with pytest.raises(DataError, match="GTV and PTV overlap in 4 voxels"):
        drawn(tmp_path, rois, reading=Reading(segments=segments))
    later = drawn(tmp_path, rois, reading=Reading(segments=segments, overlaps="later")).array
    assert [(later == value).sum() for value in (1, 2)] == [4, 16]
    regions = drawn(tmp_path, rois, reading=Reading(segments=segments, overlaps={"1+2": 5})).array
    assert [(regions == value).sum() for value in (1, 2, 5)] == [4, 12, 4]


def test_contours_without_an_area_are_named(tmp_path: Path) -> None:
    rois = {"a": [box(0.5, 0.5, 4.5, 3.5, 1), [(1, 1, 1)]]}
    label = drawn(tmp_path, rois, kinds={1: "POINT"})
    assert label.array.sum() == 12
    assert label.notes == ("RS.dcm: contours of a that enclose no area are left out: 1 POINT",)


def test_a_contour_may_lie_a_tenth_of_a_step_off(tmp_path: Path) -> None:
    assert drawn(tmp_path, {"a": [box(0.5, 0.5, 3.5, 2.5, 1.09)]}).array[0, 1].any()
    with pytest.raises(DataError, match="between slices"):
        drawn(tmp_path, {"a": [box(0.5, 0.5, 3.5, 2.5, 1.11)]})


def test_contours_between_slices(tmp_path: Path) -> None:
    # drawn at twice the density of slices: those between neighbours that have some are left out, and named
    dense = {"a": [box(0.5, 0.5, 4.5, 3.5, z) for z in (1, 1.5, 2, 2.5)]}
    label = drawn(tmp_path, dense)
    assert label.array.sum(axis=(0, 2, 3)).tolist() == [0, 12, 12, 0, 0]
    assert label.notes == ("RS.dcm: 2 contours of a between slices that have some, left out",)
    with pytest.raises(DataError, match=r"2 of 2 contours of a lie between slices .* 0.5 slices from the nearest"):
        drawn(tmp_path, {"a": [box(0.5, 0.5, 4.5, 3.5, z) for z in (1.5, 2.5)]})


def test_a_position_off_by_rounding_belongs_to_its_slice(tmp_path: Path) -> None:
    label = drawn(tmp_path, {"a": [box(0.5, 0.5, 4.5, 3.5, 1.09)]})
    assert label.array[0, 1].sum() == 12


def test_contours_outside_are_named_and_nothing_but_those_is_refused(tmp_path: Path) -> None:
    inside, beyond, aside = (
        box(0.5, 0.5, 4.5, 3.5, 1),
        box(0.5, 0.5, 4.5, 3.5, 9),
        box(20, 0, 24, 3, 1),
    )
    label = drawn(tmp_path, {"a": [inside, beyond, aside]})
    assert label.notes == ("RS.dcm: 2 contours of a lie outside of the scan",)
    with pytest.raises(DataError, match="all 2 contours lie outside"):
        drawn(tmp_path, {"a": [beyond, aside]})


def test_a_slice_left_out_between_others_is_named(tmp_path: Path) -> None:
    label = drawn(tmp_path, {"a": [box(0.5, 0.5, 4.5, 3.5, z) for z in (1, 3)]})
    assert label.notes == ("RS.dcm: a has no contour on 1 slice between others, the first is number 2 from 0",)


def test_contours_across_the_slices_are_refused(tmp_path: Path) -> None:
    leaning = [(1, 1, 1), (4, 1, 1), (4, 4, 2), (1, 4, 2)]
    with pytest.raises(DataError, match="extends over 1 slices"):
        drawn(tmp_path, {"a": [leaning]})


def test_contours_on_sagittal_planes_of_an_axial_grid(tmp_path: Path) -> None:
    upright = [(3, 0.5, 0.5), (3, 4.5, 0.5), (3, 4.5, 2.5), (3, 0.5, 2.5)]
    label = drawn(tmp_path, {"a": [upright]})
    assert np.argwhere(label.array[0])[:, 2].tolist() == [3] * 8


def test_without_a_scan_there_is_no_grid(tmp_path: Path) -> None:
    path = save(rtstruct({"a": [box(0, 0, 4, 4, 1)]}, grid()), tmp_path / "RS.dcm")
    with pytest.raises(DataError, match="its scan is not known"):
        read_label(path)


@pytest.mark.real
@pytest.mark.parametrize(("patient", "file"), [("pat_2", "DCM_RS_00041.dcm"), ("pat_3", "DCM_RS_00046.dcm")])
def test_the_volume_is_that_of_the_contours(data_dir: Path, patient: str, file: str) -> None:
    import pydicom

    path = data_dir / "lung_ct_dicom" / patient / file
    label = read_label(path, Reading(segments={"gtv-1": 1}))  # on the series beside it, to which it refers
    area = 0.0
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        x, y, _ = np.array(contour.ContourData, float).reshape(-1, 3).T
        area += abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    exact_ml = area * label.spacing_mm[0] / 1000
    assert label.voxel_volume_ml is not None
    assert label.array.sum() * label.voxel_volume_ml == pytest.approx(exact_ml, rel=0.02)
    assert np.array_equal(label.array[0] > 0, _with_matplotlib(path, label))


def _with_matplotlib(path: Path, lies: Image) -> np.ndarray:
    """The same contours through another implementation, point by point."""
    import pydicom
    from matplotlib.path import Path as Outline

    z, y, x = lies.shape_zyx
    inside = np.zeros((z, y, x), bool)
    centres = np.stack(np.meshgrid(np.arange(x), np.arange(y)), axis=-1).reshape(-1, 2)
    back = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ lies.affine)
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3) @ back[:3, :3].T + back[:3, 3]
        inside[round(points[0, 2])] ^= Outline(points[:, :2]).contains_points(centres).reshape(y, x)
    return inside


@pytest.mark.real
def test_nothing_of_the_patient_is_in_messages(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "lung_ct_dicom" / "pat_2" / "DCM_RS_00041.dcm"
    far = read_image(data_dir / "hippocampus_dicom" / "mr_study1" / "1.dcm")
    with pytest.raises(DataError) as caught:
        read_label(path, Reading(segments={"GTV-1": 1}), far)
    assert "1.3.6.1" not in str(caught.value)


@pytest.mark.parametrize("step_mm", [0.625, 1.0, 1.25, 3.0])
@pytest.mark.parametrize("offset_mm", [-0.1341, 0.1341])
def test_contours_a_little_beside_their_slices_belong_to_them(tmp_path: Path, step_mm: float, offset_mm: float) -> None:
    lies = grid(step_mm=step_mm)
    boxes = [box(1.5, 0.5, 4.5, 3.5, z + offset_mm / step_mm) for z in range(5)]
    label = drawn(tmp_path, {"GTV": boxes}, lies)
    assert (label.array[0] == 1).sum((1, 2)).tolist() == [9] * 5
    assert any("0.13 mm beside their slices" in note for note in label.notes) == (step_mm < 1.3)


@pytest.mark.parametrize(("step_mm", "offset_mm"), [(0.3, 0.12), (1.0, 0.25), (3.0, 0.4)])
def test_contours_far_beside_their_slices_are_refused(tmp_path: Path, step_mm: float, offset_mm: float) -> None:
    with pytest.raises(DataError, match="lie between slices"):
        drawn(tmp_path, {"GTV": [box(1.5, 0.5, 4.5, 3.5, 2 + offset_mm / step_mm)]}, grid(step_mm=step_mm))


def test_a_contour_whose_coordinates_are_no_points_is_refused(tmp_path: Path) -> None:
    dataset = rtstruct({"GTV": [box(1.5, 0.5, 4.5, 3.5, 2)]}, grid())
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = contour.ContourData[:-1]
    path = save(dataset, tmp_path / "RS.dcm")
    with pytest.raises(DataError, match=r"a contour of GTV has 11 coordinates, which are no points"):
        read_label(path, Reading(segments={"GTV": 1}), grid())


def test_contours_of_a_structure_without_a_name_are_refused(tmp_path: Path) -> None:
    dataset = rtstruct({"GTV": [box(1.5, 0.5, 4.5, 3.5, 2)], "CTV": [box(1.5, 0.5, 4.5, 3.5, 1)]}, grid())
    del dataset.StructureSetROISequence[1]
    path = save(dataset, tmp_path / "RS.dcm")
    with pytest.raises(DataError, match=r"RS\.dcm has contours of the ROI 8, which its list of structures does not"):
        read_label(path, Reading(segments={"GTV": 1}), grid())
