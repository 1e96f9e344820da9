"""Overlap counts: drawings small enough to count by hand, then random maps against a naive computation."""

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.core.labels import IGNORE, Labels
from medseg.evaluation import overlap
from medseg.evaluation.overlap import Overlap, confusion, overlaps
from medseg.io.images import read_label

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
TUMOUR = Labels(
    structures={"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]},
    activation="sigmoid",
    region_values=[1, 2, 3],
)

REFERENCE = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]])
# one liver voxel lost and one invented, one spleen voxel lost
PREDICTION = np.array([[0, 1, 1, 1], [0, 0, 1, 0], [2, 0, 0, 0], [2, 2, 0, 0]])


def scores(labels, reference, prediction, annotated=None):
    sides = (labels.encode(np.asarray(side), name) for side, name in ((reference, "ref"), (prediction, "pred")))
    counts = confusion(*sides, len(labels.values))
    return overlaps(counts, labels, annotated)


def test_confusion_of_a_drawing():
    expected = [[7, 1, 0], [1, 3, 0], [1, 0, 3]]
    assert confusion(REFERENCE, PREDICTION, 3).tolist() == expected


def test_scores_of_a_drawing():
    scored = scores(ORGANS, REFERENCE, PREDICTION)
    liver, spleen = scored["liver"], scored["spleen"]
    assert liver == Overlap(tp=3, fp=1, fn=1, tn=11)
    assert spleen == Overlap(tp=3, fp=0, fn=1, tn=12)
    assert (liver.n_reference, liver.n_prediction) == (4, 4)
    assert (spleen.n_reference, spleen.n_prediction) == (4, 3)
    assert (liver.dice, liver.iou) == (6 / 8, 3 / 5)
    assert (spleen.dice, spleen.iou) == (6 / 7, 3 / 4)
    assert (spleen.precision, spleen.recall) == (1.0, 3 / 4)


def test_a_structure_that_neither_side_has_is_not_defined():
    empty = scores(ORGANS, REFERENCE * (REFERENCE == 1), PREDICTION * (PREDICTION == 1))["spleen"]
    assert empty == Overlap(tp=0, fp=0, fn=0, tn=16)
    assert (empty.dice, empty.iou, empty.precision, empty.recall) == (None, None, None, None)


def test_a_structure_that_one_side_has_scores_0():
    invented = scores(ORGANS, np.zeros((4, 4), int), REFERENCE)["liver"]
    missed = scores(ORGANS, REFERENCE, np.zeros((4, 4), int))["liver"]
    assert (invented.dice, invented.iou, invented.precision, invented.recall) == (0, 0, 0, None)
    assert (missed.dice, missed.iou, missed.precision, missed.recall) == (0, 0, None, 0)


def test_ignored_voxels_count_nowhere():
    labels = Labels(structures={"liver": 1, "spleen": 2}, ignore=9)
    reference = REFERENCE.copy()
    reference[0] = 9  # takes two background and two liver voxels, and the invented one
    scored = scores(labels, reference, PREDICTION)
    assert scored["liver"] == Overlap(tp=1, fp=0, fn=1, tn=10)
    assert scored["spleen"] == Overlap(tp=3, fp=0, fn=1, tn=8)


def test_a_prediction_that_abstains_counts_as_background():
    prediction = np.where(PREDICTION == 2, IGNORE, PREDICTION)
    assert confusion(REFERENCE, prediction, 3).tolist() == [[7, 1, 0], [1, 3, 0], [4, 0, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint64])
def test_integers_of_any_type_are_counted(kind: type[np.integer]) -> None:
    assert confusion(REFERENCE.astype(np.int16), PREDICTION.astype(kind), 3).tolist() == [
        [7, 1, 0],
        [1, 3, 0],
        [1, 0, 3],
    ]


def test_regions_overlap_and_share_voxels():
    #   reference 1 2 3 0     whole: 3 voxels, core: 2, enhancing: 1
    #   predicted 1 1 2 3     whole: 4 voxels, core: 2, enhancing: 1
    scored = scores(TUMOUR, [[1, 2, 3, 0]], [[1, 1, 2, 3]])
    assert scored["whole"] == Overlap(tp=3, fp=1, fn=0, tn=0)
    assert scored["core"] == Overlap(tp=1, fp=1, fn=1, tn=1)
    assert scored["enhancing"] == Overlap(tp=0, fp=1, fn=1, tn=2)


def test_only_annotated_structures_are_scored():
    assert list(scores(ORGANS, REFERENCE, PREDICTION, annotated=("spleen",))) == ["spleen"]
    assert scores(ORGANS, REFERENCE, PREDICTION, annotated=("spleen",))["spleen"].tp == 3


def test_an_undeclared_value_names_its_file():
    with pytest.raises(DataError, match="pred holds the label value 7"):
        scores(ORGANS, REFERENCE, np.where(PREDICTION == 2, 7, PREDICTION))


def test_shapes_and_indices_are_checked():
    with pytest.raises(ValueError, match=r"\(4, 4\), the prediction \(3, 4\)"):
        confusion(REFERENCE, PREDICTION[:3], 3)
    with pytest.raises(ValueError, match=r"\(4, 4\), the prediction \(3, 4\)"):
        scores(ORGANS, REFERENCE, PREDICTION[:3])
    with pytest.raises(ValueError, match="from 0 to 2; expected -1 to 1"):
        confusion(REFERENCE, PREDICTION, 2)
    with pytest.raises(ValueError, match="from -2 to 2"):
        confusion(np.where(REFERENCE == 1, -2, REFERENCE), PREDICTION, 3)


def test_no_voxels_give_no_counts():
    assert confusion(np.zeros((1, 0, 4, 4), int), np.zeros((1, 0, 4, 4), int), 2).tolist() == [[0, 0], [0, 0]]


def naive(labels, reference, prediction):
    """Structure by structure on boolean masks, as one would write it down."""
    counted = reference != labels.ignore
    answer = {}
    for name, value in labels.structures.items():
        members = value if isinstance(value, list) else [value]
        r, p = np.isin(reference, members)[counted], np.isin(prediction, members)[counted]
        tp, fp, fn, tn = (np.count_nonzero(both) for both in (r & p, ~r & p, r & ~p, ~r & ~p))
        answer[name] = Overlap(tp, fp, fn, tn)
    return answer


@pytest.mark.parametrize("seed", range(20))
def test_random_maps_agree_with_the_naive_computation(seed, monkeypatch):
    monkeypatch.setattr(overlap, "_CHUNK_VOXELS", 50)  # several chunks, the last one cut short
    rng = np.random.default_rng(seed)
    values = [0, *rng.choice(np.arange(1, 300), 5, replace=False).tolist()]
    if seed % 2:
        structures = {f"s{value}": value for value in values[1:]}
        labels = Labels(structures=structures, ignore=999)
    else:
        structures = {f"r{k}": sorted(rng.choice(values[1:], 3, replace=False).tolist()) for k in range(4)}
        labels = Labels(
            structures=structures, activation="sigmoid", region_values=[m[0] for m in structures.values()], ignore=999
        )
    shape = (1, *rng.integers(1, 9, 3).tolist())
    reference = rng.choice([*labels.values, 999], shape)
    prediction = rng.choice(labels.values, shape)
    assert scores(labels, reference, prediction) == naive(labels, reference, prediction)


@pytest.mark.real
def test_a_shifted_real_label(data_dir):
    labels = Labels(structures={"Anterior": 1, "Posterior": 2})
    reference = read_label(data_dir / "hippocampus/labelsTr/hippocampus_001.nii.gz").array
    shifted = np.roll(reference, 1, axis=3)
    scored = scores(labels, reference, shifted)
    assert scored == naive(labels, reference, shifted)
    for score in scored.values():
        assert score.n_reference == score.n_prediction > 500
        assert score.precision == score.recall == score.dice
        assert 0.7 < score.dice < 1
        assert score.iou == pytest.approx(score.dice / (2 - score.dice))
    same = scores(labels, reference, reference)
    assert [score.dice for score in same.values()] == [1.0, 1.0]
