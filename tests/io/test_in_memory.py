"""Scans in memory become images, and answers come back in kind."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.in_memory import from_array, from_nibabel, scan_in_memory

AFFINE = np.array([[0.0, -2, 0, 5], [-1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def answered(scan: Any, channels: int = 1, **more: Any) -> Any:
    """What comes back for labels that are 1 where the first channel is above 9."""
    image, in_kind = scan_in_memory(scan, channels, **more)
    return in_kind(image.with_array((image.array[:1] > 9).astype(np.uint8)))


@pytest.mark.parametrize(
    ("array", "channels", "shape"),
    [
        (VOXELS, 1, (2, 3, 4)),
        (VOXELS[None], 1, (2, 3, 4)),
        (np.stack([VOXELS, VOXELS]), 2, (2, 3, 4)),
        (VOXELS[0], 1, (3, 4)),
        (VOXELS, 2, (3, 4)),
    ],
)
def test_an_array_is_answered_by_an_array_of_its_grid(array: np.ndarray, channels: int, shape: tuple) -> None:
    labels = answered(array, channels, spacing=(3, 1.5, 2)[-len(shape) :])
    assert isinstance(labels, np.ndarray)
    assert labels.shape == shape
    assert np.array_equal(labels, (array.reshape(-1, *shape)[0] > 9).astype(np.uint8))


def test_an_array_lies_as_simpleitks_arrays_do_and_says_so() -> None:
    sitk = pytest.importorskip("SimpleITK")
    scan = sitk.GetImageFromArray(VOXELS)
    scan.SetSpacing((2, 1.5, 3))
    image = from_array(VOXELS, spacing=(3, 1.5, 2))
    assert image.same_grid(Image.from_sitk(scan))
    assert image.axes == "LPS"
    assert "as SimpleITK's arrays lie" in image.warnings[0]
    assert from_array(VOXELS).warnings == ()
    assert not from_array(VOXELS).spacing_known
    assert from_array(VOXELS, spacing=np.array([3, 1.5, 2])).same_grid(image)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.MGHImage])
def test_an_image_of_nibabel_is_answered_by_one_on_its_grid(kind: type) -> None:
    scan = kind(np.asarray(VOXELS.T), AFFINE)
    if hasattr(scan.header, "set_sform"):
        scan.header.set_sform(AFFINE, code=2)
        scan.header.set_slope_inter(2, 0)
        scan.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"of the scan"))
    labels = answered(scan)
    assert isinstance(labels, kind if kind is not nib.MGHImage else nib.Nifti1Image)
    assert np.array_equal(labels.affine, scan.affine)
    assert labels.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(labels.dataobj), (VOXELS.T > 9))
    assert len(getattr(labels.header, "extensions", [])) == 0
    if kind is nib.Nifti1Image:
        assert int(labels.header["sform_code"]) == 2


def test_channels_and_units_of_nibabel() -> None:
    scan = nib.Nifti1Image(np.stack([VOXELS.T, VOXELS.T + 1], axis=-1).astype(np.float64), AFFINE)
    scan.header.set_xyzt_units("micron")
    image = from_nibabel(scan, 2)
    assert image.array.shape == (2, 2, 3, 4)
    assert image.array.dtype == np.float32
    assert image.spacing_mm == pytest.approx((0.003, 0.002, 0.0015))
    vectors = nib.Nifti1Image(np.asarray(scan.dataobj)[:, :, :, None], AFFINE)
    assert np.array_equal(from_nibabel(vectors, 2).array, image.array)
    flat = answered(nib.Nifti1Image(VOXELS[:1].T, AFFINE))
    assert flat.shape == (4, 3, 1)


@pytest.mark.parametrize(
    ("scan", "more", "message"),
    [
        (VOXELS, {"spacing": (1, 1)}, "expected 3 numbers above 0"),
        (VOXELS, {"spacing": (1, 1, -1)}, "expected 3 numbers above 0"),
        (VOXELS, {"spacing": 1.0}, "expected 3 numbers above 0"),
        (VOXELS, {"channels": 2, "spacing": (1, 1, 1)}, "expected 2 numbers"),
        (np.zeros((3, 2, 3, 4)), {"channels": 2}, "has 3 channels; expected 2"),
        (np.zeros((30, 20, 4)), {"channels": 3}, r"Channels come first: numpy\.moveaxis\(array, -1, 0\)\[:3\]"),
        (np.zeros(3), {}, "expected numbers as"),
        (np.zeros((2, 3, 4), complex), {}, "expected numbers as"),
        (Image(VOXELS[None], np.eye(4)), {"spacing": (1, 1, 1)}, "expected it for arrays only"),
        (nib.Nifti1Image(np.zeros((2, 3, 4, 5)), AFFINE), {}, "has 5 channels"),
        (nib.Nifti1Image(np.zeros((2, 3, 4)), None), {}, "has no affine"),
        (nib.spatialimages.SpatialImage(np.zeros((2, 3, 4)), np.diag([1.0, 1, 0, 1])), {}, "without an inverse"),
        ({"scan": 1}, {}, "builtins.dict; expected a path"),
    ],
)
def test_what_is_no_scan_is_refused(scan: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        answered(scan, **more)
