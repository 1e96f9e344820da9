"""Soft masks among whole numbers: smoothed edges are found, structures are not mistaken for them."""

import io

import numpy as np
import pytest
from PIL import Image as pillow
from scipy import ndimage

from medseg.io.images import read_label
from medseg.io.values.soft import interior, is_soft

DISC = (np.hypot(*np.mgrid[-24:25, -24:25]) < 15).astype(np.uint8)


def jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    pillow.fromarray(mask).save(stream, "JPEG", quality=quality)
    return np.asarray(pillow.open(stream))


def resized(mask: np.ndarray, factor: float, method: pillow.Resampling) -> np.ndarray:
    size = [round(length * factor) for length in mask.shape[::-1]]
    return np.asarray(pillow.fromarray(mask).resize(size, method))


def test_the_interior_is_what_equals_its_four_neighbours():
    pixels = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [1, 1, 3, 2]])
    assert interior(pixels).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    "blur",
    [
        lambda mask: jpeg(mask, 50),
        lambda mask: jpeg(mask, 90),
        lambda mask: resized(mask, 0.5, pillow.Resampling.BOX),
        lambda mask: resized(mask, 1.7, pillow.Resampling.BILINEAR),
        lambda mask: resized(mask, 0.7, pillow.Resampling.LANCZOS),
        lambda mask: ndimage.gaussian_filter(mask, 2),
    ],
)
def test_blur_of_every_kind_is_found(blur):
    assert is_soft(blur(DISC * 255))


TWO = np.pad(DISC, ((0, 0), (0, 60))) * 127 + np.pad(DISC, ((0, 0), (60, 0))) * 254


@pytest.mark.parametrize(
    "blur",
    [
        lambda mask: resized(mask, 2, pillow.Resampling.BILINEAR),
        lambda mask: resized(mask, 1.7, pillow.Resampling.BICUBIC),
        lambda mask: resized(mask, 0.7, pillow.Resampling.LANCZOS),
        lambda mask: ndimage.gaussian_filter(mask, 2),
    ],
)
def test_blur_between_several_structures_is_found(blur):
    assert is_soft(blur(TWO.astype(np.uint8)))


def test_structures_with_thin_ones_between_them_are_not_soft():
    walls = ndimage.binary_dilation(TWO > 0) & (TWO == 0)
    assert not is_soft(np.where(walls, 60, TWO))
    rows = np.mgrid[:60, :60][0]
    layers = np.select([rows < 20, rows < 22, rows < 24, rows < 40, rows < 42], [0, 1, 2, 3, 4], 5)
    assert not is_soft(layers)


def test_clean_masks_are_not_soft():
    assert not is_soft(DISC * 255)
    assert not is_soft(DISC)
    assert not is_soft(np.zeros((5, 5), int))


def test_a_trimap_is_not_soft():
    unknown = ndimage.binary_dilation(DISC, iterations=1) & (DISC == 0)
    assert not is_soft(np.where(unknown, 128, DISC * 255))


def test_many_touching_structures_are_not_soft():
    rows, columns = np.mgrid[:60, :60] // 6
    assert not is_soft(rows * 10 + columns)


def test_scribbles_one_pixel_wide_are_not_soft():
    canvas = np.zeros((64, 64), np.uint8)
    for value in range(1, 7):
        canvas[8 * value, 5:60] = value
        canvas[8 * value - 3, 5:60] = 7 - value
    assert not is_soft(canvas)
    assert not is_soft(np.where(canvas == 0, 255, canvas))


@pytest.mark.real
@pytest.mark.parametrize("step", [1, 2, 4])
def test_real_label_maps_are_not_soft_on_coarse_grids_either(data_dir, step):
    organs = read_label(data_dir / "ct_many_structures/example_seg.nii.gz").array[0]
    tumour = read_label(data_dir / "brain_tumour/labelsTr/test_brats_2013_pat0001_1.nii.gz").array[0]
    assert np.unique(organs).size == 42
    assert not is_soft(organs[:, ::step, ::step])
    assert not is_soft(tumour[::step, ::step, ::step])


@pytest.mark.real
def test_real_masks_are_told_from_their_blurred_copies(data_dir):
    for path in sorted((data_dir / "nuclei/masks").iterdir())[:20]:
        mask = read_label(path).array[0, 0].astype(np.uint8)
        assert not is_soft(mask), path.name
        assert is_soft(jpeg(mask, 80)), path.name
        assert is_soft(resized(mask, 0.5, pillow.Resampling.BOX)), path.name
