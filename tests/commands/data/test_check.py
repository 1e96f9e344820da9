"""`medseg check`, and the same inside `medseg plan`: what is damaged is left out, and the rest is as without it."""

import json

import numpy as np
import pytest
from damage import sets

import medseg
from medseg.cli.check import exit_code
from medseg.commands.data.check import check
from medseg.commands.data.options import CheckOptions
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions

SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network.features=[4, 8, 16, 32]",
    "training.validation_cases=1",
]
CLEAN = 10


@pytest.fixture
def pairs(tmp_path, save_nifti):
    """Twelve cases as paired folders, and the name of the folder."""
    random = np.random.default_rng(0)
    for number in range(12):
        label = np.zeros((16, 17, 18), np.uint8)
        label[3:9, 4 : 7 + number % 3, 4 : 8 + number // 3] = 1
        scan = (random.normal(100, 10, label.shape) + 100 * label).astype(np.float32)
        save_nifti(tmp_path / f"set/images/c{number:02d}.nii.gz", scan)
        save_nifti(tmp_path / f"set/labels/c{number:02d}.nii.gz", label)
    return tmp_path / "set"


def test_a_clean_set_has_no_findings(pairs, tmp_path):
    result = check(pairs, tmp_path)
    assert (result.findings, len(result.cases), result.usable) == ([], 12, 12)
    assert result.json_path == tmp_path / "checks" / "set" / "check.json"
    written = json.loads(result.json_path.read_text())
    assert (written["schema_version"], written["cases"], written["usable"], written["findings"]) == (1, 12, 12, [])
    assert written["structures"] == "not declared; the label files hold 0, 1"
    assert "Nothing wrong was found" in result.page_path.read_text()
    assert [exit_code(result, strict) for strict in (False, True)] == [0, 0]


def test_warnings_keep_a_case_and_strict_minds_them(pairs, tmp_path, save_nifti):
    save_nifti(pairs / "labels/c03.nii.gz", np.zeros((16, 17, 18), np.uint8))
    result = check(pairs, tmp_path, CheckOptions(output=tmp_path / "out"))
    assert [(one.kind, one.case) for one in result.warnings] == [("empty label", "c03")]
    assert (result.errors, result.left_out, result.usable) == ([], [], 12)
    assert [exit_code(result, strict) for strict in (False, True)] == [0, 1]
    page = (tmp_path / "out" / "check.html").read_text()
    assert 'alt="c03: axial, coronal, sagittal slices; the label marks nothing"' in page


def test_errors_leave_a_case_out_and_are_written_relative_to_the_set(pairs, tmp_path):
    (pairs / "images/c05.nii.gz").write_bytes(b"")
    (pairs / "labels/c07.nii.gz").unlink()
    events = []
    result = check(pairs, tmp_path, callback=events.append)
    assert result.left_out == ["c05", "c07"]
    assert (len(result.cases), result.usable, exit_code(result, False)) == (12, 10, 1)
    written = json.loads(result.json_path.read_text())["findings"]
    assert [(one["severity"], one["kind"], one["case"], one["file"]) for one in written] == [
        ("error", "truncated", "c05", "images/c05.nii.gz"),
        ("error", "missing label", "c07", "labels"),
    ]
    assert str(tmp_path) not in result.json_path.read_text()
    assert str(tmp_path) not in result.page_path.read_text()
    assert {event.stage for event in events} == {"fingerprint", "pictures"}


def test_a_set_of_which_nothing_can_be_used(pairs, tmp_path):
    for path in (pairs / "images").iterdir():
        path.write_bytes(b"no image")
    result = check(pairs, tmp_path)
    assert (result.usable, exit_code(result, False)) == (0, 2)
    assert {finding.kind for finding in result.findings} == {"unreadable"}


def test_options_of_the_data_set_count(pairs, tmp_path, save_nifti):
    save_nifti(pairs / "labels/c03.nii.gz", np.full((16, 17, 18), 0.4, np.float32))
    assert [one.kind for one in check(pairs, tmp_path).errors] == ["soft label"]
    mended = check(pairs, tmp_path, CheckOptions(data=medseg.DataOptions(threshold=0.5)))
    assert [one.kind for one in mended.findings] == ["empty label"]
    with pytest.raises(medseg.PlanError, match="valid are canonical, stored"):
        check(pairs, tmp_path, CheckOptions(orientation="up"))


def test_plan_leaves_out_what_check_names(pairs, tmp_path, save_nifti):
    save_nifti(pairs / "images/c05.nii.gz", np.zeros((16, 17, 18), np.float32))
    save_nifti(pairs / "labels/c03.nii.gz", np.zeros((16, 17, 18), np.uint8))
    with pytest.raises(medseg.DataError, match="found 1 error and 1 warning, and --strict allows none"):
        medseg.plan(pairs, tmp_path, None, medseg.PlanOptions(preset="cpu", strict=True))
    assert not (tmp_path / "plans").exists()
    planned = medseg.plan(pairs, tmp_path, None, medseg.PlanOptions(preset="cpu"))
    assert [*planned.failed] == ["c05"]
    assert planned.plan.data.cases == 11
    assert any("1 warning, which keeps its case: labels that mark nothing (1)" in note for note in planned.notes)


def train_a_little(place):
    run = medseg.train(None, place, medseg.TrainOptions(steps=3, device="cpu"))
    return run.folder / "weights.safetensors"


@pytest.mark.real
def test_the_clean_rest_of_a_damaged_set_plans_trains_and_predicts_as_without(data_dir, tmp_path):
    source = data_dir / "hippocampus"
    names = [path.name[:-7] for path in sorted((source / "labelsTr").glob("*.gz"))]
    broken = [name for name, (kind, _) in sets.DAMAGE.items() if sets.leaves_out(kind)]
    assert len(broken) >= 25
    options = medseg.PlanOptions(preset="cpu", overrides=SMALL)
    plans, weights = {}, {}
    for place, damaged in (("with", broken), ("without", [])):
        folder = tmp_path / place / "set"
        sets.build(folder, source, names[: CLEAN + len(damaged)], damaged)
        planned = medseg.plan(folder, tmp_path / place, None, options)
        values = planned.plan.model_dump()
        values["data"].pop("left_out", None)  # a record of the names
        plans[place] = (values, planned.cases_path.read_text(), planned.splits_path.read_text())
        weights[place] = train_a_little(tmp_path / place)
    assert plans["with"] == plans["without"]
    assert weights["with"].read_bytes() == weights["without"].read_bytes()
    scan = source / "imagesTr" / f"{names[60]}.nii.gz"
    answers = [
        medseg.predict(scan, tmp_path / place / "out", None, tmp_path / place, medseg.PredictOptions(device="cpu"))
        for place in plans
    ]
    first, second = (next(iter(answer.files.values())).read_bytes() for answer in answers)
    assert first == second


def test_values_below_0_are_told_and_either_hint_settles_them(pairs, tmp_path, save_nifti, monkeypatch):
    from small_sets import run

    for path in sorted((pairs / "labels").iterdir()):
        label = np.zeros((16, 17, 18), np.int16)
        label[3:9, 4:8, 4:8] = 1
        label[:1] = -1
        save_nifti(path, label)
    (note,) = [note for note in check(pairs, tmp_path).notes if "below 0" in note]
    monkeypatch.chdir(tmp_path)
    assert run("plan set") == 2
    for number, option in enumerate(("--ignore -1", "--map -1=0")):
        assert option in note
        assert run(f"plan set --name p{number} {option}") == 0


def test_a_list_that_leaves_out_every_case_is_refused(pairs, tmp_path):
    listing = tmp_path / "ids.txt"
    listing.write_text("\n".join(f"c{number:02d}" for number in range(12)))
    with pytest.raises(DataError, match=r"ids\.txt leaves out all 12 cases"):
        check(pairs, tmp_path, CheckOptions(data=DataOptions(exclude=listing)))


def test_what_may_be_no_scan_is_a_note_and_no_case(pairs, tmp_path):
    before = check(pairs, tmp_path / "before")
    (pairs / "images" / "movie.mp4").touch()
    result = check(pairs, tmp_path / "after")
    assert (result.cases, result.left_out) == (before.cases, before.left_out)
    assert any("movie.mp4 in images is in no format" in note for note in result.notes)
