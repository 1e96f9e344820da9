"""The class of the value 0, where labels have no background, from the plan to every answer, table and page."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_sets import run, write_data, write_study

CLASSES = ["tissue", "ball"]
"""Of the values 0 and 1: together they are every voxel."""
_TINY = (
    "--set configurations.3d_fullres.patch_voxels=[16,16,16] --set configurations.3d_fullres.batch_size=2 "
    "--set configurations.3d_fullres.network.features=[4,8,8] --set training.validation_cases=1"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every verb was called with labels that have no background."""
    folder = tmp_path_factory.mktemp("scene")
    write_data(folder / "data")
    write_study(folder / "study")
    declared = json.loads((folder / "data" / "dataset.json").read_text())
    labels = {"background": None, "tissue": 0, "ball": 1}
    (folder / "data" / "dataset.json").write_text(json.dumps({**declared, "labels": labels}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (
            "check data",
            f"plan data --name scene --preset cpu {_TINY}",
            "train --steps 3 --set 'training.class_weights={tissue: 2}' --set training.train_scores=true",
            "package scene scene.medseg",
            "predict data/imagesTr answers --model scene.medseg --overlay --probabilities",
            "evaluate answers data/labelsTr --output scores",
            "predict study objects --model scene.medseg --write nifti,seg,rtstruct,report --generic-codes",
        ):
            assert run(line) == 0, line
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_plan_and_package_have_it(workspace: Path) -> None:
    plan = (workspace / "plans" / "scene.yaml").read_text()
    assert "background: null" in plan
    assert "tissue: 0" in plan
    labels = json.loads((workspace / "answers" / "labels.json").read_text())
    assert labels["names"] == {"tissue": 0, "ball": 1}
    assert labels["labels"]["background"] is None


@pytest.mark.slow
def test_training_shows_and_scores_it(workspace: Path) -> None:
    fold = workspace / "runs" / "scene" / "3d_fullres" / "fold_0"
    records = [json.loads(line) for line in (fold / "log.jsonl").read_text().splitlines()]
    validations = [record for record in records if record["kind"] == "validation"]
    for record in validations:
        assert [*record["dice"]] == [*record["iou"]] == [*record["train_dice"]] == CLASSES
    assert [*json.loads((fold / "validation" / "metrics.json").read_text())["structures"]] == CLASSES
    for page in (fold / "report.html", fold / "live.html", workspace / "scores" / "report.html"):
        assert "tissue" in page.read_text(), page


@pytest.mark.slow
def test_answers_hold_it_and_nothing_else_is_left(workspace: Path) -> None:
    volumes = {(row["case"], row["structure"]): float(row["volume"]) for row in rows(workspace / "answers/volumes.csv")}
    for number in range(5):
        case = f"case_{number}"
        values = np.asarray(nib.load(workspace / "answers" / f"{case}.nii.gz").dataobj)
        assert [volumes[case, name] for name in CLASSES] == [
            pytest.approx((values == value).sum() / 1000) for value in (0, 1)
        ]
        files = [workspace / "answers" / "probabilities" / case / f"{name}.nii.gz" for name in CLASSES]
        assert np.allclose(sum(np.asarray(nib.load(path).dataobj) for path in files), 1, atol=0.02)
    assert len([*(workspace / "answers" / "overlays").iterdir()]) == 5


@pytest.mark.slow
def test_scores_have_its_row(workspace: Path) -> None:
    scores = workspace / "scores"
    assert {row["structure"] for row in rows(scores / "metrics.csv")} == {*CLASSES}
    assert [row["class"] for row in rows(scores / "pooled.csv")] == [*CLASSES, "all classes"]
    metrics = json.loads((scores / "metrics.json").read_text())
    assert [*metrics["structures"]] == CLASSES


@pytest.mark.slow
def test_dicom_objects_have_it(workspace: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    objects = {dataset.Modality: dataset for dataset in map(pydicom.dcmread, workspace.glob("objects/*.dcm"))}
    assert [segment.SegmentLabel for segment in objects["SEG"].SegmentSequence] == CLASSES
    assert [roi.ROIName for roi in objects["RTSTRUCT"].StructureSetROISequence] == CLASSES
    assert "tissue" in str(objects["SR"])
    frames = objects["SEG"].pixel_array
    assert frames.sum() == 16 * 16 * 8  # every voxel is in a segment
