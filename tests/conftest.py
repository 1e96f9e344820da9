"""Shared fixtures: where the real scans lie, and ways to write tiny ones."""

from __future__ import annotations

import os

# The tensors of tests are tiny; more threads only wait for each other. In the environment, and not in torch alone, as
# `medseg train` in this process would set torch's to the cores, for all tests that follow, and processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_plan
from paths import DATA
from PIL import Image as pillow

from medseg.cli.app import main
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.core.machine import stopping
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, RunFolder
from medseg.plans.file import save_plan

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# A script's background ignores SIGINT, nohup SIGHUP, and so would every process that a test starts and then stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not DATA.is_dir():
        skip = pytest.mark.skip(reason=f"no real scans in {DATA}; set MEDSEG_TEST_DATA")
        for item in items:
            if "real" in item.keywords:
                item.add_marker(skip)
    if "PYTEST_XDIST_WORKER" in os.environ:
        # files are handed to the processes in this order: a long one at the end would leave all but one without work
        by_file = {path: list(group) for path, group in groupby(items, lambda item: item.path)}
        longest_first = sorted(by_file.values(), key=lambda group: not any("slow" in item.keywords for item in group))
        items[:] = [item for group in longest_first for item in group]


@pytest.fixture(autouse=True)
def no_signal_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no signal of a test be taken for an echo of the one that a test before it sent within half a second."""
    monkeypatch.setattr(stopping._LastSignal, "time", -math.inf)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans; its users carry the marker `real`."""
    return DATA


@pytest.fixture
def save_nifti() -> Callable[..., Path]:
    """Write an array (z, y, x) or (channel, z, y, x) as NIfTI."""

    def save(path: Path, array: object, affine: object = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.asarray(array).transpose()
        grid = np.eye(4) if affine is None else np.asarray(affine, dtype=float)
        nib.save(nib.Nifti1Image(stored, grid, dtype=stored.dtype), path)
        return path

    return save


@pytest.fixture
def save_picture() -> Callable[..., Path]:
    """Write an array (y, x) or (y, x, colour) as PNG, BMP or JPEG."""

    def save(path: Path, array: object, dtype: object = np.uint8) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(np.asarray(array, dtype=dtype)).save(path)
        return path

    return save


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `medseg` with some words in this process: what a process of its own would print, without its start."""

    def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["medseg", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return subprocess.CompletedProcess(sys.argv, int(done.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two folds of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "toy" / "main"
    plan = make_plan(configuration={"spacing_mm": [1.0, 1.2, 1.2]})
    for fold in (0, 1):
        torch.manual_seed(fold)
        save_plan(plan, folder / f"fold_{fold}" / PLAN)
        network = make_network(plan, plan.configuration("main"))
        save_weights(network, RunFolder(folder).fold(str(fold)), RunRecord(configuration="main"))
    return folder


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A folder with `scans`, of which one cannot be read, and `out`, the answers of `small_model`; to be read only."""
    folder = tmp_path_factory.mktemp("answered")
    (folder / "scans").mkdir()
    for number in range(3):
        array = np.random.default_rng(number).normal(100, 20, size=(17, 18, 14)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1.0, 1.5, 1.0])), folder / f"scans/scan{number}_0000.nii.gz")
    (folder / "scans" / "bad_0000.nii.gz").write_bytes(b"\x1f\x8b")
    predict(folder / "scans", folder / "out", small_model, options=PredictOptions(device="cpu"))
    return folder


@pytest.fixture
def write_scans(save_nifti: Callable[..., Path]) -> Callable[[Path, int], Path]:
    """Write a number of small scans, all different, into a folder."""

    def write(folder: Path, count: int) -> Path:
        for number in range(count):
            rng = np.random.default_rng(number)
            array = rng.normal(100, 20, size=(14 + number % 5, 18, 17)).astype(np.float32)
            save_nifti(folder / f"scan{number:03d}_0000.nii.gz", array, np.diag([-1.0, 1.0, 1.5, 1.0]))
        return folder

    return write
