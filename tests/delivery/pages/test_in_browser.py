"""Pages as a browser shows them: outlines lie where masks lie, tables sort, and nothing scrolls sideways."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from browser import asked, dump, needs_chromium, screenshot
from builders import make_plan

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.case_pages import CasePages, read_slices
from medseg.delivery.pages.blocks import Chart, Facts, Notes, Picture, Table
from medseg.delivery.pages.charts import Axis, Spread, line_chart, spread_chart
from medseg.delivery.pages.index_page import CaseShown, index_page
from medseg.delivery.pages.page import Page, Section, write_page

pytestmark = needs_chromium
BLUE = np.array([86, 180, 233])  # of the first structure
LONG = "vertebra_of_a_very_long_name_without_a_space_in_it"
ORGANS = Labels(structures={"ball": 1, LONG: 2})


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a white scan, with a structure at the patient's right and in the back."""
    folder = tmp_path_factory.mktemp("sheet")
    scan = np.full((40, 40, 20), 5, np.float32)  # x, y, z
    scan[:, :, :2] = 0  # black, so that the rest is white
    label = np.zeros((1, 20, 40, 40), np.uint8)
    label[0, 5:8, 6:14, 26:34] = 1
    label[0, 6, 4:16, 24:36] = 1  # where it is largest; x high is right, as x runs to R, and y low is the back
    nib.save(nib.Nifti1Image(scan, np.eye(4)), folder / "scan.nii.gz")
    case = Case("scan", "scan", (folder / "scan.nii.gz",))
    assert CasePages(True, 0, make_plan().data).write(case, Image(label, np.eye(4)), folder, ORGANS) == ""
    shown = CaseShown("scan", read_slices(case, folder), "", label.size, {"ball": 1.0, LONG: 0.0}, "ml", ["It is odd."])
    write_page(folder / "index.html", index_page("toy", [shown] * 3, {"torn": "x" * 300}, ORGANS))
    return folder / "index.html"


def extent(mask: np.ndarray) -> np.ndarray:
    """The first and last row and column in which a mask is true."""
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])


def test_the_outline_lies_where_the_mask_lies(sheet: Path, tmp_path: Path) -> None:
    pixels = screenshot(sheet, tmp_path, 1000, 1400, "dark")
    white = (pixels == 255).all(axis=-1)[:, :330]  # the scan on the first of three cards; no letter is quite white
    rows, columns = (np.flatnonzero(white.sum(axis=axis) > 60) for axis in (1, 0))
    (top, bottom), (left, right) = ((run[0], run[-1] + 1) for run in (rows, columns))
    assert bottom - top == pytest.approx(right - left, abs=2), "the picture is square, as the slice is"
    picture = pixels[top:bottom, left:right]
    blue = np.abs(picture - BLUE).max(axis=-1) < 70
    size = bottom - top
    assert size > 100
    np.testing.assert_allclose(extent(blue) / size, [24 / 40, 36 / 40, 4 / 40, 16 / 40], atol=0.02)
    assert not blue[int(0.65 * size) : int(0.85 * size), int(0.15 * size) : int(0.35 * size)].any(), "an outline alone"


def test_the_bundled_script_is_the_one_that_the_page_lets_run(sheet: Path, tmp_path: Path) -> None:
    assert dump(sheet, tmp_path).count("<button") == 4, "a button for each heading of the table of volumes"


def wide_page(folder: Path) -> Path:
    """A page with all kinds of blocks, and far too much in each."""
    spread = {LONG: Spread([1.0, 50.0], 31.4223, 10.797, 50.22)}
    lines: dict[str, list[tuple[float, float | None]]] = {f"{LONG}{n}": [(0, 0.1), (1000, 0.2)] for n in range(4)}
    rows = [["a", "10.5"], ["b", "9.25"], ["c", "–"], ["d", "< 0.001"], ["e", "100.0 (missed)"]]
    blocks = [
        Table("to sort", ["name", "size"], rows, foot=["mean", "0"]),
        Table(LONG, ["structure", *["Dice"] * 12], [[LONG, *["0.812 [0.790,\u00a00.845]"] * 12]]),
        Facts([("predictions", f"/data/{LONG}/{LONG}")]),
        Notes([LONG * 3], "warning"),
        Chart("spread", spread_chart("HD95", spread, Axis("mm"))),
        Chart("lines", line_chart("Dice", lines, Axis("steps"), Axis("Dice"))),
        Picture(LONG, "wide", next((folder / "view").rglob("*.png")).read_bytes(), "view/a.html", wide=True),
    ]
    write_page(folder / "wide.html", Page(LONG, LONG, [("0.8123", LONG)], [Section("one", "One", blocks)], [LONG]))
    return folder / "wide.html"


BEYOND = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;"
MEASURES = """
const charts = [...document.querySelectorAll(".chart")];
const letters = charts.map((chart) => 14 * chart.clientWidth / chart.viewBox.baseVal.width);
const cut = [...document.querySelectorAll(".chart text:not([transform])")].filter((text) => {
  const box = text.getBBox();
  return box.x < 0 || box.x + box.width > text.ownerSVGElement.viewBox.baseVal.width;
});
const {scrollWidth, clientWidth} = document.documentElement;
return [scrollWidth - clientWidth, ...letters, cut.map((text) => text.textContent)];
"""


def test_nothing_scrolls_sideways_on_a_telephone_and_letters_can_be_read(sheet: Path, tmp_path: Path) -> None:
    assert asked(sheet, tmp_path, BEYOND, 400) == 0
    beyond, *letters, cut = asked(wide_page(sheet.parent), tmp_path, MEASURES, 400)
    assert beyond == 0
    assert len(letters) == 2
    assert min(letters) > 11  # CSS pixels
    assert cut == []


def test_tables_sort_by_figures_and_back_and_say_so(sheet: Path, tmp_path: Path) -> None:
    script = (
        "const table = document.querySelector('table.sorts'), [name, size] = table.tHead.rows[0].cells, said = [];"
        "for (const head of [size, size, name]) { head.querySelector('button').click();"
        "said.push([[...table.rows].slice(1).map((row) => row.cells[0].textContent).join(' '),"
        "name.getAttribute('aria-sort'), size.getAttribute('aria-sort')]); } return said;"
    )
    assert asked(wide_page(sheet.parent), tmp_path, script, 800) == [
        ["d b a e c mean", None, "ascending"],
        ["e a b d c mean", None, "descending"],
        ["a b c d e mean", "ascending", None],
    ]
