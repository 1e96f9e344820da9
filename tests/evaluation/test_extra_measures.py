"""Measures added from Python: computed by `medseg.evaluate` and in validation, written to every output, checked."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.commands.evaluate.evaluate import EvaluateOptions, evaluate
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.labels import Labels
from medseg.core.progress import silent
from medseg.evaluation.extra_measures import EXTRA_MEASURES, MaskContext, check_registered, register_measure
from medseg.evaluation.label_files import Pair, rules, summarize_pairs
from medseg.evaluation.measures import Grid, MeasureOptions, measure_case
from medseg.evaluation.score import MEASURES, Measure
from medseg.evaluation.summary import Unscored
from medseg.plans.sections.scoring import Scoring

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
CONTEXT = MaskContext("liver", (2, 3, 4), True, 2.0)


def centre_distance(prediction, reference, spacing_mm, context):
    """Distance between the centres of mass of both masks, in mm."""
    centres = [np.argwhere(mask).mean(axis=0) * spacing_mm for mask in (prediction, reference)]
    return float(np.linalg.norm(centres[0] - centres[1]))


CENTRE = Measure("Centre distance", "mm", "low", "distance between the centres of mass", where_empty="distance")


@pytest.fixture(autouse=True)
def tables_as_before():
    """Take out what a test registered."""
    figures, extra = dict(MEASURES), dict(EXTRA_MEASURES)
    yield
    for table, before in ((MEASURES, figures), (EXTRA_MEASURES, extra)):
        table.clear()
        table.update(before)


@pytest.fixture
def folders(tmp_path, save_nifti):
    """One case of 5 x 2 x 1 mm voxels: the liver is predicted 3 voxels further along x, the spleen is missed."""
    reference, prediction = np.zeros((2, 4, 6, 9), np.uint8)
    reference[1:3, 1:3, 1:3], reference[0, 0, 8] = 1, 2
    prediction[1:3, 1:3, 4:6] = 1
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    save_nifti(tmp_path / "out/a.nii.gz", prediction, affine)
    save_nifti(tmp_path / "labels/a.nii.gz", reference, affine)
    return tmp_path / "out", tmp_path / "labels"


def test_a_measure_of_ones_own_goes_into_every_output(folders):
    register_measure("centre_distance", centre_distance, CENTRE)
    options = EvaluateOptions(scoring={"extra_measures": ["centre_distance"], "empty_policy": "brats"})
    result = evaluate(*folders, ORGANS, options)
    figures = result.summary.cases[0].figures
    assert figures["liver"]["centre_distance"] == pytest.approx(3)
    diagonal = figures["spleen"]["hd95"]  # missed: the policy decides, as for HD95
    assert figures["spleen"]["centre_distance"] == diagonal > 3
    assert result.summary.overall["centre_distance"].mean == pytest.approx((3 + diagonal) / 2)
    document = json.loads((folders[0] / "metrics.json").read_text())
    assert document["measures"]["centre_distance"] == {
        "title": "Centre distance",
        "unit": "mm",
        "better": "low",
        "definition": "distance between the centres of mass",
    }
    assert document["structures"]["liver"]["measures"]["centre_distance"]["mean"] == pytest.approx(3)
    row = next(csv.DictReader((folders[0] / "metrics.csv").open()))
    assert float(row["centre_distance"]) == pytest.approx(3)
    page = (folders[0] / "report.html").read_text()
    assert "Centre distance (mm)" in page
    assert "distance between the centres of mass" in page


def test_the_example_in_the_documentation_runs(folders, monkeypatch):
    page = Path(__file__).parents[2] / "docs/prediction/measures.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(folders[0].parent)
    exec(example, {})
    assert "centre_distance" in (folders[0] / "metrics.csv").read_text().splitlines()[0]


def test_it_is_measured_only_where_it_is_asked_for(folders):
    register_measure("centre_distance", centre_distance, CENTRE)
    assert "centre_distance" not in evaluate(*folders, ORGANS).summary.measures
    assert "centre_distance" not in (folders[0] / "metrics.csv").read_text()


def test_two_folders_are_compared_by_it(folders):
    register_measure("centre_distance", centre_distance, CENTRE)
    perfect = shutil.copytree(folders[1], folders[1].with_name("perfect"))
    options = EvaluateOptions(scoring={"extra_measures": ["centre_distance"]}, compare=perfect)
    difference = evaluate(*folders, ORGANS, options).comparison["liver"]["centre_distance"].difference
    assert difference.mean == pytest.approx(3)


def test_an_unregistered_measure_is_refused_by_name(folders):
    with pytest.raises(PlanError, match=r"'centre_distance', which is not registered; registered are \w"):
        evaluate(*folders, ORGANS, EvaluateOptions(scoring={"extra_measures": ["centre_distance"]}))


def test_one_that_labels_json_asks_for_is_left_out_and_said(folders):
    scoring = {"extra_measures": ["centre_distance"]}
    labels = {"labels": ORGANS.model_dump(mode="json"), "scoring": scoring}
    (folders[0] / "labels.json").write_text(json.dumps(labels))
    summary = evaluate(*folders).summary
    assert "not measured, because they are not registered here: centre_distance" in summary.rules
    register_measure("centre_distance", centre_distance, CENTRE)
    assert evaluate(*folders).summary.cases[0].figures["liver"]["centre_distance"] == pytest.approx(3)
    assert not any("not measured" in rule for rule in rules(ORGANS, Scoring(**scoring)))


def test_several_figures_of_one_function(tmp_path, save_nifti):
    def counts(prediction, reference, spacing_mm, context):
        return {"slices_reference": reference.any((1, 2)).sum(), "slices_share": context.tolerance_mm / 0}

    def measure(title):
        return Measure(title, "", None, title.lower(), where_empty="computed")

    register_measure("slices", counts, {"slices_reference": measure("Slices"), "slices_share": measure("Share")})
    reference = np.zeros((3, 4, 5), np.int16)
    reference[:2, 1, 1] = 1
    options = MeasureOptions(extra=("slices",))
    with pytest.raises(DataError, match="failed on liver: ZeroDivisionError"):
        measure_case(reference, reference, ORGANS, Grid((1.0, 1.0, 1.0)), options)

    def counts(prediction, reference, spacing_mm, context):
        return {"slices_reference": reference.any((1, 2)).sum(), "slices_share": np.nan}

    register_measure("slices", counts, {"slices_reference": measure("Slices"), "slices_share": measure("Share")})
    scores = measure_case(reference, 0 * reference, ORGANS, Grid((1.0, 1.0, 1.0)), options).structures
    assert scores["liver"].figures()["slices_reference"] == 2
    assert scores["liver"].figures()["slices_share"] is None
    assert scores["spleen"].figures()["slices_reference"] == 0


def test_a_failing_measure_names_its_case_and_the_others_go_on(folders, save_nifti):
    def fails_on_large_structures(prediction, reference, spacing_mm, context):
        if reference.sum() > 1:
            raise RuntimeError("too large")
        return 1.0

    register_measure("small", fails_on_large_structures, Measure("Small", "", "high", "1 where it is small"))
    small = np.zeros((4, 6, 9), np.uint8)
    small[0, 0, 0] = 1
    for folder in folders:
        save_nifti(folder / "b.nii.gz", small, np.eye(4))
    result = evaluate(*folders, ORGANS, EvaluateOptions(scoring={"extra_measures": ["small"]}))
    assert [case.case for case in result.summary.cases] == ["b"]
    assert "The measure of small failed on liver: RuntimeError: too large" in result.failed["a"]


def test_validation_of_a_run_measures_what_its_plan_names(folders):
    register_measure("centre_distance", centre_distance, CENTRE)
    pair = Pair(Case("a", "a", ()), folders[1] / "a.nii.gz", folders[0] / "a.nii.gz")
    scoring = Scoring(extra_measures=["centre_distance"])
    summary = summarize_pairs([pair], ORGANS, scoring, Unscored(), silent)
    assert summary.structures["liver"].figures["centre_distance"].mean == pytest.approx(3)


def test_a_plan_without_extra_measures_is_written_as_before():
    assert "extra_measures" not in Scoring().model_dump()
    assert Scoring(extra_measures=["x"]).model_dump()["extra_measures"] == ["x"]


def test_2d_images_have_one_slice(tmp_path):
    from PIL import Image as pillow

    seen = []

    def shape(prediction, reference, spacing_mm, context):
        seen.append((prediction.shape, context.image_shape_zyx, context.spacing_known))
        return 0.0

    register_measure("shape", shape, Measure("Shape", "", None, "nothing"))
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:5] = 1
    for side in ("out", "labels"):
        (tmp_path / side).mkdir()
        pillow.fromarray(mask).save(tmp_path / side / "a.png")
    labels = Labels(structures={"cell": 1})
    evaluate(tmp_path / "out", tmp_path / "labels", labels, EvaluateOptions(scoring={"extra_measures": ["shape"]}))
    assert seen == [((1, 2, 3), (1, 5, 7), False)]


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("dice", centre_distance, "There is a figure or column 'dice' already"),
        ("case", centre_distance, "There is a figure or column 'case' already"),
        ("Centre distance", centre_distance, "cannot name a measure"),
        ("centre", lambda prediction, reference: 0.0, "cannot be called"),
    ],
)
def test_what_cannot_be_registered_is_refused(name, function, message):
    with pytest.raises(PlanError, match=message):
        register_measure(name, function, CENTRE)
    assert name == "dice" or name not in MEASURES


def test_names_are_checked_before_training(folders):
    register_measure("centre_distance", centre_distance, CENTRE)
    check_registered(["centre_distance"])
    with pytest.raises(PlanError, match=r"'other', which is not registered; registered are .*centre_distance"):
        check_registered(["centre_distance", "other"])


def test_a_function_that_answers_something_else_is_named():
    register_measure("pair", lambda **masks: {"other": 1.0}, Measure("Pair", "", None, "nothing"))
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(DataError, match="it returned other; expected pair"):
        EXTRA_MEASURES["pair"].figures_of(mask, mask, (1.0, 1.0, 1.0), CONTEXT)
