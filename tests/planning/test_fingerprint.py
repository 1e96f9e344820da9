"""The fingerprint, on volumes small enough to count by hand and on real data."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from medseg.core.errors import Cancelled, DataError
from medseg.core.labels import Labels
from medseg.engines.engine import ThisProcess
from medseg.io.layouts.find import find_cases, infer_labels
from medseg.planning.fingerprint import fingerprint_of
from medseg.planning.survey import survey

# x runs to the left, and the array's slowest axis to anterior: spacings z, y, x are 4, 3, 2 mm as stored
TURNED = np.array([[-2.0, 0, 0, 0], [0, 0, 4, 0], [0, 3, 0, 0], [0, 0, 0, 1]])


def take_fingerprint(data, orientation, *others):
    return fingerprint_of(survey(data, orientation, *others), data, orientation)


def volume(shape, *boxes, dtype=np.int16):
    """Zeros with values in boxes: ((z0, z1), (y0, y1), (x0, x1), value)."""
    array = np.zeros(shape, dtype)
    for *limits, value in boxes:
        array[tuple(slice(*limit) for limit in limits)] = value
    return array


@pytest.fixture
def make_pairs(tmp_path, save_nifti):
    def make(affine=None, **cases):
        for name, (image, label) in cases.items():
            save_nifti(tmp_path / f"images/{name}.nii.gz", image, affine)
            save_nifti(tmp_path / f"labels/{name}.nii.gz", label, affine)
        return find_cases(tmp_path)

    return make


def two_cases():
    image = volume((4, 5, 6), ((1, 3), (2, 4), (0, 6), 10), ((1, 2), (2, 3), (0, 1), 40))
    label = volume((4, 5, 6), ((1, 2), (2, 3), (0, 2), 1), dtype=np.uint8)  # on 40 and 10
    other = volume((4, 5, 6), ((0, 4), (0, 5), (0, 6), 20))
    return {"a": (image, label), "b": (other, label * 3)}


def test_worked_example(make_pairs):
    fingerprint = take_fingerprint(make_pairs(**two_cases()), "stored")
    a, b = fingerprint.cases
    assert (a.id, a.spacing_mm, a.shape_voxels, a.cropped_voxels) == ("a", (1, 1, 1), (4, 5, 6), (2, 2, 6))
    assert (a.relative_size, b.relative_size, fingerprint.relative_size) == (0.2, 1, 0.6)
    assert (a.voxels, b.voxels) == ({0: 118, 1: 2}, {0: 118, 3: 2})
    assert fingerprint.values == [0, 1, 3]
    (intensity,) = fingerprint.intensities
    assert (intensity.mean, intensity.min, intensity.max, intensity.median) == (22.5, 10, 40, 20)
    assert intensity.std == pytest.approx(np.std([10, 40, 20, 20]))
    assert (fingerprint.is_2d, fingerprint.spacing_known, fingerprint.problems) == (False, True, {})


@pytest.mark.parametrize(
    ("orientation", "spacing", "shape", "cropped"),
    [("stored", (4, 3, 2), (4, 5, 6), (2, 2, 6)), ("canonical", (3, 4, 2), (5, 4, 6), (2, 2, 6))],
)
def test_orientation(make_pairs, orientation, spacing, shape, cropped):
    case = take_fingerprint(make_pairs(affine=TURNED, **two_cases()), orientation).cases[0]
    assert (case.spacing_mm, case.shape_voxels, case.cropped_voxels) == (spacing, shape, cropped)
    assert case.voxel_ml == pytest.approx(0.024)


def test_the_crop_keeps_what_any_channel_has(make_pairs):
    channels = np.stack(
        [volume((4, 4, 4), ((0, 1), (1, 2), (1, 2), 5)), volume((4, 4, 4), ((2, 3), (1, 3), (1, 2), 7))]
    )
    label = volume((4, 4, 4), ((0, 4), (0, 4), (0, 4), 1), dtype=np.uint8)
    fingerprint = take_fingerprint(make_pairs(a=(channels, label)), "stored")
    assert fingerprint.cases[0].cropped_voxels == (3, 2, 1)
    assert [intensity.mean for intensity in fingerprint.intensities] == pytest.approx(
        [5 / 6, 14 / 6]
    )  # inside the box only


def test_an_image_of_zeros_keeps_its_grid(make_pairs):
    fingerprint = take_fingerprint(
        make_pairs(**two_cases(), z=(volume((2, 2, 2)), volume((2, 2, 2), dtype=np.uint8))), "stored"
    )
    assert (fingerprint.cases[2].cropped_voxels, fingerprint.cases[2].voxels) == ((2, 2, 2), {0: 8})
    assert fingerprint.intensities[0].mean == 22.5  # a case without foreground has no part in it


def test_declared_background_and_ignore_are_no_foreground(make_pairs):
    image = volume((1, 2, 4), ((0, 1), (0, 1), (0, 4), 0))
    image[0, 0] = [1, 2, 3, 4]
    label = volume((1, 2, 4), dtype=np.uint8)
    label[0, 0] = [7, 1, 9, 1]
    label[0, 1] = 7
    data = replace(make_pairs(a=(image, label)), labels=Labels(structures={"organ": 1}, background=7, ignore=9))
    fingerprint = take_fingerprint(data, "stored")
    assert (fingerprint.intensities[0].min, fingerprint.intensities[0].max, fingerprint.intensities[0].mean) == (
        2,
        4,
        3,
    )
    assert fingerprint.structures_of(data.labels) == {"a": {"organ"}}


def test_structures_of_regions(make_pairs):
    fingerprint = take_fingerprint(make_pairs(**two_cases()), "stored")
    labels = Labels(
        structures={"whole": [1, 2, 3], "core": [2, 3], "rim": [1]}, activation="sigmoid", region_values=[3, 2, 1]
    )
    assert fingerprint.structures_of(labels) == {"a": {"whole", "rim"}, "b": {"whole", "core"}}


@pytest.mark.parametrize(
    ("values", "dtype", "counts"),
    [
        ([0, 5, 5], np.uint8, {0: 1, 5: 2}),
        ([-3, 0, -3], np.int16, {-3: 2, 0: 1}),
        ([0, 70_000, 70_000], np.int32, {0: 1, 70_000: 2}),
    ],
)
def test_values_of_every_kind_are_counted(make_pairs, values, dtype, counts):
    fingerprint = take_fingerprint(
        make_pairs(a=(np.ones((1, 1, 3), np.int16), np.array([[values]], dtype=dtype))), "stored"
    )
    assert fingerprint.cases[0].voxels == counts


def test_more_voxels_than_one_block_are_counted(make_pairs):
    label = np.zeros((3, 700, 700), np.uint8)
    label[:, 0, 0] = 2
    fingerprint = take_fingerprint(make_pairs(a=(label, label)), "stored")
    assert fingerprint.cases[0].voxels == {0: 1_469_997, 2: 3}


def test_bad_cases_are_named_and_left_out(make_pairs, tmp_path, save_nifti):
    good = two_cases()
    data = make_pairs(**good, cut=good["a"], shape=(good["a"][0], volume((4, 5, 5), dtype=np.uint8)))
    path = tmp_path / "images/cut.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    fingerprint = take_fingerprint(data, "canonical")
    assert [case.id for case in fingerprint.cases] == ["a", "b"]
    assert sorted(fingerprint.problems) == ["cut", "shape"]
    assert "cut.nii.gz is incomplete" in fingerprint.problems["cut"]
    assert "different grids" in fingerprint.problems["shape"]


def test_undeclared_values_are_named(make_pairs):
    data = replace(make_pairs(**two_cases()), labels=Labels(structures={"organ": 1}))
    fingerprint = take_fingerprint(data, "stored")
    assert [case.id for case in fingerprint.cases] == ["a"]
    assert "holds the label value 3, which no structure declares" in fingerprint.problems["b"]


def test_no_usable_case_is_an_error(make_pairs, tmp_path):
    data = make_pairs(**two_cases())
    for path in (tmp_path / "labels").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the cases .* \(2\)\. The first:\na: .*a\.nii\.gz is empty"):
        take_fingerprint(data, "stored")


def test_no_foreground_is_an_error(make_pairs):
    image, label = two_cases()["a"]
    with pytest.raises(DataError, match=r"None of the \d+ label files .* marks anything"):
        take_fingerprint(make_pairs(a=(image, label * 0)), "stored")


@pytest.mark.parametrize(("shape", "is_2d"), [((1, 5, 6), True), ((4, 5, 1), True), ((2, 5, 6), False)])
def test_single_slices_are_2d(make_pairs, shape, is_2d):
    ones = np.ones(shape, np.uint8)
    assert take_fingerprint(make_pairs(a=(ones, ones), b=(ones, ones)), "stored").is_2d == is_2d


def test_slices_along_different_axes_are_not_2d(make_pairs):
    one, other = np.ones((1, 5, 6), np.uint8), np.ones((5, 1, 6), np.uint8)
    assert not take_fingerprint(make_pairs(a=(one, one), b=(other, other)), "stored").is_2d


def test_pictures_have_no_volume(tmp_path, save_picture):
    save_picture(tmp_path / "images/a.png", np.full((3, 4, 3), 9))
    save_picture(tmp_path / "masks/a.png", [[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 0]])
    fingerprint = take_fingerprint(find_cases(tmp_path), "canonical")
    assert (fingerprint.spacing_known, fingerprint.cases[0].voxel_ml, fingerprint.is_2d) == (False, None, True)
    assert fingerprint.cases[0].voxels == {0: 11, 255: 1}
    assert [intensity.mean for intensity in fingerprint.intensities] == [9, 9, 9]


def test_progress_cancelling_and_another_executor(make_pairs):
    data, events = make_pairs(**two_cases()), []
    with ThreadPoolExecutor(1) as executor:
        fingerprint = take_fingerprint(data, "stored", events.append, ThisProcess(executor=executor))
    assert [(event.stage, event.done, event.total) for event in events] == [("fingerprint", n, 2) for n in range(3)]
    assert fingerprint == take_fingerprint(data, "stored")

    def cancel(event):
        if event.done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        take_fingerprint(data, "stored", cancel)


@pytest.mark.real
def test_hippocampus(data_dir):
    data = find_cases(data_dir / "hippocampus")
    fingerprint = take_fingerprint(data, "stored")
    assert (len(fingerprint.cases), fingerprint.problems, fingerprint.is_2d, fingerprint.spacing_known) == (
        200,
        {},
        False,
        True,
    )
    assert {tuple(case.voxels) for case in fingerprint.cases} == {(0, 1, 2)}
    assert fingerprint.relative_size == 1
    # nnU-Net v2.8.1 drew 100,000 voxels of each case: mean 20290.8, std 58010.9, median 358.83, 0.5 % 28, 99.5 % 271852
    (intensity,) = fingerprint.intensities
    assert intensity.mean == pytest.approx(20290.8, rel=2e-3)
    assert intensity.std == pytest.approx(58010.9, rel=2e-3)
    assert intensity.median == pytest.approx(358.83, rel=2e-3)
    assert intensity.percentile_00_5 == 28
    assert intensity.percentile_99_5 == pytest.approx(271852, rel=5e-3)


@pytest.mark.real
def test_brain_tumour(data_dir):
    data = find_cases(data_dir / "brain_tumour")
    fingerprint = take_fingerprint(data, "canonical")
    assert {case.shape_voxels for case in fingerprint.cases} == {(155, 240, 240)}
    assert all(
        fingerprint.structures_of(data.labels)[case.id] == {"whole_tumour", "tumour_core", "enhancing"}
        for case in data.cases
    )
    # nnU-Net v2.8.1, 2 million voxels of each case
    assert [intensity.mean for intensity in fingerprint.intensities] == pytest.approx([1.962, 0.2255], abs=2e-3)
    assert [intensity.std for intensity in fingerprint.intensities] == pytest.approx([1.6017, 1.5081], abs=2e-3)


@pytest.mark.real
@pytest.mark.parametrize(("folder", "cases"), [("nuclei", 140), ("cardiac2d", 260), ("membrane", 30)])
def test_pictures(data_dir, folder, cases):
    fingerprint = take_fingerprint(find_cases(data_dir / folder), "canonical")
    assert (len(fingerprint.cases), fingerprint.problems, fingerprint.is_2d, fingerprint.spacing_known) == (
        cases,
        {},
        True,
        False,
    )
    assert infer_labels(fingerprint.values).structures == {"foreground": 255}
