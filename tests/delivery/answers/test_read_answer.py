"""An answer that is read back has the values of its structures, in whatever form it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom.answers import meaning, written_series
from numpy.typing import NDArray

import medseg
from medseg.core.errors import DataError
from medseg.core.files import write_json
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.formats import ANSWER_FORMATS, write_answer_labels
from medseg.delivery.answers.read_answer import names_of_values, read_answer
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.io.dicom.listing.find import find_series

GAPS = Labels(structures={"spleen": 2, "liver": 5})
SWAPPED = Labels(structures={"liver": 2, "spleen": 1}, activation="sigmoid")
BRIGHT = Labels(structures={"spleen": 0, "liver": 5}, background=7)
REGIONS = Labels(structures={"liver": [1, 2], "spleen": [2]}, activation="sigmoid", region_values=[1, 2])


def array_of(labels: Labels) -> NDArray[np.uint8]:
    """(z, y, x): 24 voxels of the first written value, 8 of the second."""
    first, second = labels.written_values.values()
    array = np.full((6, 10, 14), labels.background, np.uint8)
    array[1:3, 2:6, 3:6] = first
    array[3:5, 3:5, 8:10] = second
    return array


def written(folder: Path, labels: Labels, form: str) -> tuple[Path, Path, Image]:
    """An answer in a form with labels.json beside it, the series that it belongs to, and the answer itself."""
    volume = written_series(folder / "study")
    answer = volume.image.with_array(array_of(labels)[np.newaxis])
    out = folder / "out"
    out.mkdir()
    write_json(out / "labels.json", {"labels": labels.model_dump(mode="json")})
    (series,) = find_series(folder / "study").series
    if form == "seg.nrrd":
        path = out / "study.seg.nrrd"
        write_answer_labels(path, answer, None, labels, {}, ANSWER_FORMATS[form])
    else:
        kind = "seg" if form == "labelmap" else form
        paths = object_paths(out, "study", [kind])
        write_objects(answer.array[0], series, meaning(labels.members, form == "labelmap"), paths)
        path = paths[kind]
    return path, Path(series.path), answer


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        *((labels, form) for labels in (GAPS, SWAPPED, BRIGHT, REGIONS) for form in ("seg", "rtstruct", "seg.nrrd")),
        (GAPS, "labelmap"),
    ],
)
def test_an_answer_comes_back_with_its_values_and_the_page_with_its_names(
    tmp_path: Path, labels: Labels, form: str
) -> None:
    path, scan, answer = written(tmp_path, labels, form)
    assert np.array_equal(read_answer(path, labels, answer).array, answer.array)
    page = tmp_path / "page.html"
    result = medseg.view(scan, [path], medseg.ViewOptions(output=page))
    present = sorted(labels.written_values.values())
    assert result.structures == tuple(names_of_values(labels)[value] for value in present)


@pytest.mark.parametrize("form", ["seg", "rtstruct", "seg.nrrd"])
def test_a_file_without_labels_beside_it_says_its_names_itself(tmp_path: Path, form: str) -> None:
    path, scan, _ = written(tmp_path, REGIONS, form)
    (path.parent / "labels.json").unlink()
    result = medseg.view(scan, [path], medseg.ViewOptions(output=tmp_path / "page.html"))
    assert result.structures == ("liver", "liver + spleen")


def test_a_structure_that_nothing_declares_is_shown_under_its_own_name(tmp_path: Path) -> None:
    path, scan, _ = written(tmp_path, GAPS, "seg")
    write_json(path.parent / "labels.json", {"labels": Labels(structures={"liver": 1}).model_dump(mode="json")})
    result = medseg.view(scan, [path], medseg.ViewOptions(output=tmp_path / "page.html"))
    assert result.structures == ("liver", "spleen")


def test_overlaps_that_no_value_stands_for_are_refused(tmp_path: Path) -> None:
    path, _, answer = written(tmp_path, REGIONS, "seg")
    with pytest.raises(DataError, match="liver and spleen overlap in 8 voxels"):
        read_answer(path, Labels(structures={"liver": 1, "spleen": 2}), answer)


def test_overlapping_structures_have_the_size_of_what_the_page_names(tmp_path: Path) -> None:
    path, scan, answer = written(tmp_path, REGIONS, "seg")
    page = tmp_path / "page.html"
    medseg.view(scan, [path], medseg.ViewOptions(output=page))
    text = page.read_text()
    for name, voxels in (("liver", 24), ("liver + spleen", 8)):
        assert f"{voxels * (answer.voxel_volume_ml or 0):.4g} ml" in text.split(f">{name}<")[1][:400]


def test_a_structure_that_is_nowhere_is_read_alone(tmp_path: Path) -> None:
    """Its segment has no frame."""
    volume = written_series(tmp_path / "study")
    answer = np.where(array_of(GAPS) == GAPS.structures["liver"], 0, array_of(GAPS))
    paths = object_paths(tmp_path, "study", ["seg"])
    write_objects(answer, find_series(tmp_path / "study").series[0], meaning(GAPS.members), paths)
    read = read_answer(paths["seg"], Labels(structures={"liver": 1}), volume.image)
    assert read.same_grid(volume.image)
    assert not read.array.any()
    assert read_answer(paths["seg"], Labels(structures={"spleen": 1}), volume.image).array.sum() == 24
