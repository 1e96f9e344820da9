"""The viewer as a browser shows it: a structure is seen where it lies, on the side where radiologists expect it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import dump, needs_chromium, screenshot

from medseg.core.image import Image
from medseg.delivery.viewer.scene import Scene, make_scene
from medseg.delivery.viewer.view_page import view_page, write_view

SIZE = (900, 600)
BLUE = (86, 180, 233)  # of the first structure


GRAPHICS = ("--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader", "--virtual-time-budget=60000")


def shown(page: Path, folder: Path) -> np.ndarray:
    """Return the pixels of a page (y, x, colour), 0 to 255, once its script has run."""
    return screenshot(page, folder, *SIZE, "dark", graphics=GRAPHICS)


def blue(pixels: np.ndarray) -> np.ndarray:
    """Return where pixels (y, x, colour) have the hue of the first structure, mixed with the scan or not."""
    red, green, other = (pixels[..., channel].astype(float) for channel in range(3))
    return (other - red > 50) & (other > green) & (green > red)


def volume_scene() -> Scene:
    """A structure at the patient's right, in front and below."""
    array = 50 + np.arange(40, dtype=np.int16)[None, None, None] * np.ones((1, 40, 40, 1), np.int16)
    label = np.zeros((1, 40, 40, 40), np.uint8)
    label[:, 4:16, 26:36, 26:36] = 1  # z low: below; y high: in front, as y runs to A; x high: right, as x runs to R
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    return make_scene("volume", Image(array, affine), {"answer": Image(label, affine)}, {1: "ball"})


@needs_chromium
@pytest.mark.slow
def test_a_structure_of_a_volume_is_where_it_lies(tmp_path: Path) -> None:
    page = view_page(volume_scene()).replace(
        'document.body.dataset.state = "ready";', 'document.body.dataset.state = "ready"; chooseView("axial");'
    )
    (tmp_path / "page.html").write_text(page)
    pixels = shown(tmp_path / "page.html", tmp_path)
    panel = pixels[90:, : SIZE[0] - 330]
    grey = np.abs(panel - panel[..., :1]).max(axis=-1) < 3
    scan_rows, scan_columns = np.nonzero(grey & (panel[..., 0] > 20))
    rows, columns = np.nonzero(blue(panel))
    assert len(rows) > 1000
    assert columns.mean() < scan_columns.mean(), "the patient's right is on the left"
    assert rows.mean() < scan_rows.mean(), "the front is on top"
    share = len(rows) / (len(rows) + len(scan_rows))
    assert share == pytest.approx(100 / 1600, rel=0.35)  # 10 x 10 of 40 x 40 voxels; crosshair and letters cover some


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_a_click_on_a_name_goes_to_the_structure(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    """However voxels are stored, the crosshair and the slice are where the structure lies."""
    array = np.zeros((1, 30, 40, 50), np.uint8)
    array[0, 4, 7, 9] = 1  # z, y, x: a voxel near a corner
    affine = np.diag([*signs, 1.0])
    scene = make_scene("volume", Image(array.astype(np.int16), affine), {"answer": Image(array, affine)}, {1: "dot"})
    expected = (affine @ [9, 7, 4, 1])[:3]
    page = view_page(scene).replace(
        'document.body.dataset.state = "ready";',
        'document.body.dataset.state = "ready"; document.title = "at " + viewer.where();',
    )
    (tmp_path / "page.html").write_text(page)
    content = dump(tmp_path / "page.html", tmp_path, graphics=GRAPHICS)
    title = re.search(r"<title>at ([-\d., e]+)</title>", content)
    assert title
    np.testing.assert_allclose([float(part) for part in title[1].split(",")], expected, atol=0.51)
    told = re.search(r"x (\S+), y (\S+), z (\S+) mm \(to the right, front, top\): 1\s+dot", content)
    assert told
    np.testing.assert_allclose([float(part) for part in told.groups()], expected, atol=0.51)


@needs_chromium
@pytest.mark.slow
def test_a_structure_of_a_picture_is_where_it_lies(tmp_path: Path) -> None:
    label = np.zeros((1, 1, 20, 40), np.uint8)
    label[0, 0, 5:15, 30:40] = 9  # on the right, as a picture shows it
    scan = Image(np.full((3, 1, 20, 40), 128, np.uint8), np.eye(4), spacing_known=False)
    write_view(tmp_path / "page.html", make_scene("picture", scan, {"mask": scan.with_array(label)}, {9: "cell"}))
    pixels = shown(tmp_path / "page.html", tmp_path)
    panel = pixels[60:, : SIZE[0] - 330]
    scan_only = np.abs(panel - 128).max(axis=-1) < 2
    mixed = np.abs(panel - (0.4 * 128 + 0.6 * np.array(BLUE))).max(axis=-1) < 3
    assert mixed.sum() / (mixed.sum() + scan_only.sum()) == pytest.approx(
        100 / 800, rel=0.1
    )  # the heading covers some of the picture
    assert np.nonzero(mixed)[1].min() > np.nonzero(scan_only)[1].mean()


@needs_chromium
@pytest.mark.slow
def test_a_click_on_a_name_shows_where_it_is_in_a_picture(tmp_path: Path) -> None:
    label = np.zeros((1, 1, 20, 40), np.uint8)
    label[0, 0, 5:15, 4:14], label[0, 0, 5:15, 30:34] = 1, 2
    scan = Image(np.full((3, 1, 20, 40), 200, np.uint8), np.eye(4), spacing_known=False)
    scene = make_scene("picture", scan, {"mask": scan.with_array(label)}, {1: "cell", 2: "other"})
    press = 'document.querySelectorAll("button.name")[0].click();'
    ready = 'document.body.dataset.state = "ready";'
    (tmp_path / "page.html").write_text(view_page(scene).replace(ready, ready + press))
    panel = shown(tmp_path / "page.html", tmp_path)[60:, : SIZE[0] - 330]
    mixed = np.abs(panel - (0.4 * 200 + 0.6 * np.array(BLUE))).max(axis=-1) < 3
    dark, white = np.abs(panel - 0.35 * 200).max(axis=-1) < 3, (panel == 255).all(axis=-1)
    assert mixed.sum() / (mixed.sum() + dark.sum()) == pytest.approx(100 / 748, rel=0.1)  # and a frame of 52 pixels
    assert white.sum() > 0.2 * mixed.sum()
    told = "document.getElementById('position').textContent"
    script = f'{press} const first = {told}; {press} document.title = "(" + first + "; " + {told} + ")";'
    (tmp_path / "page.html").write_text(view_page(scene).replace(ready, ready + script))
    ended = dump(tmp_path / "page.html", tmp_path, graphics=GRAPHICS)
    assert "(cell: x 4 to 13, y 5 to 14 (pixels from the upper left); )" in ended


def test_the_page_asks_for_nothing() -> None:
    """No address of another host stands in what a browser would load, and its policy forbids to load any."""
    page = view_page(volume_scene())
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", page)


def test_names_cannot_run(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    image = Image(np.ones((1, 3, 3, 3), np.uint8), np.eye(4))
    page = view_page(make_scene(evil, image, {evil: image}, {1: evil}))
    assert evil not in page
    assert page.count("<script>alert") == 0
