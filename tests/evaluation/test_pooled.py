"""Pooled scores: every figure is worked out by hand beside it."""

import numpy as np
import pytest

from medseg.core.labels import Labels
from medseg.evaluation.pooled import pool

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
TUMOUR = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])


def test_miou_leaves_out_a_class_that_nobody_has():
    scores = pool(ORGANS, np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert scores.miou == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert {name: overlap.iou for name, overlap in scores.classes.items()} == {
        "background": 3 / 4,
        "liver": 4 / 5,
        "spleen": None,
    }
    nothing = pool(ORGANS, np.zeros((3, 3), np.int64))
    assert (nothing.miou, nothing.pixel_accuracy, nothing.accuracy_warning) == (None, None, "")


def test_regions_that_overlap_have_neither_background_nor_pixel_accuracy():
    #             predicted 0  1  2
    confusion = np.array([[9, 1, 0], [0, 2, 1], [1, 0, 3]])
    # whole (1 or 2): both 2 + 1 + 0 + 3 = 6, reference 7, prediction 7; core (2): both 3, reference 4, prediction 4
    scores = pool(TUMOUR, confusion)
    assert scores.miou == pytest.approx((6 / 8 + 3 / 5) / 2)
    assert "without background" in scores.miou_definition
    assert list(scores.classes) == ["whole", "core"]
    assert scores.pixel_accuracy is None


def test_regions_that_do_not_overlap_have_the_background():
    labels = Labels(structures={"left": [1], "right": [2]}, activation="sigmoid", region_values=[1, 2])
    scores = pool(labels, np.array([[9, 1, 0], [0, 2, 1], [1, 0, 3]]))
    assert scores.miou == pytest.approx((9 / 11 + 2 / 4 + 3 / 5) / 3)
    assert scores.pixel_accuracy == pytest.approx(14 / 17)


def test_the_warning_names_the_class_that_would_do_as_well_everywhere():
    scores = pool(ORGANS, np.array([[1, 1, 0], [0, 6, 0], [0, 2, 0]]))  # liver has 6 of 10 voxels
    assert (scores.commonest, scores.commonest_share, scores.pixel_accuracy) == ("liver", 0.6, 0.7)
    assert "'liver' everywhere would have 0.6000" in scores.accuracy_warning


def test_a_structure_called_background_does_not_hide_the_real_one():
    scores = pool(Labels(structures={"background": 7}), np.array([[1, 0], [1, 2]]))
    assert {name: overlap.iou for name, overlap in scores.classes.items()} == {
        "no structure": 1 / 2,
        "background": 2 / 3,
    }


def test_labels_without_a_background_have_no_row_for_it():
    streets = Labels(structures={"sky": 0, "road": 1}, background=None)
    scores = pool(streets, np.array([[0, 0, 0], [0, 3, 1], [0, 0, 4]]))  # the first index stands for nothing
    assert {name: overlap.iou for name, overlap in scores.classes.items()} == {"sky": 3 / 4, "road": 4 / 5}
    assert scores.pixel_accuracy == 7 / 8
    assert "no background" in scores.miou_definition
