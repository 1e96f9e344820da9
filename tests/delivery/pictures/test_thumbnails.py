"""Thumbnails: pixels that can be told by the voxels behind them."""

import io

import numpy as np
import pytest
from PIL import Image as pillow

from medseg.core.image import Image
from medseg.delivery.pictures.thumbnails import HEIGHT, thumbnail

BLUE, ORANGE = (86, 180, 233), (230, 159, 0)


def drawn(png):
    return np.asarray(pillow.open(io.BytesIO(png)))


def has(picture, colour):
    return bool((picture == colour).all(axis=-1).any())


def test_a_volume_has_three_planes_in_the_proportions_of_its_spacing():
    image = Image(np.arange(4 * 8 * 16, dtype=np.int16).reshape(1, 4, 8, 16), np.diag([1.0, 2, 4, 1]))
    png, words = thumbnail(image, None)
    picture = drawn(png)
    assert picture.shape == (HEIGHT, 3 * HEIGHT + 2 * 6, 3)  # 16 mm by 16 mm by 16 mm, and the gaps
    assert words == "axial, coronal, sagittal slices, without label"


def test_each_value_has_an_outline_of_its_colour():
    label = np.zeros((1, 20, 20), np.uint8)
    label[0, 2:12, 2:12], label[0, 14:18, 14:18] = 1, 7
    image = Image(np.zeros((1, 1, 20, 20), np.uint8), np.eye(4), spacing_known=False)
    png, words = thumbnail(image, label)
    picture = drawn(png)
    assert has(picture, BLUE)
    assert has(picture, ORANGE)
    scale = HEIGHT / 20
    assert tuple(picture[int(2.05 * scale), int(7 * scale)]) == BLUE  # the upper border of the first square
    assert tuple(picture[int(7 * scale), int(7 * scale)]) == (0, 0, 0)  # its inside is the scan
    assert words == "the image with the outline of the label values 1, 7"


def test_colours_stay_and_a_mask_that_fills_the_picture_has_a_frame():
    red = np.zeros((3, 1, 6, 6), np.uint8)
    red[0, 0, :3] = 255
    picture = drawn(thumbnail(Image(red, np.eye(4), spacing_known=False), np.ones((1, 6, 6), np.uint8))[0])
    assert tuple(picture[0, 0]) == BLUE
    assert tuple(picture[HEIGHT // 4, HEIGHT // 2]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("label", "background", "words"),
    [(0, 0, "the image; the label marks nothing"), (9, 9, "the image; the label marks")],
)
def test_a_label_that_marks_nothing(label, background, words):
    image = Image(np.ones((1, 1, 5, 5), np.float32), np.eye(4), spacing_known=False)
    png, caption = thumbnail(image, np.full((1, 5, 5), label), background)
    assert caption.startswith(words)
    assert not has(drawn(png), BLUE)


def test_long_and_constant_images_can_be_drawn():
    long = Image(np.zeros((1, 1, 3, 300), np.int16), np.eye(4), spacing_known=False)
    assert drawn(thumbnail(long, None)[0]).shape == (HEIGHT, 3 * HEIGHT, 3)
