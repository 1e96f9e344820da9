"""Partly labelled cases from the table of cases to the scores."""

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_plan, make_sample

import medseg
from medseg.commands.train.probe import DiceProbe
from medseg.core.labels import IGNORE
from medseg.inference.window_pass import predict_logits
from medseg.models.model import make_network

CASES = ("hippocampus_001", "hippocampus_003", "hippocampus_004", "hippocampus_007", "hippocampus_008")
SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network.features=[4, 8, 16, 32]",
    "training.validation_cases=5",
    "training.validations=2",
]


@pytest.fixture
def workspace(data_dir, tmp_path):
    """Five real cases with voxels of value 3 that nobody looked at, planned."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for case in CASES:
        image = tmp_path / "set" / "imagesTr" / f"{case}_0000.nii.gz"
        image.symlink_to(data_dir / "hippocampus" / "imagesTr" / f"{case}.nii.gz")
        stored = nib.load(data_dir / "hippocampus" / "labelsTr" / f"{case}.nii.gz")
        label = np.asarray(stored.dataobj).astype(np.uint8)
        label[:, ::3] = 3
        nib.save(nib.Nifti1Image(label, stored.affine), tmp_path / "set" / "labelsTr" / f"{case}.nii.gz")
    declared = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2, "ignore": 3},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(declared))
    medseg.plan(tmp_path / "set", tmp_path, None, medseg.PlanOptions(preset="cpu", overrides=SMALL))
    return tmp_path


def annotate(place, **annotated):
    """Fill in the column `annotated` and plan again."""
    table = place / "plans" / "set.cases.csv"
    rows = list(csv.DictReader(table.open()))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "annotated": annotated.get(row["id"], "")} for row in rows)
    options = medseg.PlanOptions(preset="cpu", overrides=SMALL, replace=True)
    return medseg.plan(place / "set", place, None, options)


@pytest.mark.real
def test_partly_labelled_cases_are_planned_trained_and_scored(workspace):
    partly = dict.fromkeys(CASES[:2], "Anterior")
    planned = annotate(workspace, **partly)
    assert planned.plan.data.structure_cases == {"Anterior": 5, "Posterior": 3}
    result = medseg.train(None, workspace, medseg.TrainOptions(fold="all", steps=4, device="cpu"))
    assert any("Posterior in 3 of 5" in note for note in result.notes)
    fold = next(
        number for number, one in enumerate(json.loads(planned.splits_path.read_text())) if one["val"][0] == CASES[0]
    )
    result = medseg.train(None, workspace, medseg.TrainOptions(fold=str(fold), steps=4, device="cpu"))
    metrics = json.loads((result.folder / "validation" / "metrics.json").read_text())
    (case,) = metrics["cases"]
    assert list(case["structures"]) == ["Anterior"]
    label = np.asarray(nib.load(workspace / "set" / "labelsTr" / f"{CASES[0]}.nii.gz").dataobj)
    counted = sum(case["structures"]["Anterior"][count] for count in ("tp", "fp", "fn", "tn"))
    assert counted == (label != 3).sum()
    assert metrics["structures"]["Posterior"]["n_annotated"] == 0


@pytest.mark.real
def test_a_structure_that_nobody_annotated_is_named(workspace):
    with pytest.raises(medseg.DataError, match="Posterior was annotated in none of the cases"):
        annotate(workspace, **dict.fromkeys(CASES, "Anterior"))
    with pytest.raises(medseg.DataError, match="hippocampus_003 says that Tail was annotated"):
        annotate(workspace, hippocampus_003="Tail")
    planned = annotate(workspace, **dict.fromkeys(CASES[:4], "Anterior"))
    fold = next(
        number for number, one in enumerate(json.loads(planned.splits_path.read_text())) if one["val"][0] == CASES[4]
    )
    with pytest.raises(medseg.DataError, match="Posterior was annotated in none of the cases to train on"):
        medseg.train(None, workspace, medseg.TrainOptions(fold=str(fold), steps=2, device="cpu"))


def test_the_dice_while_training_is_that_of_annotated_structures():
    plan = make_plan(training={**make_plan().training.model_dump(), "validation_cases": 4})
    rng = np.random.default_rng(0)
    samples = []
    for number in range(4):
        sample = make_sample(rng.normal(size=(16,) * 3), rng.integers(0, 3, (16,) * 3), name=str(number))
        samples.append(replace(sample, case=replace(sample.case, annotated=("one",))))
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main")).eval()
    found = DiceProbe(plan, plan.configuration("main"), torch.device("cpu"), samples)(network)
    assert found["one"] is not None
    assert found["two"] is None
    whole = [replace(sample, case=replace(sample.case, annotated=None)) for sample in samples]
    assert DiceProbe(plan, plan.configuration("main"), torch.device("cpu"), whole)(network)["one"] == found["one"]


def test_ignored_voxels_do_not_count_while_training():
    plan = make_plan()
    configuration = plan.configuration("main")
    rng = np.random.default_rng(0)
    sample = make_sample(rng.normal(size=(16,) * 3), rng.integers(0, 3, (16,) * 3))
    torch.manual_seed(0)
    network = make_network(plan, configuration).eval()
    logits = predict_logits([network], sample.image, configuration, plan.inference, torch.float32, plan.labels.outputs)
    wrong = plan.labels.decide(logits) != sample.label
    assert 0.1 < wrong.float().mean() < 0.9
    only_right = replace(sample, label=sample.label.masked_fill(wrong, IGNORE))
    found = DiceProbe(plan, configuration, torch.device("cpu"), [only_right])(network)
    assert 1.0 in found.values()
    assert set(found.values()) <= {1.0, None}


@pytest.mark.parametrize("kinds", [("one",), ("one", "two")])
def test_the_cases_shown_while_training_are_of_every_kind(kinds):
    plan = make_plan(training={**make_plan().training.model_dump(), "validation_cases": 2})
    samples = []
    for number in range(8):
        sample = make_sample(np.zeros((4,) * 3), np.ones((4,) * 3), name=str(number))
        samples.append(replace(sample, case=replace(sample.case, annotated=kinds if number % 2 else ("two",))))
    chosen = DiceProbe(plan, plan.configuration("main"), torch.device("cpu"), samples).samples
    assert {sample.case.annotated for sample in chosen} == {kinds, ("two",)}
