"""The summary over cases: every mean is worked out by hand beside it."""

import csv
import json

import numpy as np
import pytest

from medseg.core.labels import Labels
from medseg.evaluation.empties import POLICIES
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import StructureScore
from medseg.evaluation.summary import CaseScore, Unscored, summarize
from medseg.evaluation.tables import write_metrics_csv, write_metrics_json, write_pooled_csv

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
TUMOUR = Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2])

PERFECT = Overlap(tp=4, fp=0, fn=0, tn=12)  # Dice 1, IoU 1
HALF = Overlap(tp=2, fp=2, fn=2, tn=10)  # Dice 1/2, IoU 1/3
BOTH_EMPTY = Overlap(tp=0, fp=0, fn=0, tn=16)
INVENTED = Overlap(tp=0, fp=3, fn=0, tn=13)  # Dice 0
MISSED = Overlap(tp=0, fp=0, fn=5, tn=11)  # Dice 0

NOTHING = np.zeros((3, 3), dtype=np.int64)
POLICY = POLICIES["default"].describe()


def case(name, overlaps, voxel_volume=1.0, **rest):
    """A case of which only voxels were counted."""
    scores = {key: StructureScore(overlap, voxel_volume or 1.0, diagonal=10.0) for key, overlap in overlaps.items()}
    return CaseScore(name, scores, spacing_known=voxel_volume is not None, **rest)


@pytest.fixture
def summary():
    cases = [
        case("a", {"liver": PERFECT, "spleen": BOTH_EMPTY}, 0.5),
        case("b", {"liver": HALF, "spleen": INVENTED}, 0.25),
        case("c", {"liver": PERFECT, "spleen": MISSED}, 1.0),
        case("d", {"liver": HALF}, 1.0),  # the spleen was not annotated
    ]
    confusion = np.array([[20, 5, 3], [2, 10, 0], [5, 0, 0]])
    return summarize(ORGANS, cases, confusion, Unscored({"e": "cannot\nbe read"}, ["f"], ["g"]))


def test_means_over_cases(summary):
    liver = summary.structures["liver"]
    assert (liver.n, liver.n_both_empty, liver.n_reference_empty, liver.n_prediction_empty) == (4, 0, 0, 0)
    dice, iou = liver.figures["dice"], liver.figures["iou"]
    assert dice.mean == dice.median == liver.dice_mean == 0.75  # of 1, 1/2, 1, 1/2
    assert iou.mean == iou.median == pytest.approx(2 / 3)  # of 1, 1/3, 1, 1/3
    assert liver.figures["volume_reference"].mean == pytest.approx(
        (2 + 1 + 4 + 4) / 4
    )  # 4 voxels of 0.5, 0.25, 1 and 1 ml


def test_both_empty_is_left_out_and_one_empty_is_0(summary):
    spleen = summary.structures["spleen"]
    assert (spleen.n, spleen.n_both_empty, spleen.n_reference_empty, spleen.n_prediction_empty) == (2, 1, 1, 1)
    assert [spleen.figures[name].mean for name in ("dice", "iou")] == [0, 0]
    assert spleen.figures["volume_reference"].mean == pytest.approx(5 / 3)  # 0, 0 and 5 ml
    assert spleen.figures["volume_prediction"].mean == pytest.approx(0.75 / 3)  # 0, 3 x 0.25 and 0 ml


def test_overall_means_are_over_structures_of_means_over_cases(summary):
    assert summary.dice_mean == (0.75 + 0) / 2  # the mean over all six defined scores would be 0.5
    assert summary.overall["iou"].mean == pytest.approx((2 / 3 + 0) / 2)


def test_miou_has_the_background_and_sums_before_dividing(summary):
    # background 20 / (20 + 5 + 3 + 2 + 5), liver 10 / (10 + 2 + 5), spleen 0 / (5 + 3)
    assert summary.miou == pytest.approx((20 / 35 + 10 / 17 + 0) / 3)
    assert "background" in summary.pooled.miou_definition
    assert summary.miou_cases == 3


def test_pooled_scores_have_a_row_for_each_class_and_one_for_all(tmp_path):
    labels = Labels(structures={"A": 1})
    confusion = np.array([[95, 0], [5, 0]])  # 100 pixels, 5 of class A, all answered background
    score = StructureScore(Overlap(tp=0, fp=0, fn=5, tn=95), 1.0, diagonal=10.0)
    summary = summarize(labels, [CaseScore("a", {"A": score})], confusion)
    write_pooled_csv(tmp_path / "pooled.csv", summary)
    columns = ("class", "iou", "accuracy", "tp", "fp", "fn")
    with open(tmp_path / "pooled.csv", newline="") as stream:
        rows = [[row[name] for name in columns] for row in csv.DictReader(stream)]
    assert rows == [
        ["background", "0.95", "1.0", "95", "5", "0"],
        ["A", "0.0", "0.0", "0", "0", "5"],
        ["all classes", "0.475", "0.95", "", "", ""],
    ]
    write_metrics_json(tmp_path / "metrics.json", summary, labels)
    overall = json.loads((tmp_path / "metrics.json").read_text())["overall"]
    assert (overall["miou"], overall["pixel_accuracy"], overall["commonest_class_share"]) == (0.475, 0.95, 0.95)
    assert overall["classes"]["A"]["fn"] == 5
    assert "misleads" in overall["pixel_accuracy_note"]


def test_nothing_to_average():
    summary = summarize(ORGANS, [case("a", {"liver": BOTH_EMPTY, "spleen": BOTH_EMPTY}, None)], NOTHING)
    assert (summary.dice_mean, summary.overall["iou"].mean, summary.miou) == (None, None, None)
    assert summary.cases[0].dice_mean is None
    assert summary.structures["liver"].figures["dice"].median is None


def test_a_case_is_scored_over_the_structures_that_it_has(summary):
    assert [case.dice_mean for case in summary.cases] == [1, 0.25, 0.5, 0.5]


def test_volumes_are_pixels_where_the_spacing_is_unknown():
    unknown = case("a", {"liver": HALF, "spleen": MISSED}, None)
    assert (unknown.volume_unit, unknown.figures["spleen"]["volume_reference"]) == ("pixels", 5)
    known = case("b", {"liver": HALF, "spleen": MISSED}, 0.5)
    assert (known.volume_unit, known.figures["spleen"]["volume_reference"]) == ("ml", 2.5)
    mixed = summarize(ORGANS, [unknown, known], NOTHING).structures["spleen"]
    assert (mixed.volume_unit, "volume_reference" in mixed.figures) == ("mixed", False)
    assert mixed.figures["dice"].n == 2


def test_another_policy_counts_empty_answers_to_empty_references_as_right():
    policy = POLICIES["brats"]
    cases = [case("a", {"liver": BOTH_EMPTY}, policy=policy), case("b", {"liver": INVENTED}, policy=policy)]
    summary = summarize(Labels(structures={"liver": 1}), cases, NOTHING[:2, :2], policy=policy)
    assert (summary.dice_mean, summary.structures["liver"].n) == (0.5, 2)
    assert "brats" in summary.policy.describe()


def test_the_interval_over_structures_is_that_of_the_mean_shown():
    dice = [Overlap(tp=k, fp=8 - k, fn=8 - k, tn=9) for k in range(1, 8)]
    cases = [case(f"c{k}", {"liver": one, "spleen": one}, patient=f"p{k // 2}") for k, one in enumerate(dice)]
    overall, liver = (
        (content := summarize(ORGANS, cases, NOTHING)).overall["dice"],
        content.structures["liver"].figures["dice"],
    )
    assert (overall.mean, overall.low, overall.high) == pytest.approx((liver.mean, liver.low, liver.high))
    assert liver.n_groups == 4


def test_json_holds_everything_and_no_nan(summary, tmp_path):
    write_metrics_json(tmp_path / "metrics.json", summary, ORGANS)
    text = (tmp_path / "metrics.json").read_text()
    content = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert content["schema_version"] == 2
    assert content["empty_policy"] == POLICY
    assert content["overall"]["measures"]["dice"]["mean"] == 0.375
    assert content["overall"]["cases"] == 4
    assert content["confusion"] == {
        "values": ["background", "liver", "spleen"],
        "voxels": [[20, 5, 3], [2, 10, 0], [5, 0, 0]],
    }
    assert {"dice", "volume_error"} <= content["measures"].keys()
    assert content["structures"]["spleen"]["n_both_empty"] == 1
    assert [case["case"] for case in content["cases"]] == ["a", "b", "c", "d"]
    spleen = content["cases"][0]["structures"]["spleen"]
    assert (spleen["dice"], spleen["empty"], spleen["tn"]) == (None, "both", 16)
    assert list(content["cases"][3]["structures"]) == ["liver"]
    assert (content["failed"], content["without_prediction"], content["without_reference"]) == (
        {"e": "cannot\nbe read"},
        ["f"],
        ["g"],
    )


def test_csv_has_a_row_for_each_case_and_structure(summary, tmp_path):
    write_metrics_csv(tmp_path / "metrics.csv", summary)
    with open(tmp_path / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [(row["case"], row["structure"]) for row in rows]
    assert names[:7] == [(c, s) for c in "abc" for s in ("liver", "spleen")] + [("d", "liver")]
    assert names[7:] == [("e", "liver"), ("e", "spleen")]
    assert {row["empty_policy"] for row in rows} == {POLICY}
    by_name = dict(zip(names, rows, strict=True))
    assert (by_name["b", "liver"]["dice"], by_name["b", "liver"]["volume_reference"]) == ("0.5", "1.0")
    assert (by_name["a", "spleen"]["dice"], by_name["a", "spleen"]["empty"]) == ("", "both")
    assert (by_name["b", "spleen"]["dice"], by_name["b", "spleen"]["empty"]) == ("0.0", "reference")
    assert (by_name["c", "spleen"]["dice"], by_name["c", "spleen"]["empty"]) == ("0.0", "prediction")
    assert (by_name["e", "liver"]["dice"], by_name["e", "liver"]["failed"]) == ("", "cannot be read")
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics.csv"]


def test_the_overall_interval_is_over_the_structures_of_the_mean():
    cases = [case(f"c{n}", {"liver": HALF, "spleen": HALF}, 1.0) for n in range(4)]
    cases.append(case("pixels", {"spleen": INVENTED}, None))  # the spleen's volumes have two units: left out
    volume = summarize(ORGANS, cases, NOTHING).overall["volume_prediction"]
    assert (volume.mean, volume.low, volume.high) == (4, 4, 4)
