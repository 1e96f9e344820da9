"""The page of a folder of answers: what it shows, when it is written, and that it costs no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import contents
from dicom.builders import write_series
from PIL import Image as pillow

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.predict.result import PredictResult
from medseg.commands.records.verify import verify
from medseg.core.colours import rgb_number
from medseg.core.errors import Cancelled
from medseg.core.progress import Progress
from medseg.delivery.answers import case_pages
from medseg.delivery.answers.options import WriteOptions
from medseg.delivery.provenance.manifest import read_entries
from medseg.io.images import read_label

WriteScans = Callable[[Path, int], Path]


@pytest.fixture
def scans(tmp_path: Path, write_scans: WriteScans) -> Path:
    return write_scans(tmp_path / "scans", 3)


def run(scans: Path, out: Path, model: Path, **options: object) -> PredictResult:
    return predict(scans, out, model, options=PredictOptions(**{"device": "cpu", "folds": ["0"], **options}))  # type: ignore[arg-type]


def test_the_page_shows_each_case_and_leads_to_its_viewer(tmp_path: Path, scans: Path, small_model: Path) -> None:
    (scans / "scan001_0000.nii.gz").write_bytes(b"torn")
    out = tmp_path / "out"
    result = run(scans, out, small_model)
    assert result.page == out / "index.html"
    text = result.page.read_text()
    for case, volumes in result.volumes.items():
        assert f'<a href="view/{case}.html">{case}</a>' in text
        assert (out / "view" / f"{case}.html").is_file()
        assert all(f"<td>{volume:.4f}"[:9] in text for volume in volumes.values() if volume)
    assert "scan001" in text, "what failed is named"
    assert str(tmp_path) not in text, "and no folder of the user"
    assert verify(out, [scans]).changes == []


def test_pictures_show_the_slice_where_a_structure_is_largest(tmp_path: Path, scans: Path, small_model: Path) -> None:
    out = tmp_path / "out"
    answer = read_label(run(scans, out, small_model).files["scan000"]).array[0]
    largest = {int((answer == value).sum(axis=(1, 2)).argmax()) for value in (1, 2) if (answer == value).any()}
    pictures = [pillow.open(path) for path in sorted((out / "view" / "scan000").glob("*.png"))]
    assert [picture.info["Title"] for picture in pictures] == [f"axial {n + 1} of 14" for n in sorted(largest)]
    for number, name in enumerate(("one", "two")):
        shown = [picture for picture in pictures if name in picture.info["Description"].split("\n")]
        assert len(shown) == (answer == number + 1).any()
        assert all((np.asarray(picture.convert("RGB")) == rgb_number(number)).all(axis=-1).any() for picture in shown)


@pytest.mark.parametrize(
    ("page", "most", "wanted"), [(None, 3, True), (None, 2, False), (True, 2, True), (False, 3, False)]
)
def test_a_page_is_written_for_few_scans_or_when_asked(
    tmp_path: Path,
    scans: Path,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: bool | None,
    most: int,
    wanted: bool,
) -> None:
    monkeypatch.setattr("medseg.commands.predict.index._MOST_UNASKED", most)
    result = run(scans, tmp_path / "out", small_model, page=page)
    assert (result.page is not None) == (tmp_path / "out" / "view").exists() == wanted


def test_a_large_scan_gets_a_viewer_when_asked_and_the_command_that_the_page_names_works(
    tmp_path: Path, scans: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("medseg.commands.predict.index.SMALL_VOXELS", 14 * 18 * 17)
    page = run(scans, out, small_model).page
    assert page is not None
    assert [path.name for path in (out / "view").glob("*.html")] == ["scan000.html"]
    assert page.read_text().count("--continue --page") == 2
    result = run(scans, out, small_model, keep_finished=True, page=True)
    assert len(result.kept) == len([*(out / "view").glob("*.html")]) == 3
    assert "--continue --page" not in page.read_text()
    assert contents(out) == contents_of_fresh(tmp_path, scans, small_model)


def contents_of_fresh(tmp_path: Path, scans: Path, model: Path) -> dict[str, bytes]:
    run(scans, tmp_path / "fresh", model, page=True)
    return contents(tmp_path / "fresh")


def test_a_run_that_was_stopped_has_the_same_page_when_it_went_on(
    tmp_path: Path, scans: Path, small_model: Path
) -> None:
    def stop(event: Progress) -> None:
        if event.done >= 2:
            raise Cancelled

    out, options = tmp_path / "out", PredictOptions(device="cpu", folds=["0"])
    with pytest.raises(Cancelled):
        predict(scans, out, small_model, options=options, callback=stop)
    assert not (out / "index.html").exists()
    (out / "view" / "scan000.html").unlink(missing_ok=True)  # as a kill between an answer and its page leaves it
    assert run(scans, out, small_model, keep_finished=True, page=True).page is not None
    assert contents(out) == contents_of_fresh(tmp_path, scans, small_model)


@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_answers_that_are_dicom_objects_are_drawn_later_as_at_once(
    tmp_path: Path, small_model: Path, form: str
) -> None:
    write_series(tmp_path / "study", np.random.default_rng(0).integers(0, 200, (14, 18, 17)).astype(np.int16))
    write = WriteOptions((form,), generic_codes=True)
    run(tmp_path / "study", tmp_path / "at_once", small_model, write=write, page=True)
    for more in ({"page": False}, {"page": True, "keep_finished": True}):
        result = run(tmp_path / "study", tmp_path / "later", small_model, write=write, **more)
    assert (len(result.kept), result.failed) == (1, {})
    shown = [
        {name: data for name, data in contents(tmp_path / out).items() if name.startswith(("view/", "index"))}
        for out in ("at_once", "later")
    ]
    assert "index.html" in shown[0]
    assert shown[0] == shown[1]


def test_what_cannot_be_drawn_is_named_and_costs_no_answer(
    tmp_path: Path, scans: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = case_pages.load_case_image

    def fail(case: object, *more: object) -> object:
        if getattr(case, "id", "") == "scan001":
            raise ZeroDivisionError(f"a defect in {scans}/a.nii.gz")
        return read(case, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(case_pages, "load_case_image", fail)
    result = run(scans, tmp_path / "out", small_model)
    assert not result.failed
    assert len(result.files) == 3
    assert result.notes[-1] == f"index.html does not show scan001: a defect in {scans}/a.nii.gz"
    assert result.page is not None
    text = result.page.read_text()
    assert "Not shown: a defect in a.nii.gz" in text
    assert str(tmp_path) not in text


def test_a_page_of_answers_that_are_replaced_goes_with_what_it_leads_to(
    tmp_path: Path, scans: Path, small_model: Path
) -> None:
    out = tmp_path / "out"
    run(scans, out, small_model)
    result = run(scans, out, small_model, page=False)
    assert result.page is None
    assert not any((out / name).exists() for name in ("index.html", "view"))
    assert not [*out.glob("earlier-*")]
    assert verify(out, [scans]).changes == []


@pytest.mark.parametrize("page", [None, False])
def test_a_page_of_someone_else_stays_and_is_named(
    tmp_path: Path, scans: Path, small_model: Path, page: bool | None
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("<html>my own</html>")
    result = run(scans, out, small_model, page=page)
    assert (out / "index.html").read_text() == "<html>my own</html>"
    assert result.page is None
    assert any("none of medseg's pages: it stays" in note for note in result.notes) == (page is None)
    (entry,) = read_entries(out).values()
    assert "index.html" not in [listed["file"] for listed in entry["files"]]
