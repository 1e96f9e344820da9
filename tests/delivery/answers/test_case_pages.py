"""What is made of each case: whether it is whole, and that it names no folder of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import make_plan
from dicom.builders import write_series

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.case_pages import CasePages, read_slices
from medseg.delivery.pictures import slices
from medseg.io.dicom.listing.find import find_series
from medseg.io.load import load_case_image
from medseg.plans.sections.data import Data

LABELS = Labels(structures={"one": 1, "two": 2})


def study(folder: Path) -> tuple[Case, Data, Image, Image]:
    """A series with a gap, its case, and an answer whose two structures are largest in different slices."""
    heights = [0, 3, 6, 12, 15]
    array = np.arange(5 * 64, dtype=np.int16).reshape(5, 8, 8)
    write_series(folder, array, move=lambda k: (10, 20, 30 + heights[k]))
    data = make_plan().data
    data = data.model_copy(update={"reading": data.reading.model_copy(update={"allow_gaps": True})})
    (series,) = find_series(folder).series
    case = Case("a", "a", (Path(series.path),))
    scan = load_case_image(case, 1, data.reading)
    values = np.zeros((1, *scan.shape_zyx), np.uint8)
    values[0, 1, 1:4, 1:4] = 1
    values[0, 3, 4:7, 4:7] = 2
    return case, data, scan, scan.with_array(values)


def test_pictures_that_a_kill_left_unfinished_are_not_taken_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, data, scan, answer = study(tmp_path / "study")
    pages, out = CasePages(True, 0, data), tmp_path / "out"
    draw, drawn = slices.draw_slice, []

    def interrupted(*arguments: object) -> object:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(1)
        return draw(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(slices, "draw_slice", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pages.write(case, answer, out, LABELS)
    assert len(read_slices(case, out)) == 1
    assert not pages.complete(case, out, scan.shape_zyx)
    assert pages.write(case, answer, out, LABELS) == ""
    assert [shown.names for shown in read_slices(case, out)] == [("one",), ("two",)]
    assert pages.complete(case, out, scan.shape_zyx)


def test_a_viewer_names_no_folder(tmp_path: Path) -> None:
    folder, out = tmp_path / "Smith_John_19700101", tmp_path / "out"
    case, data, scan, answer = study(folder / "study")
    assert any(str(folder) in note for note in scan.notes)
    assert CasePages(True, None, data, (out, folder)).write(case, answer, out, LABELS) == ""
    text = (out / "view" / "a.html").read_text()
    assert "Smith" not in text
    assert "study" in text, "the note itself is there"


def test_a_viewer_of_someone_else_stays(tmp_path: Path) -> None:
    case, data, _, answer = study(tmp_path / "study")
    page = tmp_path / "out" / "view" / "a.html"
    page.parent.mkdir(parents=True)
    page.write_text("my own")
    assert "a.html in the folder" in CasePages(True, None, data).write(case, answer, tmp_path / "out", LABELS)
    assert page.read_text() == "my own"
