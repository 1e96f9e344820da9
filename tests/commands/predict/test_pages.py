"""The pages of a folder of answers lead to each other, and to nothing that is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.pages import write_pages
from medseg.commands.predict.predict import load_predictors, predict_with
from medseg.commands.predict.result import PredictResult
from medseg.confidence.assessment import Assessment, StructureQuality
from medseg.core.case import Case
from medseg.delivery.answers.answer import Outcome
from medseg.delivery.answers.case_pages import CasePages
from medseg.delivery.provenance.manifest import describe_grid
from medseg.io.images import read_image

TO_QUALITY, TO_INDEX = 'href="quality.html"', 'href="index.html"'
GOOD = Assessment({"one": StructureQuality(0.95, 0.9, 0.98, 1.0, 2.0)}, ())


@pytest.fixture
def write(tmp_path: Path, write_scans: Callable[[Path, int], Path], small_model: Path) -> Callable[..., PredictResult]:
    """Write the pages of a scan that was answered, as if its answer had been judged."""
    scans, out, options = write_scans(tmp_path / "scans", 1), tmp_path / "out", PredictOptions(device="cpu", page=False)
    [predictor] = load_predictors(small_model, ".", options)
    result = replace(predict_with([predictor], scans, out, options), quality={"scan000": GOOD}, kept=("scan000",))
    scan = scans / "scan000_0000.nii.gz"
    about = {"grid": describe_grid(read_image(scan))}
    outcome = Outcome(Case("scan000", "", (scan,)), tuple(result.files.values()), {}, "ml", about=about)

    def written(wanted: bool = True) -> PredictResult:
        pages = CasePages(wanted, None, predictor.model.plan.data)
        return write_pages(out, scans, predictor.model, pages, result, [outcome])

    return written


def fail(*arguments: object) -> None:
    raise RuntimeError("no page today")


def test_each_page_leads_to_the_other(tmp_path: Path, write: Callable[..., PredictResult]) -> None:
    out = tmp_path / "out"
    assert write().page == out / "index.html"
    assert TO_QUALITY in (out / "index.html").read_text()
    assert TO_INDEX in (out / "quality.html").read_text()
    assert 'href="view/scan000.html"' in (out / "quality.html").read_text()


def test_there_is_no_way_to_a_page_that_was_not_asked_for(tmp_path: Path, write: Callable[..., PredictResult]) -> None:
    assert write(wanted=False).page is None
    assert TO_INDEX not in (tmp_path / "out" / "quality.html").read_text()
    assert not (tmp_path / "out" / "index.html").exists()


def test_there_is_no_way_to_a_page_of_someone_else(tmp_path: Path, write: Callable[..., PredictResult]) -> None:
    out = tmp_path / "out"
    (out / "index.html").write_text("<html>mine</html>")
    assert any("none of medseg's pages" in note for note in write().notes)
    assert TO_INDEX not in (out / "quality.html").read_text()


@pytest.mark.parametrize(("name", "other"), [("quality", "index"), ("index", "quality")])
def test_there_is_no_way_to_a_page_that_could_not_be_written(
    tmp_path: Path, write: Callable[..., PredictResult], monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(f"medseg.delivery.pages.{name}_page.{name}_page", fail)
    notes = write().notes
    assert [note for note in notes if "could not" in note] == [f"{name}.html could not be written: no page today"]
    assert not (out / f"{name}.html").exists()
    assert f'href="{name}.html"' not in (out / f"{other}.html").read_text()
