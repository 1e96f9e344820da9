"""Images to and from SimpleITK: values, axis order, LPS and RAS, vector pixels, 2D, sheared grids."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.core.errors import DataError
from medseg.core.image import Image

OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)
SHEARED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.6, 0.0, 0.0, 0.8)
MIRRORED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def made(array: np.ndarray, direction: tuple[float, ...] = MIRRORED, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=vector)
    dimensions = image.GetDimension()
    image.SetSpacing((0.7, 1.3, 2.1)[:dimensions])
    image.SetOrigin((-31.7, 12.3, 7.1)[:dimensions])
    image.SetDirection(direction if dimensions == 3 else (0.6, -0.8, 0.8, 0.6))
    return image


def assert_same(image: sitk.Image, other: sitk.Image, exact: bool) -> None:
    assert image.GetPixelIDTypeAsString() == other.GetPixelIDTypeAsString()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(other))
    # an oblique direction is divided by its length again: a few units in the last place
    tolerance = 0.0 if exact else 4 * np.finfo(float).eps
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(image, of)(), getattr(other, of)(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TYPES)
def test_values_come_back_in_their_type(dtype):
    array = (np.random.default_rng(0).random((2, 3, 4)) * 100).astype(dtype)
    image = Image.from_sitk(made(array))
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0], array)
    assert_same(image.to_sitk(), made(array), exact=True)


@pytest.mark.parametrize("direction", [OBLIQUE, SHEARED, MIRRORED])
def test_a_voxel_lies_where_itk_says(direction):
    stored = made(np.zeros((4, 3, 2), np.int16), direction)
    image = Image.from_sitk(stored)
    for index in [(0, 0, 0), (1, 2, 3), (1, 0, 2)]:
        x, y, z = stored.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(image.affine @ (*index, 1), (-x, -y, z, 1), atol=1e-12)
    assert_same(image.to_sitk(), stored, exact=direction == MIRRORED)


def test_vector_pixels_are_channels():
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    image = Image.from_sitk(made(array, vector=True))
    np.testing.assert_array_equal(image.array, np.moveaxis(array, -1, 0))
    assert_same(image.to_sitk(), made(array, vector=True), exact=True)


@pytest.mark.parametrize("vector", [False, True])
def test_a_2d_image_is_one_slice(vector):
    array = np.arange(3 * 4 * (2 if vector else 1), dtype=np.int16).reshape(3, 4, *[2] * vector)
    stored = made(array, vector=vector)
    image = Image.from_sitk(stored)
    assert image.array.shape == (2 if vector else 1, 1, 3, 4)
    assert image.spacing_mm[0] == 1
    np.testing.assert_allclose(image.affine @ (0, 0, 1, 0), (0, 0, 1, 0), atol=1e-15)
    assert_same(image.to_sitk(dimensions=2), stored, exact=False)
    assert image.to_sitk().GetSize() == (4, 3, 1)


def test_a_copy_is_made():
    array = np.zeros((1, 2, 3, 4), np.int16)
    image = Image(array, np.eye(4))
    stored = image.to_sitk()
    array[:] = 7
    again = Image.from_sitk(stored)
    stored[0, 0, 0] = 5
    assert not again.array.any()
    again.array[:] = 1  # writable


def test_what_sitk_lacks():
    assert Image(np.ones((1, 1, 2, 2), bool), np.eye(4)).to_sitk().GetPixelID() == sitk.sitkUInt8
    unknown = Image(np.zeros((1, 1, 2, 2), np.uint8), np.eye(4), spacing_known=False).to_sitk()
    assert unknown.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (sitk.Image(), "has the size"),
        (sitk.Image((2, 2, 2, 2), sitk.sitkInt16), "expected two or three dimensions"),
        (sitk.Image((2, 2), sitk.sitkComplexFloat32), "complex"),
        (sitk.Image((2, 2), sitk.sitkLabelUInt8), "label of"),
    ],
)
def test_images_that_are_no_scans_are_refused(image, message):
    with pytest.raises(DataError, match=message):
        Image.from_sitk(image)


def test_two_dimensions_need_one_flat_slice():
    with pytest.raises(ValueError, match="does not have 2 dimensions"):
        Image(np.zeros((1, 2, 3, 4)), np.eye(4)).to_sitk(dimensions=2)
    turned = Image(np.zeros((1, 1, 3, 4)), np.eye(4)[[0, 2, 1, 3]])
    with pytest.raises(ValueError, match="not parallel"):
        turned.to_sitk(dimensions=2)
