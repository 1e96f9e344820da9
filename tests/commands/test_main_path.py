"""The whole way on real scans: plan, train, predict, evaluate, with a few steps each."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.commands.data.options import parse_memory
from medseg.commands.records.verify import verify
from medseg.core.files import write_text
from medseg.models.workspace import Workspace
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection

CASES = (
    "hippocampus_001",
    "hippocampus_003",
    "hippocampus_004",
    "hippocampus_007",
    "hippocampus_008",
    "hippocampus_011",
)
SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network.features=[4, 8, 16, 32]",
    "training.validation_cases=1",
]


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A workspace with six hippocampus cases planned and one fold trained for a few steps."""
    workspace = tmp_path_factory.mktemp("workspace")
    everything = sorted(
        file.name.removesuffix(".nii.gz") for file in (data_dir / "hippocampus" / "imagesTr").glob("*.gz")
    )
    listing = workspace / "excluded.txt"
    listing.write_text("\n".join(name for name in everything if name not in CASES))
    options = medseg.PlanOptions(preset="cpu", data=medseg.DataOptions(exclude=listing), overrides=SMALL)
    planned = medseg.plan(data_dir / "hippocampus", workspace, None, options)
    result = medseg.train(None, workspace, medseg.TrainOptions(steps=12, device="cpu"))
    return workspace, planned, result


@pytest.mark.real
def test_plan_writes_a_plan_a_table_and_folds(trained):
    workspace, planned, _ = trained
    assert planned.path == workspace / "plans" / "hippocampus.yaml"
    assert planned.plan.data.cases == 6
    assert "# " in planned.path.read_text()
    rows = list(csv.DictReader(planned.cases_path.open()))
    assert [row["id"] for row in rows] == list(CASES)
    folds = json.loads(planned.splits_path.read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(CASES)
    again = medseg.load_plan(planned.path)
    assert again == planned.plan
    assert again.reasons == planned.plan.reasons


@pytest.mark.real
def test_train_leaves_a_complete_run(trained):
    workspace, planned, result = trained
    assert result.folder == workspace / "runs" / "hippocampus" / "3d_fullres" / "fold_0"
    for name in ("plan.yaml", "weights.safetensors", "run.json", "log.jsonl", "report.html", "checkpoint.pt"):
        assert (result.folder / name).is_file(), name
    assert result.record.as_json()["steps"] == 12
    scored = json.loads((result.folder / "validation" / "metrics.json").read_text())
    assert set(scored["structures"]) == {"Anterior", "Posterior"}
    medseg.report(result.folder, workspace)
    found = verify(result.folder, [workspace / planned.plan.data.folder])
    assert (found.changes, found.notes) == ([], [])
    assert len([one for one in found.files if one.role == "input"]) == 12, "a scan and a label of six cases"
    assert not [path for path in workspace.rglob(".*") if path.is_file()], "temporary files are left"
    assert repr(planned).startswith(f"<PlanResult: {planned.path}, 6 cases, configurations 2d, 3d_fullres")
    assert repr(result) == f"<TrainResult: {result.folder}, 12 steps, mean Dice {result.summary.dice_mean:.4f}>"


@pytest.mark.real
def test_a_finished_run_is_not_overwritten(trained):
    workspace, _, _ = trained
    with pytest.raises(medseg.ModelError, match="trained model already"):
        medseg.train(None, workspace, medseg.TrainOptions(steps=1))


@pytest.mark.real
def test_predictions_lie_on_the_scans_own_grid_and_a_bad_file_is_named(trained, data_dir, tmp_path):
    workspace, _, _ = trained
    scans = tmp_path / "scans"
    scans.mkdir()
    for case in CASES[:2]:
        shutil.copy(data_dir / "hippocampus" / "imagesTr" / f"{case}.nii.gz", scans)
    flipped = nib.load(scans / f"{CASES[1]}.nii.gz")
    turned = flipped.as_reoriented(nib.orientations.axcodes2ornt(("P", "L", "S")))
    nib.save(turned, scans / "turned_0000.nii.gz")
    (scans / "broken.nii.gz").write_bytes((scans / f"{CASES[0]}.nii.gz").read_bytes()[:500])
    result = medseg.predict(scans, tmp_path / "out", None, workspace, medseg.PredictOptions(device="cpu"))
    assert set(result.files) == {CASES[0], CASES[1], "turned"}
    assert set(result.failed) == {"broken"}
    assert repr(result) == "<PredictResult: 3 label maps, 1 failed>"
    for case, source in ((CASES[0], f"{CASES[0]}.nii.gz"), ("turned", "turned_0000.nii.gz")):
        scan, answer = nib.load(scans / source), nib.load(result.files[case])
        assert answer.shape == scan.shape
        np.testing.assert_allclose(answer.affine, scan.affine, atol=1e-5)
    straight = nib.load(result.files[CASES[1]])
    back = nib.load(result.files["turned"]).as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(nib.load(result.files["turned"]).affine), nib.io_orientation(straight.affine)
        )
    )
    # mean and deviation of a scan are summed in the order in which it is stored: the last bits of its values differ
    assert (np.asarray(back.dataobj) == np.asarray(straight.dataobj)).mean() > 0.999
    names = json.loads((tmp_path / "out" / "labels.json").read_text())["names"]
    assert names == {"Anterior": 1, "Posterior": 2}
    volumes = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open()))
    assert {row["unit"] for row in volumes} == {"ml"}
    voxels = int((np.asarray(straight.dataobj) == 1).sum())
    ours = next(row for row in volumes if row["case"] == CASES[1] and row["structure"] == "Anterior")
    assert float(ours["volume"]) == pytest.approx(voxels / 1000, rel=1e-5)


@pytest.mark.real
def test_evaluate_scores_what_predict_wrote(trained, data_dir, tmp_path):
    workspace, _, _ = trained
    scan = data_dir / "hippocampus" / "imagesTr" / f"{CASES[0]}.nii.gz"
    medseg.predict(scan, tmp_path / "out", None, workspace, medseg.PredictOptions(device="cpu", mirror=False))
    result = medseg.evaluate(tmp_path / "out" / f"{CASES[0]}.nii.gz", data_dir / "hippocampus" / "labelsTr" / scan.name)
    assert [case.case for case in result.summary.cases] == [CASES[0]]
    assert 0 <= result.summary.structures["Anterior"].dice_mean <= 1


@pytest.mark.real
def test_a_budget_fixes_the_number_of_steps_before_the_first(trained, data_dir, tmp_path):
    """That a budget is kept to is shown in tests/training/length/test_budget.py, by a clock that the test drives."""
    workspace, _, _ = trained
    other = tmp_path / "other"
    shutil.copytree(workspace / "plans", other / "plans")

    def stop(event):
        if event.stage == "train" and event.done == 10:
            raise medseg.Cancelled

    day = medseg.TrainOptions(budget_seconds=24 * 3600, device="cpu", data=data_dir / "hippocampus")
    with pytest.raises(medseg.Cancelled):
        medseg.train(None, other, day, stop)
    fold = other / "runs" / "hippocampus" / "3d_fullres" / "fold_0"
    record = json.loads((fold / "run.json").read_text())
    assert record["budget_seconds"] == 24 * 3600
    assert record["steps"] >= 20, "a day is enough for that on any machine"
    assert f"--steps {record['steps']}" in record["repeat_with"]
    with pytest.raises(medseg.PlanError, match="at least"):
        medseg.train(None, other, medseg.TrainOptions(fold="1", budget_seconds=1, data=data_dir / "hippocampus"))


@pytest.mark.real
def test_replanning_reads_an_edited_table_back(data_dir, tmp_path):
    cases = tmp_path / "plans" / "set.cases.csv"
    images, labels = data_dir / "hippocampus" / "imagesTr", data_dir / "hippocampus" / "labelsTr"
    rows = ["id,patient,channels,label,annotated,weight,site"]
    rows += [
        f"{case},p{number // 2},{images / case}.nii.gz,{labels / case}.nii.gz,,2,north"
        for number, case in enumerate(CASES)
    ]
    write_text(cases, "\n".join(rows) + "\n")
    planned = medseg.plan(data_dir / "hippocampus", tmp_path, "set", medseg.PlanOptions(preset="cpu"))
    assert planned.plan.data.cases == 6
    kept = list(csv.DictReader(cases.open()))
    assert {row["site"] for row in kept} == {"north"}
    assert [row["patient"] for row in kept] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    folds = json.loads(planned.splits_path.read_text())
    assert len(folds) == 3, "one fold a patient"


def test_memory_is_read_as_people_write_it():
    assert parse_memory("24GB") == parse_memory("24") == parse_memory("24 gib") == 24.0
    with pytest.raises(medseg.PlanError, match="--memory 24GB"):
        parse_memory("much")


def test_a_workspace_with_several_plans_or_models_asks_which(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    with pytest.raises(medseg.PlanError, match="no plan"):
        workspace.plan_path(None)
    for name in ("liver", "spleen"):
        write_text(workspace.plans / f"{name}.yaml", "")
        write_text(workspace.runs / name / "2d" / "fold_0" / "weights.safetensors", "")
    with pytest.raises(medseg.PlanError, match="liver, spleen"):
        workspace.plan_path(None)
    assert workspace.plan_path("spleen") == workspace.plans / "spleen.yaml"
    with pytest.raises(medseg.ModelError, match="liver/2d, spleen/2d"):
        workspace.model_path(None)
    assert workspace.model_path("spleen") == workspace.model_path("spleen/2d") == workspace.runs / "spleen" / "2d"
    for choice in ("spleen/", "spleen/2d/", workspace.runs / "spleen", f"{workspace.runs}/spleen/2d/"):
        assert workspace.model_path(choice) == workspace.runs / "spleen" / "2d"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spleen").mkdir()
    assert str(workspace.model_path("./spleen")) == "spleen", "a path, though a model has its name"
    with pytest.raises(medseg.ModelError, match="lung"):
        workspace.model_path("lung")
    write_text(workspace.runs / "spleen" / "3d_fullres" / "fold_0" / "weights.safetensors", "")
    with pytest.raises(medseg.ModelError, match="--model spleen/2d"):
        workspace.model_path("spleen")
    members = [Member(configuration="3d_fullres", folds=["0"])]
    write_selection(
        Selection(plan="spleen", medseg="0", made="now", members=members), selection_path(workspace.runs / "spleen")
    )
    with pytest.raises(medseg.ModelError, match="--model spleen/3d_fullres"):
        workspace.model_path("spleen")


@pytest.mark.real
def test_a_report_is_made_anew_from_what_lies_in_the_run(trained):
    workspace, _, result = trained
    first = (result.folder / "report.html").read_text()
    (result.folder / "report.html").unlink()
    (page,) = medseg.report(workspace=workspace).files
    assert page == result.folder / "report.html"
    again = page.read_text()
    metrics = json.loads((result.folder / "validation" / "metrics.json").read_text())
    assert f"{metrics['overall']['measures']['dice']['mean']:.3f}" in again
    assert again.count("data:image/png") == first.count("data:image/png") > 0
