"""Every measure of a case: the boxes change nothing, and regions, ignored voxels and partial labels are respected."""

import numpy as np
import pytest

from medseg.core.labels import IGNORE, Labels
from medseg.evaluation.empties import POLICIES
from medseg.evaluation.extra_measures import EXTRA_MEASURES
from medseg.evaluation.lesions import LesionRule, components, panoptic, score_lesions
from medseg.evaluation.measures import Grid, MeasureOptions, measure_case
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import MEASURES
from medseg.evaluation.surface import surface_distances
from medseg.io.images import read_label

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
REGIONS = Labels(structures={"all": [1, 2], "core": 2}, activation="sigmoid", region_values=[1, 2], ignore=9)
GRID = Grid((2.0, 1.0, 0.5))
EVERYTHING = MeasureOptions(lesions=LesionRule(), instances=True, tolerance_mm={"liver": 1.0, "all": 1.0})


def maps(seed=0, shape=(9, 10, 11)):
    rng = np.random.default_rng(seed)
    reference, prediction = (np.zeros(shape, np.int16) for _ in range(2))
    for side in (reference, prediction):
        for value in (1, 2):
            for _ in range(3):
                low = [rng.integers(0, size - 3) for size in shape]
                side[tuple(slice(start, start + rng.integers(1, 4)) for start in low)] = value
    return reference, prediction


def test_every_figure_of_a_drawing():
    reference, prediction = np.zeros((2, 1, 5, 6), np.int16)
    reference[0, 1:3, 1:3] = 1
    prediction[0, 1:3, 1:4] = 1
    measured = measure_case(reference, prediction, ORGANS, Grid((5.0, 2.0, 1.0)), EVERYTHING)
    liver = measured.structures["liver"].figures()
    assert list(liver) == [name for name in MEASURES if name not in EXTRA_MEASURES]
    assert (liver["dice"], liver["iou"], liver["precision"], liver["recall"]) == (8 / 10, 4 / 6, 4 / 6, 1)
    assert (liver["volume_reference"], liver["volume_prediction"], liver["volume_error"]) == (0.04, 0.06, 0.02)
    assert liver["volume_error_relative"] == pytest.approx(0.5)
    assert (liver["hd"], liver["hd95"], liver["nsd"]) == (1, 1, 1)
    assert liver["lesion_f1"] == liver["lesion_sensitivity"] == 1
    assert (liver["lesion_dice"], liver["lesion_false_positives"]) == (0.8, 0)
    assert (liver["panoptic_quality"], liver["recognition_quality"]) == (4 / 6, 1)
    assert measured.structures["liver"].surface.tolerance == 1
    assert measured.structures["spleen"].surface.tolerance == 2
    assert measured.confusion.tolist() == [[24, 2, 0], [0, 4, 0], [0, 0, 0]]


def test_empty_structures_and_policies():
    reference, prediction = np.zeros((2, 3, 4, 5), np.int16)
    reference[1, 1, 1] = 1
    missed, absent = measure_case(reference, prediction, ORGANS, GRID, EVERYTHING).structures.values()
    assert (missed.empty, absent.empty) == ("prediction", "both")
    one, none = missed.figures(), absent.figures()
    assert (one["dice"], one["nsd"], one["hd95"], one["lesion_f1"]) == (0, 0, None, 0)
    assert {none[name] for name in ("dice", "iou", "nsd", "hd", "assd", "lesion_f1", "lesion_dice")} == {None}
    assert (one["volume_error_relative"], none["volume_error_relative"]) == (-1, None)
    one, none = missed.figures(POLICIES["brats"]), absent.figures(POLICIES["brats"])
    diagonal = np.sqrt(6**2 + 4**2 + 2.5**2)
    assert (one["dice"], one["hd95"], one["hd"]) == (0, pytest.approx(diagonal), pytest.approx(diagonal))
    assert (none["dice"], none["hd95"], none["nsd"], none["lesion_f1"]) == (1, 0, 1, 1)
    invented = measure_case(prediction, reference, ORGANS, GRID, EVERYTHING).structures["liver"]
    assert invented.empty == "reference"
    assert invented.figures()["lesion_false_positives"] == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("workers", [1, 3])
def test_measured_in_boxes_as_in_the_whole(seed, workers):
    reference, prediction = maps(seed)
    options = MeasureOptions(lesions=LesionRule("faces"), instances=True, tolerance_mm={"all": 0.7}, workers=workers)
    found = measure_case(reference, prediction, REGIONS, GRID, options).structures
    assert list(found) == ["all", "core"]
    for name, values in (("all", (1, 2)), ("core", (2,))):
        one, other = np.isin(reference, values), np.isin(prediction, values)
        score, distances = found[name], surface_distances(one, other, GRID.spacing)
        assert score.overlap.tp == (one & other).sum()
        assert score.surface.hd95 == distances.hausdorff_mm(95)
        assert score.surface.assd == pytest.approx(distances.average_mm)
        assert score.surface.nsd == pytest.approx(distances.within(0.7 if name == "all" else 2.0))
        rule = LesionRule("faces")
        assert score.lesions == score_lesions(one, other, rule)
        assert score.instances == panoptic(components(one, rule), components(other, rule))


def test_ignored_voxels_are_background_on_both_sides():
    reference, prediction = maps(3)
    reference[:, 4:6] = IGNORE
    cut = [np.where(reference == IGNORE, 0, side).astype(np.int16) for side in (reference, prediction)]
    found = measure_case(reference, prediction, REGIONS, GRID, EVERYTHING).structures["all"]
    without = measure_case(*cut, REGIONS, GRID, EVERYTHING).structures["all"]
    assert (found.surface, found.lesions, found.instances) == (without.surface, without.lesions, without.instances)
    assert without.overlap.tn - found.overlap.tn == (reference == IGNORE).sum()
    assert (found.overlap.tp, found.overlap.fp) == (without.overlap.tp, without.overlap.fp)


def test_a_prediction_that_abstains_found_nothing():
    reference, prediction = maps(4)
    prediction[prediction == 2] = IGNORE
    found = measure_case(reference, prediction, REGIONS, GRID, EVERYTHING).structures["core"]
    assert found.empty == "prediction"
    assert found.surface.hd is None


def test_only_what_was_annotated_is_measured():
    reference, prediction = maps(5)
    measured = measure_case(reference, prediction, ORGANS, GRID, EVERYTHING, annotated=("spleen",))
    assert list(measured.structures) == ["spleen"]
    assert measured.confusion.sum() == reference.size


def test_what_is_not_asked_for_is_not_there():
    reference, prediction = maps(6)
    score = measure_case(reference, prediction, ORGANS, GRID, MeasureOptions(surface=None)).structures["liver"]
    assert (score.surface, score.lesions, score.instances) == (None, None, None)
    assert list(score.figures()) == list(MEASURES)[:8]


def test_without_a_known_spacing_volumes_are_voxels():
    reference, prediction = maps(7)
    score = measure_case(reference, prediction, ORGANS, Grid((1.0, 1.0, 1.0), known=False)).structures["liver"]
    assert score.volume_reference == (reference == 1).sum()


@pytest.mark.real
def test_a_shifted_real_label(data_dir):
    labels = Labels(structures={"Anterior": 1, "Posterior": 2})
    image = read_label(data_dir / "hippocampus/labelsTr/hippocampus_001.nii.gz")
    indices = labels.encode(image.array[0], "label")
    grid = Grid(image.spacing_mm, image.spacing_known)
    same = measure_case(indices, indices, labels, grid, EVERYTHING).structures
    moved = measure_case(indices, np.roll(indices, 1, axis=2), labels, grid, EVERYTHING).structures
    for name, score in moved.items():
        assert same[name].figures()["hd"] == 0
        assert same[name].overlap == Overlap(same[name].overlap.tp, 0, 0, same[name].overlap.tn)
        figures = score.figures()
        assert figures["hd"] == 1  # the roll is by 1 mm, and no surface is further away than that
        assert 0.1 < figures["assd"] < 0.6
        assert figures["nsd"] == 1
        assert 500 < figures["volume_reference"] * 1000 < 3000
