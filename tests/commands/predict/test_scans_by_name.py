"""Scans without the model's channel, and further scans of one case, are named wherever people look."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders import make_plan
from small_sets import run

from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.plans.file import save_plan

WriteScans = Callable[[Path, int], Path]


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with random weights for one channel, `ct`."""
    folder = tmp_path_factory.mktemp("runs") / "toy" / "main"
    plan = make_plan(configuration={"spacing_mm": [1.0, 1.2, 1.2]})
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"channels": ["ct"]})})
    torch.manual_seed(0)
    save_plan(plan, folder / "fold_0" / PLAN)
    network = make_network(plan, plan.configuration("main"))
    save_weights(network, RunFolder(folder).fold("0"), RunRecord(configuration="main"))
    return folder


def named_scans(folder: Path, names: str, write_scans: WriteScans) -> None:
    """Write one small scan under several names."""
    (scan,) = write_scans(folder.parent / "one", 1).iterdir()
    for name in names.split():
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, path)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("p1/ct p1/t1 p2/t1", "p2: there is no ct; there is t1"),
        ("p1_ct p1_t1 p2_t1", "p2: there is no ct; there is t1"),
        ("p1_ct p1_t1 p2_ct p2-ct", "p2: p2-ct.nii.gz and p2_ct.nii.gz claim to be the ct of this one case; keep one"),
        ("p1_ct p1_t1 p2_ct ct-p2", "p2: ct-p2.nii.gz and p2_ct.nii.gz claim to be the ct of this one case; keep one"),
    ],
)
def test_a_case_that_cannot_be_answered_is_named_and_the_exit_code_tells(
    tmp_path: Path,
    write_scans: WriteScans,
    ct_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: str,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    named_scans(tmp_path / "scans", names, write_scans)
    assert run(f"predict scans out -m {ct_model} --device=cpu --no-page") == 1
    shown = capsys.readouterr()
    assert why in " ".join((shown.out + shown.err).split())
    assert [path.name for path in Path("out").glob("*.nii.gz")] == ["p1.nii.gz"]


def test_a_folder_without_the_channel_is_refused(
    tmp_path: Path, write_scans: WriteScans, ct_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named_scans(tmp_path / "scans", "p1_t1 p2_t1", write_scans)
    assert run(f"predict {tmp_path}/scans {tmp_path}/out -m {ct_model} --device=cpu") == 2
    assert "p1: there is no ct; there is t1" in " ".join(capsys.readouterr().err.split())
    assert run(f"predict {tmp_path}/scans {tmp_path}/out -m {ct_model} --device=cpu --channels '*_t1.nii.gz'") == 0
    assert len([*(tmp_path / "out").glob("*.nii.gz")]) == 2, "a pattern says that they are meant all the same"


def test_further_scans_of_a_case_are_passed_over_by_name(
    tmp_path: Path,
    write_scans: WriteScans,
    ct_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    named_scans(tmp_path / "scans", "p1_ct p1_ct_2 p2_ct p2_ct_followup p2_v3", write_scans)
    assert run(f"predict scans out -m {ct_model} --device=cpu") == 0
    out = capsys.readouterr().out
    assert ", 2 passed over;" in out
    assert all(f"1 scan in scans/{name}.nii.gz was passed over" in out for name in ("p1_ct_2", "p2_ct_followup"))
    assert "are of no channel of the model: v3 (1); the first is scans/p2_v3.nii.gz" in " ".join(out.split())
    entry = json.loads(Path("out/manifest.json").read_text())["commands"]["predict"]
    assert [passed["file"] for passed in entry["passed_over"]] == ["p1_ct_2.nii.gz", "p2_ct_followup.nii.gz"]
