"""Lesions and instances, on drawings."""

import numpy as np
import pytest

from medseg.evaluation.lesions import LesionRule, LesionScore, PanopticScore, components, panoptic, score_lesions


def drawing(text):
    """Rows of digits and dots."""
    return np.array([[0 if sign == "." else int(sign) for sign in row] for row in text.split()])


REFERENCE = drawing("""
    11....22
    11....22
    ........
    ..33....
    ..33..44
""")
PREDICTION = drawing("""
    111...55
    111...55
    ......55
    ........
    77.....4
""")


def test_lesions_of_a_drawing():
    score = score_lesions(REFERENCE > 0, PREDICTION > 0)
    # 1, 2 and 4 are found; 3 is missed and 7 is invented
    dice = [2 * 4 / (4 + 6), 2 * 4 / (4 + 6), 2 * 1 / (2 + 1), 0, 0]
    assert score == LesionScore(4, 4, 3, 1, pytest.approx(sum(dice) / 5))
    assert score.sensitivity == 3 / 4
    assert score.f1 == 2 * 3 / (2 * 3 + 1 + 1)


def test_one_prediction_over_two_lesions_finds_both():
    reference, prediction = drawing("11.22 11.22") > 0, drawing("11111 11111") > 0
    score = score_lesions(reference, prediction)
    assert (score.n_reference, score.n_prediction, score.detected, score.false_positives) == (2, 1, 2, 0)
    assert score.dice == 2 * 4 / (4 + 10)


def test_two_predictions_in_one_lesion_count_together():
    score = score_lesions(drawing("1111") > 0, drawing("1.1.") > 0)
    assert (score.n_reference, score.n_prediction, score.detected, score.false_positives) == (1, 2, 1, 0)
    assert score.dice == 2 * 2 / (4 + 2)


@pytest.mark.parametrize(
    ("share", "detected", "false_positives"), [(0.0, 1, 0), (0.49, 1, 0), (0.5, 0, 0), (0.6, 0, 0)]
)
def test_a_share_of_a_lesion_may_be_asked_for(share, detected, false_positives):
    rule = LesionRule(minimum_overlap=share)
    score = score_lesions(drawing("1111..") > 0, drawing("..11..") > 0, rule)
    assert (score.detected, score.false_positives) == (detected, false_positives)
    assert score.dice == (2 * 2 / 6 if detected else 0)


def test_a_prediction_that_lies_mostly_elsewhere_is_false_if_the_rule_says_so():
    score = score_lesions(drawing("11....") > 0, drawing(".11111") > 0, LesionRule(minimum_overlap=0.4))
    assert (score.detected, score.false_positives) == (1, 1)  # half of the lesion, a fifth of the prediction
    assert score.dice == (2 * 1 / 7 + 0) / 2


@pytest.mark.parametrize(("connectivity", "count"), [("faces", 4), ("edges", 2), ("corners", 1)])
def test_what_touches(connectivity, count):
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = mask[1, 2, 1] = mask[2, 2, 2] = False
    mask[0, 0, 0] = mask[0, 1, 1] = True  # share an edge
    mask[1, 2, 2] = True  # touches the second at a corner
    mask[2, 1, 2] = True  # shares an edge with the third
    assert components(mask, LesionRule(connectivity=connectivity)).max() == count


def test_connectivity_in_a_slice():
    diagonal = drawing("1. .1") > 0
    assert components(diagonal, LesionRule(connectivity="faces")).max() == 2
    assert components(diagonal, LesionRule(connectivity="edges")).max() == 1
    assert components(diagonal, LesionRule()).max() == 1


def test_small_lesions_may_be_left_out():
    mask = drawing("111.1.11 ........") > 0
    assert components(mask, LesionRule(minimum_voxels=2)).tolist() == [[1, 1, 1, 0, 0, 0, 2, 2], [0] * 8]
    score = score_lesions(mask, mask, LesionRule(minimum_voxels=3))
    assert score == LesionScore(1, 1, 1, 0, 1.0)


def test_no_lesions():
    nothing, some = np.zeros((3, 4), bool), drawing("1... .... ..11") > 0
    assert score_lesions(nothing, nothing) == LesionScore(0, 0, 0, 0, None)
    assert (score_lesions(nothing, nothing).f1, score_lesions(nothing, nothing).sensitivity) == (None, None)
    missed, invented = score_lesions(some, nothing), score_lesions(nothing, some)
    assert missed == LesionScore(2, 0, 0, 0, 0.0)
    assert (missed.f1, missed.sensitivity) == (0, 0)
    assert invented == LesionScore(0, 2, 0, 2, 0.0)
    assert (invented.f1, invented.sensitivity) == (0, None)
    assert score_lesions(np.zeros((0, 0), bool), np.zeros((0, 0), bool)).n_reference == 0


def test_rules_are_said_in_words():
    assert "touch at faces, edges or corners; a reference lesion is detected if at least one" in LesionRule().describe()
    words = LesionRule("faces", 50, 0.1).describe()
    assert "touch at faces, lesions below 50 voxels left out" in words
    assert "more than 10% of it" in words


def test_panoptic_quality_of_a_drawing():
    score = panoptic(REFERENCE, PREDICTION)
    # IoU of 1: 4 of 6, of 2: 4 of 6, of 4: 1 of 2, which is not more than a half
    assert score == PanopticScore(2, 2, 2, pytest.approx(2 * 4 / 6))
    assert score.segmentation_quality == pytest.approx(4 / 6)
    assert score.recognition_quality == 2 * 2 / (2 * 2 + 2 + 2)
    assert score.panoptic_quality == pytest.approx(4 / 6 * 0.5)


def test_numbers_of_instances_do_not_matter():
    again = panoptic(np.where(REFERENCE, REFERENCE.astype(np.int64) * 10**9, 0), PREDICTION.astype(np.uint16))
    assert again == panoptic(REFERENCE, PREDICTION)


def test_no_instances():
    nothing = np.zeros((2, 2), int)
    empty = panoptic(nothing, nothing)
    assert (empty.panoptic_quality, empty.segmentation_quality, empty.recognition_quality) == (None, None, None)
    missed = panoptic(nothing + 1, nothing)
    assert missed == PanopticScore(0, 0, 1, 0)
    assert (missed.panoptic_quality, missed.segmentation_quality) == (0, None)
    assert panoptic(nothing + 3, nothing + 5).panoptic_quality == 1


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 2\), the prediction \(2, 3\)"):
        panoptic(np.zeros((2, 2), int), np.zeros((2, 3), int))


@pytest.mark.parametrize("seed", range(10))
def test_monai_agrees_on_panoptic_quality(seed):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 6, (5, 6)), np.ones((4, 4), int))
    moved = np.where(rng.random(blocks.shape) < 0.25, 0, blocks)
    monai_quality = metrics.compute_panoptic_quality(torch.from_numpy(moved), torch.from_numpy(blocks))
    quality = panoptic(blocks, moved).panoptic_quality
    assert quality == pytest.approx(float(monai_quality), rel=1e-5)  # MONAI adds 1e-6 to what it divides by
    assert quality > 0.3
