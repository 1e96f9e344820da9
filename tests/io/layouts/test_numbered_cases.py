"""Four digits at the end of names are channels, or part of the cases' names where labels have them too."""

from __future__ import annotations

import pytest
from sets.layout_files import touch

from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images", "masks"), ("scans", "1st_manual")])
@pytest.mark.parametrize("name", ["scan_{:04d}", "p7_{:04d}", "a b_{:04d}"])
@pytest.mark.parametrize("first", [0, 1, 1998])
def test_images_without_labels_are_cases_of_their_own(tmp_path, images, labels, name, first):
    names = [name.format(first + number) for number in range(9)]
    touch(tmp_path, *(f"{images}/{name}.png" for name in names), *(f"{labels}/{name}.png" for name in names[:5]))
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == names[:5]
    assert [problem.id for problem in data.problems] == names[5:]
    assert all("there is no label of this name" in problem for problem in data.problems)
    assert data.channels == ("image",)


@pytest.mark.parametrize("channels", [["image"], ["red", "green", "blue"]])
def test_a_model_answers_each_of_them(tmp_path, channels):
    names = [f"scan_{number:04d}" for number in range(1, 10)]
    touch(tmp_path, *(f"images/{name}.png" for name in names), *(f"labels/{name}.png" for name in names[:5]))
    cases, failed = find_scans(tmp_path, channels)
    assert ([case.id for case in cases], failed) == (names, {})


def test_channels_of_cases_whose_labels_have_no_digits_stay_together(tmp_path):
    names = ["a_0000", "a_0001", "b_0000", "b_0001", "c_0001"]
    touch(tmp_path, *(f"images/{name}.png" for name in names), "labels/a.png", "labels/c.png")
    data = find_cases(tmp_path)
    assert [[path.stem for path in case.channels] for case in data.cases] == [["a_0000", "a_0001"]]
    assert [problem.id for problem in data.problems] == ["b", "c"]


def test_a_label_without_digits_keeps_its_channels_among_numbered_cases(tmp_path):
    names = ["scan_0001", "scan_0002", "b_0000"]
    touch(tmp_path, *(f"images/{name}.png" for name in names), "labels/scan_0001.png", "labels/b.png")
    data = find_cases(tmp_path)
    assert {case.id: case.channels[0].stem for case in data.cases} == {"b": "b_0000", "scan_0001": "scan_0001"}
    assert [problem.id for problem in data.problems] == ["scan_0002"]
