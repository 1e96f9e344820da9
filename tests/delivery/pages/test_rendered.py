"""The page as a browser shows it: figures, charts and pictures are there, in light and in dark."""

import re

import numpy as np
import pytest
from browser import SCHEMES, chromium, dump, needs_chromium, screenshot

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.io.images import read_label, write_label

CASES = ("hippocampus_001", "hippocampus_003", "hippocampus_004", "hippocampus_007")
OPACITY = 0.45  # of the dots
DOTS = {"light": (0, 114, 178), "dark": (86, 180, 233)}  # colour of the first structure in charts

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    for shift, case in enumerate(CASES):
        path = data_dir / f"hippocampus/labelsTr/{case}.nii.gz"
        if path.is_file():
            label = read_label(path)
            write_label(folder / f"{case}.nii.gz", label.with_array(np.roll(label.array, shift, axis=2)))
    result = evaluate(folder, data_dir / "hippocampus", options=EvaluateOptions(allow_missing=True))
    return folder / "report.html", result.summary


@pytest.mark.real
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_shows_its_figures(page, scheme, tmp_path):
    path, _ = page
    shown = screenshot(path, tmp_path, 1100, 2600, scheme)
    ground = shown[5, 5].mean()
    assert ground > 240 if scheme == "light" else ground < 40
    dot = OPACITY * np.array(DOTS[scheme]) + (1 - OPACITY) * shown[5, 5]
    assert (np.abs(shown - dot).max(axis=-1) < 6).sum() > 40  # cases in the charts
    rows = (np.abs(shown - shown[5, 5]).max(axis=-1) > 30).any(axis=1)
    gaps = np.diff(np.flatnonzero(np.concatenate([[True], rows, [True]])))
    assert gaps[:-1].max() < 160  # no empty panel before the end


@pytest.mark.real
def test_every_figure_of_the_summary_stands_on_the_page(page, tmp_path):
    path, summary = page
    text = dump(path, tmp_path)
    for structure in summary.structures.values():
        dice = structure.figures["dice"]
        assert f"{dice.mean:.3f} [{dice.low:.3f}," in text
    assert text.count("<svg") == 3  # Dice, HD95, NSD
    assert text.count('src="data:image/png;base64,') == 3  # worst, median and best
    for word in ("Worst case", "Median case", "Best case", "Confusion between structures", "95 % interval"):
        assert word in text


@pytest.mark.real
def test_folded_tables_are_printed(page, tmp_path):
    path, _ = page
    unfolded = tmp_path / "open.html"
    unfolded.write_text(path.read_text().replace("<details>", "<details open>"))
    pages = []
    for number, source in enumerate((path, unfolded)):
        printed = tmp_path / f"{number}.pdf"
        chromium(source, tmp_path, f"--print-to-pdf={printed}")
        pages.append(len(re.findall(rb"/Type /Page\b", printed.read_bytes())))
    assert pages[0] == pages[1] > 1
