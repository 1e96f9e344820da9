"""What a plan says about reading holds for training, validation and scoring as it did for planning."""

import csv
import json

import numpy as np
import pytest

import medseg
from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.io.images import write_label
from medseg.io.load import load_case
from medseg.models.workspace import plan_cases
from medseg.preprocessing.cache import load_samples

SHAPE = (12, 16, 16)
RAMP = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), SHAPE)


@pytest.fixture
def soft_set(tmp_path, save_nifti):
    """Three cases whose labels rise from 0 to 1 along x."""
    for number, case in enumerate("abc"):
        noise = np.random.default_rng(number).normal(100, 10, SHAPE).astype(np.float32)
        save_nifti(tmp_path / f"set/images/{case}.nii.gz", noise)
        save_nifti(tmp_path / f"set/labels/{case}.nii.gz", RAMP)
    return tmp_path


def planned(folder, **data):
    options = medseg.PlanOptions(preset="cpu", data=DataOptions(**data), replace=True)
    return medseg.plan(folder / "set", folder, None, options)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_training_reads_as_the_plan_did(soft_set, threshold):
    made = planned(soft_set, threshold=threshold)
    cases = plan_cases(made.path, soft_set / "set", made.plan)
    samples, failed = load_samples(cases, made.plan, made.plan.configuration("3d_fullres"), soft_set / "cache")
    assert failed == {}
    assert all(int((sample.label == 1).sum()) == int((threshold <= RAMP).sum()) for sample in samples)


def test_another_reading_finds_nothing_in_the_cache(soft_set):
    for threshold in (0.5, 0.7):
        made = planned(soft_set, threshold=threshold)
        cases = plan_cases(made.path, soft_set / "set", made.plan)
        load_samples(cases, made.plan, made.plan.configuration("3d_fullres"), soft_set / "cache")
    assert len(list((soft_set / "cache").iterdir())) == 6
    mapped = planned(soft_set, threshold=0.5, map=["1=2"])
    assert mapped.plan.labels.structures == {"foreground": 2}
    cases = plan_cases(mapped.path, soft_set / "set", mapped.plan)
    samples, _ = load_samples(cases, mapped.plan, mapped.plan.configuration("3d_fullres"), soft_set / "cache")
    assert set(samples[0].label.unique().tolist()) <= {-2, 0, 1}


def test_references_are_scored_as_the_plan_read_them(soft_set):
    made = planned(soft_set, threshold=0.7)
    for case in plan_cases(made.path, soft_set / "set", made.plan):
        answer = load_case(case, 1, made.plan.data.reading).label
        write_label(soft_set / f"out/{case.id}.nii.gz", answer)
    write_labels_file(soft_set / "out", made.plan)
    assert json.loads((soft_set / "out/labels.json").read_text())["reading"]["threshold"] == 0.7
    for reference in ("set", "set/labels"):
        result = evaluate(soft_set / "out", soft_set / reference)
        assert result.failed == {}
        assert result.summary.structures["foreground"].dice_mean == 1


def test_a_plan_that_comes_without_its_table_finds_the_files_that_were_named(tmp_path, save_nifti):
    for number, case in enumerate("abc"):
        noise = np.random.default_rng(number).normal(100, 10, SHAPE).astype(np.float32)
        for kind, array in (("t1", noise), ("t2", noise), ("seg", RAMP > 0.5), ("mask", RAMP > 0.1)):
            save_nifti(tmp_path / f"set/{case}_{kind}.nii.gz", array.astype(np.float32))
    made = planned(tmp_path, images=["t2"], labels="seg")
    expected = plan_cases(made.path, tmp_path / "set", made.plan)
    made.cases_path.unlink()
    again = plan_cases(made.path, tmp_path / "set", made.plan)
    assert [(case.id, case.channels, case.label) for case in again] == [
        (case.id, case.channels, case.label) for case in expected
    ]


def test_answers_meet_references_of_similar_names_where_this_is_asked_for(tmp_path, save_picture):
    mask = np.zeros((16, 16))
    mask[4:9, 4:9] = 255
    for number in (1, 2, 3):
        save_picture(tmp_path / f"out/{number:02d}_test.png", mask)
        save_picture(tmp_path / f"ref/{number:02d}_manual1.png", np.roll(mask, number == 3))
    with pytest.raises(DataError, match="No prediction has the name of a reference") as refused:
        evaluate(tmp_path / "out", tmp_path / "ref")
    assert "--pair similar" in str(refused.value)
    assert "01_test with 01_manual1" in str(refused.value)

    result = evaluate(tmp_path / "out", tmp_path / "ref", options=EvaluateOptions(pair="similar"))
    assert [round(case.overlaps["foreground"].dice, 3) for case in result.summary.cases] == [1, 1, 0.8]
    pairs = {str(tmp_path / f"out/0{n}_test.png"): str(tmp_path / f"ref/0{n}_manual1.png") for n in (1, 2, 3)}
    assert result.similar == pairs
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["paired_by_similar_names"] == pairs
    assert {case["prediction"]: case["reference"] for case in metrics["cases"]} == pairs
    rows = csv.DictReader((tmp_path / "out/metrics.csv").open())
    assert {row["prediction"]: row["reference"] for row in rows} == pairs
    assert "02_test.png with 02_manual1.png" in (tmp_path / "out/report.html").read_text()


def test_answers_are_not_scored_against_the_scans_beside_the_references(tmp_path, save_nifti):
    for case in "ab":
        save_nifti(tmp_path / f"ref/{case}.nii", np.full(SHAPE, 100, np.int16))
        save_nifti(tmp_path / f"ref/{case}_seg.nii", (RAMP > 0.5).astype(np.uint8))
        save_nifti(tmp_path / f"out/{case}.nii", (RAMP > 0.5).astype(np.uint8))
    result = evaluate(tmp_path / "out", tmp_path / "ref")
    assert result.summary.structures["foreground"].dice_mean == 1
