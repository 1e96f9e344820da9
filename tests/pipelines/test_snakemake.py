"""The workflow of `examples/Snakefile`, on three studies."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

PROGRAM = os.environ.get("MEDSEG_SNAKEMAKE", "snakemake")
"""Best in an environment of its own: it asks for older packages than others do."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which(PROGRAM) is None,
        reason="no snakemake: pip install snakemake, and MEDSEG_SNAKEMAKE names the program if it is not on the path",
    ),
]


def test_studies_are_segmented_in_jobs_and_collected(
    small_model: Path, write_scans: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    studies = write_scans(tmp_path / "studies", 2)
    (studies / "torn_0000.nii.gz").write_bytes(b"no scan")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "medseg").write_text(f'#!/bin/sh\nexec {sys.executable} -m medseg "$@"\n')
    (tmp_path / "bin" / "medseg").chmod(0o755)
    paths = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    command = [PROGRAM, "--snakefile", ROOT / "examples" / "Snakefile", "--directory", tmp_path, "--cores", "2"]
    command += ["--config", f"studies={studies}", f"model={small_model}", "studies_per_job=1"]
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "answers" / "volumes.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["case"], row["structure"]) for row in rows] == [
        (case, structure) for case in ("scan000", "scan001") for structure in ("one", "two")
    ]
    assert (tmp_path / "answers" / "failed.txt").read_text().startswith("torn: ")
    assert sorted(path.name for path in (tmp_path / "answers" / "job0000").glob("*.nii.gz")) == ["scan000.nii.gz"]
