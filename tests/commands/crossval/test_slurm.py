"""A five-fold cross-validation whose folds are jobs of Slurm."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from cluster_work import cancel_job_at_first
from paths import ROOT
from small_sets import run
from small_slurm import small_slurm, why_not
from toy_workspace import write_toy_workspace

from medseg.core.case import Case, read_cases, write_cases
from medseg.core.files import write_json
from medseg.engines.open import open_engine
from medseg.models.workspace import cases_path, splits_path

if find_spec("dask_jobqueue") is None:  # not imported here: it would take Ctrl-C from pytest and from other tests
    pytest.skip("dask-jobqueue is an option: pip install 'medseg[cluster]'", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=f"no Slurm: {why_not()}")]


def write_workspace(workspace: Path) -> None:
    """Five scans in five folds."""
    write_toy_workspace(workspace)
    plan, data = workspace / "plans" / "toy.yaml", workspace / "data"
    for kind in ("image", "label"):
        shutil.copy(data / f"0_{kind}.nii.gz", data / f"4_{kind}.nii.gz")
    cases = read_cases(cases_path(plan), data)
    more = Case("4", "4", (data / "4_image.nii.gz",), data / "4_label.nii.gz")
    write_cases(cases_path(plan), [*cases, more], data)
    ids = list("01234")
    write_json(splits_path(plan), [{"train": [id for id in ids if id != held], "val": [held]} for held in ids])


def test_a_job_that_ends_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slurm").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")]))
    options = "n_workers: 1\ncores: 1\nmemory: 2GB\nlog_directory: logs\ninterface: lo\n"
    (tmp_path / "cluster.yaml").write_text(options)
    with small_slurm(tmp_path / "slurm") as environment:
        for name in ("PATH", "SLURM_CONF"):
            monkeypatch.setenv(name, environment[name])
        with open_engine("slurm:cluster.yaml") as engine:
            results = list(engine.map(cancel_job_at_first, [tmp_path / "marker"]))
    assert results == [(tmp_path / "marker", "marker")]
    assert len([*(tmp_path / "logs").glob("*.out")]) == 2  # the job, and the one in its place


def test_five_folds_are_jobs_and_end_as_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("slurm", "here", "there"):
        (tmp_path / name).mkdir()
    write_workspace(tmp_path / "here")
    write_workspace(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "here")
    assert run("crossval --steps 2 --device cpu") == 0
    monkeypatch.chdir(tmp_path / "there")
    options = "n_workers: 2\ncores: 1\nmemory: 2GB\nwalltime: '00:20:00'\nlog_directory: logs\ninterface: lo\n"
    (tmp_path / "there" / "cluster.yaml").write_text(options)
    with small_slurm(tmp_path / "slurm") as environment:
        for name in ("PATH", "SLURM_CONF"):
            monkeypatch.setenv(name, environment[name])
        assert run("crossval --steps 2 --device cpu --cluster slurm:cluster.yaml") == 0
        (tmp_path / "there" / "wrong.yaml").write_text(options + "queue: nowhere\n")
        assert run("crossval --steps 2 --device cpu --cluster slurm:wrong.yaml") == 2
        left = subprocess.check_output(["squeue", "-h", "-t", "R,PD"], env=environment, text=True)
    for fold in range(5):
        weights = Path("runs") / "toy" / "main" / f"fold_{fold}" / "weights.safetensors"
        assert (tmp_path / "here" / weights).read_bytes() == (tmp_path / "there" / weights).read_bytes()
    table = Path("runs") / "toy" / "main" / "crossval" / "metrics.csv"
    here = (tmp_path / "here" / table).read_text()
    assert here == (tmp_path / "there" / table).read_text().replace("/there/", "/here/")
    assert len([*(tmp_path / "there" / "logs").iterdir()]) >= 2
    assert left.strip() == ""
