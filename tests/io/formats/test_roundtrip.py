"""Labels written as the answer to a scan lie on its grid to the voxel: every format, all 48 axis orders."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats.table import FORMATS, answer_suffix
from medseg.io.images import read_image, read_label, write_label

ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
SPACING_XYZ = (0.7, 1.3, 2.5)
ORIGIN = (-31.5, 12.25, 7.125)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(axes: tuple[int, ...], signs: tuple[int, ...], degrees: float = 0.0) -> NDArray[np.float64]:
    """Stored axis i (x, y, z) runs along world axis `axes[i]`, forwards or backwards, then turned about two axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, stored] = sign * SPACING_XYZ[stored]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3, :3]
    affine[:3, 3] = ORIGIN
    return affine


def save_with_nibabel(path: Path, array: NDArray, affine: NDArray) -> None:
    kinds = {".mgz": nib.MGHImage, ".mgh": nib.MGHImage, ".hdr": nib.Nifti1Pair}
    nib.save(kinds.get(path.suffix, nib.Nifti1Image)(array.T, affine), path)


def save_with_itk(path: Path, array: NDArray, affine: NDArray) -> None:
    lps = LPS @ affine
    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))


def geometry_of(path: Path) -> tuple[object, ...]:
    """What the library of a format says of where the voxels lie, and the voxels (z, y, x)."""
    if path.name.endswith((".nii", ".nii.gz", ".hdr", ".mgz", ".mgh")):
        image = nib.load(path)
        codes = [int(image.header[key]) for key in ("sform_code", "qform_code") if key in image.header]
        return image.affine.tolist(), codes, np.asarray(image.dataobj).T
    image = sitk.ReadImage(str(path))
    return (image.GetSpacing(), image.GetOrigin(), image.GetDirection()), None, sitk.GetArrayFromImage(image)


SAVED_BY = {
    ".nii.gz": save_with_nibabel,
    ".nii": save_with_nibabel,
    ".hdr": save_with_nibabel,
    ".mgz": save_with_nibabel,
    ".mgh": save_with_nibabel,
    ".nrrd": save_with_itk,
    ".nhdr": save_with_itk,
    ".mha": save_with_itk,
    ".mhd": save_with_itk,
}


@pytest.mark.parametrize("suffix", SAVED_BY)
@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_48_axis_orders(tmp_path, suffix, degrees):
    rng = np.random.default_rng(0)
    for number, (axes, signs) in enumerate(ORDERS):
        affine = turned(axes, signs, degrees)
        array = rng.integers(-50, 50, (4, 3, 2), dtype=np.int16)
        scan = tmp_path / f"{number}{suffix}"
        SAVED_BY[suffix](scan, array, affine)
        image = read_image(scan)
        np.testing.assert_array_equal(image.array[0], array)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        labels = rng.integers(0, 3, (1, 4, 3, 2))
        answer = tmp_path / f"{number}_answer{answer_suffix(scan)}"
        write_label(answer, image.with_array(labels), like=scan)
        place, codes, _ = geometry_of(scan)
        again, codes_again, values = geometry_of(answer)
        assert (again, codes_again) == (place, codes), (axes, signs)
        np.testing.assert_array_equal(values, labels[0])
        back = read_label(answer)
        np.testing.assert_array_equal(back.affine, image.affine)
        np.testing.assert_array_equal(back.array, labels)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd", ".mha"])
@pytest.mark.parametrize("like", [True, False])
def test_sheared_grids_survive(tmp_path, suffix, like):
    affine = turned((1, 2, 0), (1, -1, 1), 10) @ np.array([[1, 0, 0.2, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    labels = Image(np.arange(24).reshape(1, 2, 3, 4) % 3, affine)
    write_label(tmp_path / f"a{suffix}", labels)
    scan = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(scan.affine, affine, atol=1e-4)
    write_label(tmp_path / f"b{suffix}", labels.with_array(labels.array + 1), tmp_path / f"a{suffix}" if like else None)
    back = read_label(tmp_path / f"b{suffix}")
    np.testing.assert_allclose(back.affine, scan.affine, atol=0 if like else 1e-4)
    np.testing.assert_array_equal(back.array, labels.array + 1)


@pytest.mark.parametrize("suffix", [".gipl", ".gipl.gz", ".tif", ".ome.tif"])
def test_formats_without_directions_keep_sizes_and_refuse_turned_grids(tmp_path, suffix):
    straight = np.diag([-0.5, -0.25, 2, 1]) if "gipl" in suffix else np.diag([0.5, 0.25, 2, 1])
    labels = Image(np.arange(24).reshape(1, 2, 3, 4), straight)
    write_label(tmp_path / f"a{suffix}", labels)
    back = read_label(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.array, labels.array)
    np.testing.assert_allclose(back.affine, straight, rtol=1e-7)
    write_label(tmp_path / f"b{suffix}", back, like=tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_label(tmp_path / f"b{suffix}").affine, back.affine)
    with pytest.raises(DataError, match="cannot say how the axes of this grid run"):
        write_label(tmp_path / f"c{suffix}", Image(labels.array, turned((1, 0, 2), (1, 1, 1))))


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd", ".mha", ".gipl"])
def test_an_answer_on_another_grid_than_its_scan_is_refused(tmp_path, suffix):
    labels = Image(np.ones((1, 2, 3, 4), int), np.diag([-0.5, -0.5, 2, 1]))
    write_label(tmp_path / f"a{suffix}", labels)
    moved = Image(labels.array, labels.affine + np.diag([0, 0, 0.5, 0]))
    with pytest.raises(DataError, match="another grid"):
        write_label(tmp_path / f"b{suffix}", moved, like=tmp_path / f"a{suffix}")
    assert not (tmp_path / f"b{suffix}").exists()


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd", ".mha", ".gipl", ".tif"])
@pytest.mark.parametrize("values", [[0, 1, 255], [0, 300], [0, 40000], [-3, 2], [0, 70000]])
def test_values_come_back_or_are_refused(tmp_path, suffix, values):
    labels = Image(np.array(values).reshape(1, 1, 1, -1), np.diag([-1.0, -1, 1, 1]) if suffix != ".tif" else np.eye(4))
    if suffix == ".gipl" and max(values) > 65535:
        with pytest.raises(DataError, match="cannot hold"):
            write_label(tmp_path / f"a{suffix}", labels)
        return
    write_label(tmp_path / f"a{suffix}", labels)
    assert read_label(tmp_path / f"a{suffix}").array.ravel().tolist() == values


def test_every_format_answers_in_one_that_is_written():
    for suffix in FORMATS:
        answer = answer_suffix(Path(f"a{suffix}"))
        assert answer_suffix(Path(f"a{answer}")) == answer


@pytest.mark.parametrize("suffix", [".jpg", ".gif", ".mnc", ".img", ".nhdr", ".mhd"])
def test_formats_that_are_not_written_name_the_one_that_is(tmp_path, suffix):
    with pytest.raises(DataError, match=rf"not written as {suffix}") as caught:
        write_label(tmp_path / f"a{suffix}", Image(np.zeros((1, 1, 2, 2), int), np.eye(4)))
    assert f"Write {answer_suffix(Path('a' + suffix))} instead" in str(caught.value)
