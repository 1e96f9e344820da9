"""FreeSurfer's volumes, as nibabel writes them."""

import nibabel as nib
import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.images import read_image, read_label, write_label

CORONAL = np.array([[-1.0, 0, 0, 128], [0, 0, 1.2, -128], [0, -1, 0, 128], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", ["mgh", "mgz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_types_and_frames(tmp_path, suffix, dtype):
    stored = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    nib.save(nib.MGHImage(stored, CORONAL), tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array, stored.T)
    np.testing.assert_allclose(image.affine, CORONAL, atol=1e-5)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}", frame=4).array[0], stored[..., 4].T)


def test_without_a_geometry_it_is_refused(tmp_path):
    nib.save(nib.MGHImage(np.zeros((4, 4, 4), np.uint8), CORONAL), tmp_path / "a.mgh")
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[28:30] = bytes(2)  # the flag that says that a geometry follows
    (tmp_path / "a.mgh").write_bytes(data)
    with pytest.raises(DataError, match="does not say where its voxels lie"):
        read_image(tmp_path / "a.mgh")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], np.uint8), ([0, 256], np.int16), ([0, 40000], np.int32), ([-1, 2], np.int16), ([-200, 2], np.int16)],
)
def test_labels_are_written_in_the_smallest_type_that_the_format_has(tmp_path, values, dtype):
    write_label(tmp_path / "a.mgz", Image(np.array(values).reshape(1, 1, 1, 2), CORONAL))
    assert nib.load(tmp_path / "a.mgz").get_data_dtype().newbyteorder("=") == dtype
    assert read_label(tmp_path / "a.mgz").array.ravel().tolist() == values


def test_values_beyond_its_types_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot hold the label values 0 to 3000000000"):
        write_label(tmp_path / "a.mgz", Image(np.array([0, 3_000_000_000]).reshape(1, 1, 1, 2), CORONAL))
