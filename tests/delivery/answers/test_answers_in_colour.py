"""Answers in colour: palettes keep the label values, and overlays show structures in the colours of all pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from medseg.core.case import Case
from medseg.core.colours import rgb_number
from medseg.core.errors import DataError, PlanError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.pictures import Pictures, palette_of
from medseg.delivery.pictures.overlay import draw_overlay
from medseg.delivery.pictures.slices import largest_slices
from medseg.io.formats.raster import write_with_palette
from medseg.io.images import read_label

ORGANS = Labels(structures={"liver": 3, "spleen": 200})


def flat(array, known=False):
    """A 2D image of one or more channels."""
    stored = np.asarray(array)
    return Image(stored.reshape(-1, 1, *stored.shape[-2:]), np.eye(4), spacing_known=known)


def test_pixels_of_a_palette_png_are_the_label_values_and_its_palette_has_the_colours(tmp_path):
    values = np.array([[0, 3, 200], [200, 0, 3]], np.uint8)
    write_with_palette(tmp_path / "a.png", flat(values), palette_of(ORGANS))
    assert read_label(tmp_path / "a.png").array[0, 0].tolist() == values.tolist()
    picture = pillow.open(tmp_path / "a.png")
    assert np.asarray(picture).tolist() == values.tolist()
    shown = np.asarray(picture.convert("RGB"))
    assert [tuple(pixel) for pixel in shown[0].tolist()] == [(0, 0, 0), rgb_number(0), rgb_number(1)]


def test_a_palette_that_cannot_hold_the_values_is_refused_before_anything_is_segmented():
    for labels in (Labels(structures={"liver": 256}), Labels(structures={"liver": -1})):
        with pytest.raises(PlanError, match="0 to 255"):
            Pictures(palette=True).check(labels)
        Pictures(overlay=True).check(labels)
    with pytest.raises(DataError, match="0 to 255"):
        write_with_palette(Path("a.png"), flat(np.array([[300]])), {})
    with pytest.raises(DataError, match="one slice"):
        write_with_palette(Path("a.png"), Image(np.zeros((1, 2, 3, 3), np.uint8), np.eye(4)), {})


def test_only_png_has_a_palette_and_only_where_it_is_asked_for(tmp_path):
    assert Pictures(palette=True).has_palette(tmp_path / "a.PNG")
    assert not Pictures(palette=True).has_palette(tmp_path / "a.nii.gz")
    assert not Pictures().has_palette(tmp_path / "a.png")


def test_an_overlay_of_a_colour_image_outlines_structures_in_their_colours(tmp_path):
    scan = flat(np.full((3, 400, 500), 100, np.uint8))
    values = np.zeros((400, 500), np.uint8)
    values[50:150, 50:150] = 3
    values[200:300, 200:300] = 200
    (tmp_path / "overlay.png").write_bytes(draw_overlay(scan, flat(values), ORGANS).png)
    pixels = np.asarray(pillow.open(tmp_path / "overlay.png"))
    assert pixels.shape[1] >= 500  # pixel by pixel
    for number in (0, 1):
        outline = (pixels == rgb_number(number)).all(axis=-1).sum()
        assert 4 * 99 <= outline < 4 * 99 + 300  # the outline of a square of 100 pixels, and the legend's little square
    inside = np.array(0.7 * 100 + 0.3 * np.array(rgb_number(0)))
    assert (abs(pixels - inside) <= 1).all(axis=-1).sum() == 98 * 98


def test_of_a_volume_the_slices_are_drawn_where_structures_are_largest():
    values = np.zeros((1, 6, 8, 8), np.uint8)
    values[0, 1, :2] = 3
    values[0, 2, :4] = 3
    values[0, 4, 2:] = 200
    slices = largest_slices(Image(values, np.eye(4)), ORGANS, 4)
    assert [(shown.plane.index, shown.names) for shown in slices] == [(2, ("liver",)), (4, ("spleen",))]
    assert [shown.plane.index for shown in largest_slices(Image(values * 0, np.eye(4)), ORGANS, 4)] == [3]  # the middle


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_scans_of_all_kinds_are_drawn(channels):
    array = np.random.default_rng(0).normal(size=(channels, 5, 9, 7)).astype(np.float32)
    scan = Image(array, np.diag([1.0, 1.0, 5.0, 1.0]))
    answer = scan.with_array(np.zeros((1, 5, 9, 7), np.uint8))
    assert draw_overlay(scan, answer, ORGANS).png.startswith(b"\x89PNG")


def test_overlays_are_named_before_they_are_written_and_read_the_scan_again(tmp_path):
    from builders import make_plan

    pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    case = Case("a", "a", (tmp_path / "a.png",))
    pictures = Pictures(overlay=True, data=make_plan(2).data)
    answer = flat(np.full((8, 8), 3, np.uint8))
    written = pictures.write(case, answer, tmp_path / "out", ORGANS)
    assert written == pictures.files(case, tmp_path / "out") == [tmp_path / "out" / "overlays" / "a.png"]
    assert written[0].exists()
    assert Pictures().write(case, answer, tmp_path / "out", ORGANS) == []
