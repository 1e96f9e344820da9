"""The words of names, and what they say."""

import pytest

from medseg.io.layouts.file_names.words import names_images, names_labels, remove_name, splits, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("21_manual1", ("21", "manual", "1")),
        ("case-007 Seg", ("case", "7", "seg")),
        ("imagesTr", ("images", "tr")),
        ("JPEGImages", ("jpeg", "images")),
        ("T1w", ("t", "1", "w")),
        ("Größe_3", ("größe", "3")),
        ("__", ()),
    ],
)
def test_words(name, expected):
    assert words(name) == expected


@pytest.mark.parametrize("name", ["seg", "case7_GT", "1st_manual", "brainmask", "lesion-Mask", "labelsTr", "roi2"])
def test_names_of_labels(name):
    assert names_labels(name)


@pytest.mark.parametrize("name", ["t1", "image", "segovia", "unmasked", "flair", "scan_gtx"])
def test_names_that_are_none(name):
    assert not names_labels(name)


def test_names_of_images():
    assert names_images("JPEGImages")
    assert names_images("img")
    assert not names_images("imagine")


@pytest.mark.parametrize(
    ("name", "case", "rest"),
    [
        ("P7_flair", "P7", "flair"),
        ("seg-p7", "P7", "seg"),
        ("P7", "P7", ""),
        ("P70_flair", "P7", None),
        ("flair", "P7", None),
    ],
)
def test_what_is_left_beside_the_case(name, case, rest):
    assert remove_name(name, case) == rest


def test_every_place_to_split_a_name():
    assert sorted({outer for outer, _ in splits("a_b-c")}) == ["a", "a_b", "a_b-c", "b-c", "c"]
