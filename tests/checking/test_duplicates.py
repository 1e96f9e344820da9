"""What a set holds twice, in files."""

import numpy as np
import pytest

from medseg.checking.duplicates import check_duplicates
from medseg.io.layouts.find import find_cases
from medseg.planning.survey import survey

TURNED = np.array([[-1.0, 0, 0, 4], [0, -1, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture
def make_set(tmp_path, save_nifti):
    def make(**cases):
        for name, (image, label, *affine) in cases.items():
            save_nifti(tmp_path / f"images/{name}.nii.gz", image, *affine)
            save_nifti(tmp_path / f"labels/{name}.nii.gz", label, *affine)
        return find_cases(tmp_path)

    return make


def scan(seed):
    return np.random.default_rng(seed).integers(0, 1000, (3, 4, 5)).astype(np.int16)


def box(start):
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, start : start + 2, 1:3] = 1
    return mask


def twins(data):
    return [(finding.kind, finding.case) for finding in check_duplicates(survey(data, "canonical").cases, data)]


def test_a_scan_under_two_names_whatever_its_type_and_orientation(make_set):
    turned = scan(1)[:, ::-1, ::-1].astype(np.float32), box(0)[:, ::-1, ::-1], TURNED
    data = make_set(a=(scan(1), box(0)), b=(scan(2), box(1)), c=(scan(1), box(2)), d=turned)
    findings = check_duplicates(survey(data, "canonical").cases, data)
    assert [(finding.kind, finding.case) for finding in findings] == [
        ("duplicate image", "c"),
        ("duplicate image", "d"),
    ]
    assert "c.nii.gz holds the same scan as" in findings[0].message
    assert findings[0].message.endswith("a.nii.gz, with another label.")
    assert findings[1].message.endswith("a.nii.gz, with the same label.")


def test_figures_that_agree_are_no_proof(make_set):
    mirrored = scan(1)[:, ::-1]  # the same mean and extremes, but another scan
    assert twins(make_set(a=(scan(1), box(0)), b=(mirrored, box(1)))) == []


def test_a_label_under_two_names(make_set):
    cases = {name: (scan(seed), box(seed % 3)) for seed, name in enumerate("abcdefg")}
    data = make_set(**{name: cases[name] for name in "abc"}, **{f"{n}": (scan(n), box(0) + 2 * box(1)) for n in (8, 9)})
    assert twins(data) == [("duplicate label", "9")]


def test_labels_that_many_cases_share_are_one_finding(make_set):
    data = make_set(**{name: (scan(seed), box(0)) for seed, name in enumerate("abcdef")})
    assert twins(data) == [("duplicate label", "")]


def test_labels_of_one_value_may_agree(make_set):
    full = np.ones((3, 4, 5), np.uint8)
    assert twins(make_set(a=(scan(1), full), b=(scan(2), full), c=(scan(3), 0 * full), d=(scan(4), 0 * full))) == []


def test_pictures_are_compared_as_they_are_stored(tmp_path, save_picture):
    for name, mirror in (("a", False), ("b", True), ("c", False)):
        picture = np.arange(48).reshape(4, 4, 3)
        save_picture(tmp_path / f"images/{name}.png", picture[:, ::-1] if mirror else picture)
        save_picture(tmp_path / f"masks/{name}.png", np.eye(4)[:, :: -1 if mirror else 1] * 255)
    assert twins(find_cases(tmp_path)) == [("duplicate image", "c")]


def test_a_label_in_the_place_of_its_scan(make_set):
    data = make_set(a=(box(0).astype(np.int16), box(0)), b=(scan(2), box(1)), c=(box(2), box(1)))
    findings = check_duplicates(survey(data, "canonical").cases, data)
    assert [(finding.kind, finding.case) for finding in findings if finding.kind == "own label"] == [("own label", "a")]
    assert "a.nii.gz holds the same values as its label" in findings[0].message
