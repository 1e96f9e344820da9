"""Stacks that are not a regular volume are refused with the names of the slices; options resample them."""

from __future__ import annotations

import numpy as np
import pytest
from dicom.builders import AXIAL, OBLIQUE, SAGITTAL, normal_of, ramp, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

BOTH = DicomOptions(resample_tilt=True, allow_gaps=True)


def found(folder):
    (series,) = find_series(folder).series
    return series


def kinds(folder):
    return [problem.kind for problem in found(folder).problems]


def tilted(k, lean=0.5):
    """Slices 3 mm apart, each `lean` mm a mm further along y."""
    return (0.0, 3.0 * k * lean, 3.0 * k)


def linear(folder, positions, orientation=AXIAL, rows=8, columns=6):
    """A series whose values are a linear function of the place in the patient, which interpolation keeps."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    y, x = np.indices((rows, columns))
    array = []
    for position in positions:
        point = np.array(position) + x[..., None] * 1.5 * row + y[..., None] * 2.0 * column
        array.append(np.rint(point @ [3, 5, 7] * 10).astype(np.int16))
    return write_series(folder, np.stack(array), orientation=orientation, move=lambda k: positions[k])


def expected(image):
    """That function at the voxels of an image."""
    z, y, x = np.indices(image.shape_zyx)
    places = np.stack([x, y, z, np.ones_like(x)], -1) @ image.affine.T
    return (places[..., :3] * [-1, -1, 1]) @ [3, 5, 7] * 10


def test_a_missing_slice_is_named(tmp_path):
    linear(tmp_path, [(0, 0, z) for z in (0, 3, 9, 12, 15)])
    (problem,) = found(tmp_path).problems
    assert problem.kind == "missing slices"
    assert problem.message.startswith("1 slice missing at a step of 3 mm: between IM0001.dcm and IM0002.dcm")
    with pytest.raises(DataError, match="--allow-gaps"):
        read_volume(found(tmp_path))
    with pytest.raises(DataError, match="missing"):
        read_volume(found(tmp_path), DicomOptions(resample_tilt=True))


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_gaps_are_bridged_by_linear_interpolation(tmp_path, orientation):
    positions = [normal_of(orientation) * z + (5, 6, 7) for z in (0, 3, 9, 12, 21)]
    linear(tmp_path, positions, orientation)
    volume = read_volume(found(tmp_path), BOTH)
    assert volume.image.shape_zyx == (8, 8, 6)
    assert volume.image.spacing_mm == pytest.approx((3, 2, 1.5))
    np.testing.assert_allclose(volume.image.array[0], expected(volume.image), atol=1.1)
    assert [slice_ is None for slice_ in volume.source_slices] == [False, False, True, False, False, True, True, False]
    assert volume.record["resampled"]["slices interpolated"] == 3


def test_unequal_steps(tmp_path):
    linear(tmp_path, [(0, 0, z) for z in (0, 2, 4, 6, 9, 12, 15)])
    assert kinds(tmp_path) == ["unequal steps"]
    volume = read_volume(found(tmp_path), BOTH)
    assert volume.image.shape_zyx[0] == 9  # 15 mm in steps of about 2
    np.testing.assert_allclose(volume.image.array[0], expected(volume.image), atol=1.1)


@pytest.mark.parametrize(("jitter", "regular"), [(0.1, True), (0.4, False)])
def test_steps_may_differ_by_a_twentieth(tmp_path, jitter, regular):
    linear(tmp_path, [(0, 0, 3 * k + jitter * (k == 2)) for k in range(5)])
    assert (kinds(tmp_path) == []) == regular


def test_positions_with_one_decimal(tmp_path):
    linear(tmp_path, [(0, 0, round(0.625 * k + 1e-9, 1)) for k in range(20)])
    assert kinds(tmp_path) == []
    assert found(tmp_path).spacing_mm[0] == pytest.approx(0.625, abs=0.003)


def test_small_errors_of_every_step_do_not_add_up_unseen(tmp_path):
    """Steps that grow by a hundredth each: no two neighbours differ much, and the middle is half a slice off."""
    places = np.cumsum(1 + 0.01 * np.arange(40))
    linear(tmp_path, [(0, 0, z) for z in places])
    assert kinds(tmp_path) == ["unequal steps"]


def test_a_tilt_is_refused_and_undone(tmp_path):
    linear(tmp_path, [tilted(k) for k in range(5)])
    (problem,) = found(tmp_path).problems
    assert problem.kind == "gantry tilt"
    assert "26.6 degrees" in problem.message
    with pytest.raises(DataError, match="--resample-tilt"):
        read_volume(found(tmp_path), DicomOptions(allow_gaps=True))
    volume = read_volume(found(tmp_path), BOTH)
    image = volume.image
    assert np.allclose(image.affine[:3, 2], [0, 0, 3])
    assert image.shape_zyx == (5, 8 + 3, 6)  # 6 mm in rows of 2 mm
    inside = image.array[0] != image.array[0].min()
    np.testing.assert_allclose(image.array[0][inside], expected(image)[inside], atol=1.1)
    assert inside.sum() > 0.6 * inside.size


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("lean", [0.4, -0.31])
def test_labels_on_a_resampled_grid_go_back_to_the_slices(tmp_path, orientation, lean):
    """Labels of a function of place, on the resampled grid, come back as that function of each source pixel's place."""
    heights = [0, 3, 9, 12]
    column = np.array(orientation[3:])
    positions = [normal_of(orientation) * z + column * lean * z for z in heights]
    linear(tmp_path, positions, orientation, rows=30, columns=20)
    series = found(tmp_path)
    volume = read_volume(series, BOTH)
    z, y, x = np.indices(volume.image.shape_zyx)
    places = (np.stack([x, y, z, np.ones_like(x)], -1) @ volume.image.affine.T)[..., :3] * [-1, -1, 1]
    labels = (places @ column > 20).astype(np.uint8)
    back = volume.to_source(labels)
    assert back.shape == (4, 30, 20)
    y = np.arange(30)[None, :, None] * 2.0
    own = np.array([np.array(slice_.position) @ column for slice_ in series.slices])[:, None, None] + y
    wrong = back != (own > 20)
    assert (np.abs(np.broadcast_to(own, back.shape)[wrong] - 20) <= 1.01).all()  # half a pixel of 2 mm at most
    assert wrong.sum() < 0.05 * wrong.size


def test_to_source_is_the_identity_of_a_regular_series(tmp_path):
    write_series(tmp_path)
    volume = read_volume(found(tmp_path))
    assert volume.to_source(volume.image.array[0]) is not None
    np.testing.assert_array_equal(volume.to_source(volume.image.array[0]), ramp())
    with pytest.raises(ValueError, match="do not fit"):
        volume.to_source(np.zeros((1, 2, 3)))


def test_a_small_lean_stays_in_the_affine(tmp_path):
    write_series(tmp_path, move=lambda k: (0, 0.005 * 3 * k, 3 * k))
    image = read_volume(found(tmp_path)).image
    np.testing.assert_allclose(image.affine[:3, 2], [0, -0.015, 3], atol=1e-9)


@pytest.mark.parametrize(("shift_mm", "told"), [(0.07, []), (0.09, ["shifted slices"])])
def test_a_slice_may_be_shifted_by_a_twentieth_of_a_pixel(tmp_path, shift_mm, told):
    # pixels are 1.5 mm wide: 0.075 mm
    write_series(tmp_path, ramp(9), move=lambda k: (shift_mm * (k == 4), 0, 3 * k))
    assert kinds(tmp_path) == told


def test_a_slice_that_is_shifted_against_the_others(tmp_path):
    write_series(tmp_path, move=lambda k: (4.0 * (k == 2), 0, 3 * k))
    (problem,) = found(tmp_path).problems
    assert (problem.kind, problem.option) == ("shifted slices", None)
    assert "IM0002.dcm" in problem.message


def test_doubled_slices_are_never_accepted(tmp_path):
    write_series(tmp_path, move=lambda k: (0, 0, 3 * min(k, 3)))
    (problem,) = found(tmp_path).problems
    assert (problem.kind, problem.option) == ("doubled slices", None)
    assert "IM0003.dcm and IM0004.dcm" in problem.message
    with pytest.raises(DataError, match="IM0003"):
        read_volume(found(tmp_path), BOTH)


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("mixed orientations", {"ImageOrientationPatient": list(SAGITTAL)}),
        ("mixed orientations", {"ImageOrientationPatient": [1, 0, 0, 0, 0.999, 0.0447]}),
        ("mixed pixel spacings", {"PixelSpacing": [2.1, 1.5]}),
        ("mixed matrix sizes", {"Rows": 3, "PixelData": ramp()[0, :3].tobytes()}),
        ("mixed frames of reference", {"FrameOfReferenceUID": "1.2.3"}),
        ("bad orientation", {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}),
        ("no pixel spacing", {"PixelSpacing": None}),
        ("no position", {"ImagePositionPatient": None}),
    ],
)
def test_what_slices_have_to_share(tmp_path, kind, odd):
    write_series(tmp_path, each=lambda k: odd if k == 2 else {})
    assert kinds(tmp_path) == [kind]
    (problem,) = found(tmp_path).problems
    assert problem.option is None
    assert "IM0002.dcm" in problem.message
    with pytest.raises(DataError, match="cannot be read as a volume"):
        read_volume(found(tmp_path), BOTH)


def test_a_grid_of_mostly_invented_slices_is_never_made(tmp_path):
    write_series(tmp_path / "missing", move=lambda k: (0, 0, 3 * k + 30 * (k > 2)))
    write_series(tmp_path / "unequal", move=lambda k: (0, 0, [0, 1, 2, 30.3, 61][k]), series="other")
    problems = [one.problems[0] for one in find_series(tmp_path).series]
    assert [problem.option for problem in problems] == [None, None]


def test_a_stack_that_leans_more_than_any_gantry(tmp_path):
    write_series(tmp_path, move=lambda k: tilted(k, 2.0))
    assert found(tmp_path).problems[0].option is None


def test_positions_beyond_any_patient_are_refused(tmp_path):
    write_series(tmp_path, each=lambda k: {"ImagePositionPatient": [0, 0, "1e300"]} if k == 1 else {})
    assert kinds(tmp_path) == ["no position"]


def test_a_negative_thickness_is_ignored(tmp_path):
    write_series(tmp_path, ramp(1), SliceThickness=-3)
    assert read_volume(found(tmp_path)).image.spacing_mm[0] == 1.0


@pytest.mark.filterwarnings("error")
def test_directions_of_length_zero(tmp_path):
    write_series(tmp_path, ImageOrientationPatient=[0] * 6)
    assert kinds(tmp_path) == ["bad orientation"]
