"""Images and labels whose names are similar but not equal."""

import itertools

import pytest

from medseg.io.layouts.file_names.similar_names import match_similar, pairing_note


@pytest.mark.parametrize(
    ("images", "labels", "pairs"),
    [
        # what all names of a side share is left aside
        (["21_training", "22_training"], ["21_manual1", "22_manual1"], {"21": "21", "22": "22"}),
        (["img_07", "img_08"], ["mask_7", "mask_8"], {"07": "7", "08": "8"}),
        (["case7_image", "case12_image"], ["case7_seg", "case12_seg"], {"case7": "case7", "case12": "case12"}),
        (["P01_img_02", "P02_img_02"], ["P01_mask_02", "P02_mask_02"], {"P01": "P01", "P02": "P02"}),
        (["lesion_a", "lesion_b_left"], ["gt_a", "gt_b_left"], {"_a": "_a", "_b": "_b"}),
        # else the numbers that remain
        (["21_training", "01_test"], ["21_manual1", "01_manual1"], {"21": "21", "01": "01"}),
        (["image_5"], ["5_label"], {"5": "5"}),
    ],
)
def test_names_that_leave_no_doubt(images, labels, pairs):
    found = match_similar(images, labels)
    assert len(found) == len(images)
    for part, other in pairs.items():
        (image,) = [name for name in images if part in name]
        assert other in found[image]


@pytest.mark.parametrize("order", [*itertools.permutations(("p", "s", "t"))])
@pytest.mark.parametrize("role", ["", "mask_"])
def test_words_say_which_number_is_which_in_whatever_order(order, role):
    numbers = [*itertools.product((1, 2, 3), (1, 2), (5, 6))]
    images = {values: "p{}_s{}_t{}".format(*values) for values in numbers}
    labels = {
        values: role + "_".join(f"{word}{dict(zip('pst', values, strict=True))[word]:02d}" for word in order)
        for values in numbers
    }
    assert match_similar(images.values(), labels.values()) == {images[v]: labels[v] for v in numbers}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["p1_s1", "p1_s2", "p2_s1"], ["1_1", "1_2", "2_1"]),  # only the place says which number is the slice
        (["p1_s1", "p1_s2", "p2_s1"], ["x1_y1", "x1_y2", "x2_y1"]),
        (["p1_s2"], ["s1_p2"]),  # the words say that these are two cases
        (["p1_s2", "p1_s2_left"], ["s1_p2", "s1_p2_left"]),
        (["a", "b"], ["c", "d"]),  # nothing in common
        (["a"], ["b"]),
        (["P1_01", "P1_02"], ["P2_01", "P2_02"]),  # a number that all share differs: another patient
        (["x_1_a", "x_1_b"], ["y_1", "y_2"]),  # two images for one label
        (["s1_1", "s1_2", "s2_1"], ["l_1", "l_2"]),
        ([f"a{number}" for number in range(10)], [f"b{number}" for number in range(9, 20)]),  # only one agrees
        ([], ["a"]),
    ],
)
def test_every_doubt_pairs_nothing(images, labels):
    assert match_similar(images, labels) == {}


def test_what_has_no_counterpart_is_left_alone():
    images = [f"scan_{number}" for number in range(6)]
    assert match_similar(images, ["gt_1", "gt_2", "gt_5"]) == {"scan_1": "gt_1", "scan_2": "gt_2", "scan_5": "gt_5"}


def test_the_order_of_names_does_not_matter():
    images, labels = ["img_3", "img_1", "img_2"], ["mask_2", "mask_3", "mask_1"]
    assert match_similar(images, labels) == match_similar(sorted(images), sorted(labels))


def test_the_note_shows_a_pair():
    assert pairing_note({"b": "y", "a": "x"}) == "paired by similar names, such as a with x"
