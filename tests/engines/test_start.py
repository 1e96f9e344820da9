"""Options of clusters that are started, and the keys of those that run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg.core.errors import PlanError

pytest.importorskip("distributed")

from medseg.engines import start
from medseg.engines.start import running, slurm_options


def test_a_process_works_on_one_item_with_all_of_its_cores() -> None:
    options = slurm_options({"n_workers": 3, "cores": 8, "memory": "16GB", "queue": "gpu"}, "f")
    assert (options["processes"], options["worker_extra_args"]) == (1, ["--nthreads", "1"])
    assert "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}" in options["job_script_prologue"]
    assert "export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}" in options["job_script_prologue"]
    assert (options["queue"], options["memory"], options["n_workers"]) == ("gpu", "16GB", 3)
    assert (options["security"], options["protocol"]) == (True, "tls://")


def test_what_the_user_says_stays() -> None:
    given: dict[str, Any] = {
        "n_workers": 2,
        "cores": 8,
        "processes": 4,
        "worker_extra_args": ["--resources", "GPU=1", "--nthreads", "2"],
        "job_script_prologue": ["module load python"],
        "security": False,
    }
    options = slurm_options(given, "f")
    assert options["worker_extra_args"] == given["worker_extra_args"]
    assert options["job_script_prologue"][0] == "module load python"
    assert "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}" in options["job_script_prologue"]
    assert (options["security"], options.get("protocol")) == (False, None)
    assert given["job_script_prologue"] == ["module load python"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cores": 1}, "n_workers is None"),
        ({"n_workers": 0}, "n_workers is 0"),
        ({"n_workers": 1, "cores": "many"}, "cores is 'many'"),
        ({"n_workers": 1, "processes": 0}, "processes 0"),
    ],
)
def test_numbers_that_are_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        slurm_options(given, "f.yaml")


def test_keys_of_a_running_scheduler_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "dask.yaml"
    file.write_text("distributed: {comm: {tls: {ca-file: ca.pem, client: {cert: c.pem, key: k.pem}}}}\n")
    with running(f"tls://node:8786,{file}") as workers:
        assert (workers.address, workers.count) == ("tls://node:8786", None)
        assert (workers.security.tls_ca_file, workers.security.tls_client_key) == ("ca.pem", "k.pem")


def test_only_keys_that_the_file_lacks_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "dask.yaml"
    file.write_text("distributed: {comm: {tls: {ca-file: ca.pem}}}\n")
    with pytest.raises(PlanError, match=r"where the keys are: distributed\.comm\.tls\.client\.cert is missing"):
        running(f"tls://node:8786,{file}")


def test_a_slurm_that_does_not_answer_is_no_stack_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\nexec sleep 60\n")
    sbatch.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(start, "_MOST_SECONDS", 0.2)
    with pytest.raises(
        PlanError, match=r"did not answer within 0\.2 s whether it would take the jobs of c\.yaml"
    ) as error:
        start._try_job("#!/bin/sh\n", "c.yaml")
    assert "sinfo" in str(error.value.hint)


@pytest.mark.parametrize(
    ("content", "message"), [("- a list", "holds no options"), ("a: [", "not valid YAML"), (None, "cannot be read")]
)
def test_files_that_are_none(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "dask.yaml").write_text(content)
    with pytest.raises(PlanError, match=message):
        running(f"tls://node:8786,{tmp_path / 'dask.yaml'}")


def test_ctrl_c_stays_medsegs_own() -> None:
    """Importing dask-jobqueue replaces the handler; in a process of its own, as a module is imported once."""
    script = (
        "import signal\n"
        "from medseg.engines.start import ctrl_c_kept\n"
        "with ctrl_c_kept():\n"
        "    import dask_jobqueue\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    pytest.importorskip("distributed")
    subprocess.run([sys.executable, "-c", script], check=True)
