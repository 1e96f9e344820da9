"""The examples of docs/development/extend.md: each is run as it stands, each diff applied to a copy of medseg."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from paths import GOLDENS, ROOT

import medseg
from medseg.evaluation.extra_measures import EXTRA_MEASURES
from medseg.evaluation.score import MEASURES
from medseg.io.formats.table import FORMATS
from medseg.models.run_files import RunFolder
from medseg.networks.table import NETWORKS
from medseg.preprocessing.normalize import NORMALIZATIONS
from medseg.training.losses.table import LOSSES

PAGE = (ROOT / "docs" / "development" / "extend.md").read_text(encoding="utf-8")
EXTEND = (ROOT / "medseg" / "extend.py").read_text(encoding="utf-8")
TABLES: tuple[dict[str, Any], ...] = (NETWORKS, LOSSES, NORMALIZATIONS, FORMATS, EXTRA_MEASURES, MEASURES)
ADDED = {
    "medseg.networks.table.NETWORKS": "two_layers",
    "medseg.training.losses.table.LOSSES": "log_cosh_dice",
    "medseg.preprocessing.normalize.NORMALIZATIONS": "percentiles",
    "medseg.io.formats.table.FORMATS": ".npz",
    "medseg.evaluation.extra_measures.EXTRA_MEASURES": "volume_ratio",
}
SMALL = [
    "configurations.3d_fullres.patch_voxels=[16, 16, 16]",
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network={name: plain_unet, features: [4, 8], kernels: [[3, 3, 3], [3, 3, 3]], "
    "strides: [[1, 1, 1], [2, 2, 2]], blocks: [1, 1], decoder_convolutions: [1]}",
    "training.validations=1",
    "training.validation_cases=1",
]


class Block(NamedTuple):
    """A block of code of the page: its language, the file that it is in medseg itself (or ""), and its text."""

    language: str
    file: str
    text: str
    line: int


def blocks(language: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)(?: (\w+))?(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    every = [Block(one[1], one[3] or "", one[4], PAGE[: one.start()].count("\n") + 1) for one in found]
    return [block for block in every if block.language == language]


@pytest.fixture
def unregistered() -> Iterator[None]:
    """The tables, as they were before."""
    before = [dict(table) for table in TABLES]
    yield
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.fixture
def workspace(tmp_path: Path, save_nifti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A planned data set of five small scans with a ball each, and a scan to predict in two formats."""
    monkeypatch.chdir(tmp_path)
    grid = np.indices((16, 16, 16))
    for number in range(5):
        rng = np.random.default_rng(number)
        centre = rng.integers(6, 10, 3)[:, None, None, None]
        ball = (((grid - centre) ** 2).sum(0) < 16).astype(np.uint8)
        image = (100 * ball + rng.normal(0, 10, ball.shape)).astype(np.float32)
        save_nifti(tmp_path / f"dataset/images/case_{number}.nii.gz", image)
        save_nifti(tmp_path / f"dataset/labels/case_{number}.nii.gz", ball)
        if number == 0:
            save_nifti(tmp_path / "scans/case_0.nii.gz", image)
            (tmp_path / "scans_as_npz").mkdir()
            np.savez(tmp_path / "scans_as_npz/case_0.npz", image=image, spacing_mm=[1.0, 1.0, 1.0])
    medseg.plan("dataset", options=medseg.PlanOptions(preset="cpu", overrides=SMALL))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("unregistered")
def test_every_example_runs(workspace: Path) -> None:
    names: dict[str, Any] = {"__name__": "extension"}
    for block in blocks("python"):
        exec(compile("\n" * block.line + block.text, "docs/development/extend.md", "exec"), names)
    runs = workspace / "runs" / "dataset" / "3d_fullres"
    records = [json.loads((RunFolder(runs).fold(str(fold)).record).read_text()) for fold in range(4)]
    assert [record["network_factory"] for record in records] == [None, "extension.two_layers", None, None]
    plans = [medseg.load_plan(RunFolder(runs).fold(str(fold)).plan) for fold in range(4)]
    assert plans[0].configuration("3d_fullres").network.name == "two_layers"
    assert plans[2].training.loss.arguments == {"smooth": 0.001}
    assert plans[3].configuration("3d_fullres").normalization[0].scheme == "percentiles"
    assert names["labels"].array.shape == (1, 16, 16, 16)
    answers = [nib.load(workspace / path).get_fdata() for path in ANSWERS]
    np.testing.assert_array_equal(*answers)  # the same scan and model, from two formats
    table = (workspace / "answers_of_fold_3" / "metrics.csv").read_text()
    assert "volume_ratio" in table
    for table_of_names in TABLES[:3]:  # what is not registered is refused by name
        table_of_names.pop(next(name for name in ADDED.values() if name in table_of_names))
    with pytest.raises(medseg.PlanError, match="no network 'two_layers'"):
        medseg.Predictor.load(workspace / "two_layers.medseg")
    with pytest.raises(medseg.PlanError, match="scheme is 'percentiles'"):
        medseg.Predictor.load(runs / "fold_3")
    with pytest.raises(medseg.ModelError, match=r"network of the user's own, extension\.two_layers"):
        medseg.Predictor.load(runs / "fold_1")
    with pytest.raises(medseg.PlanError, match=r"training\.loss is 'log_cosh_dice'"):
        medseg.train(options=medseg.TrainOptions(fold="4", steps=2, overrides=["training.loss=log_cosh_dice"]))
    medseg.Predictor.load(runs / "fold_2")  # prediction needs no loss


ANSWERS = ("answers_of_fold_3/case_0.nii.gz", "answers_to_npz/case_0.nii.gz")


@pytest.mark.slow
def test_every_diff_makes_its_example_a_part_of_medseg(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diffs, is not installed")
    shutil.copytree(ROOT / "medseg", tmp_path / "medseg", ignore=shutil.ignore_patterns("__pycache__"))
    homes = {
        name.split(" as ")[-1].strip(): home
        for home, imported in re.findall(r"^from (medseg\.\S+) import (.+)$", EXTEND, re.MULTILINE)
        for name in imported.split(",")
    }
    for block in blocks("python"):
        if block.file:
            text = re.sub(
                r"^from medseg\.extend import (.+)$",
                lambda line: "\n".join(sorted(f"from {homes[name]} import {name}" for name in line[1].split(", "))),
                block.text,
                flags=re.MULTILINE,
            )
            (tmp_path / block.file).write_text(text, encoding="utf-8")
    for block in blocks("diff"):
        # hunks have one line of context, so that a new row elsewhere in a table does not spoil them
        apply = ["git", "apply", "--unidiff-zero", "-C1", "--recount", "-"]
        done = subprocess.run(apply, input=block.text, cwd=tmp_path, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"docs/development/extend.md, line {block.line}: {done.stderr}"
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # the new files have to pass lint
    files = [block.file for block in blocks("python") if block.file]
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", *files]
    done = subprocess.run(lint, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0 or "No module named ruff" in done.stderr, done.stdout + done.stderr
    tables = [place.rpartition(".") for place in ADDED]
    imports = "; ".join(f"from {module} import {table}" for module, _, table in tables)
    rows = ", ".join(f"{name!r} in {table}" for (_, _, table), name in zip(tables, ADDED.values(), strict=True))
    code = f"import medseg.extend; {imports}; print(all([{rows}]), medseg.extend.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert done.stdout.split() == ["True", str(tmp_path / "medseg" / "extend.py")], done.stderr
    assert_no_test_objects(tmp_path)


OBJECTING = (
    "tests/test_docs.py::test_every_row_of_a_table_stands_in_the_documentation_with_a_line_on_it",
    "tests/test_docstrings.py",
    "tests/plans/test_json_schema.py",
    "tests/delivery/provenance/test_plan_to_edit.py",
    "tests/networks/test_table.py",
    "tests/networks/test_every_network.py",
    "tests/commands/models/test_networks.py::test_all_networks_are_listed",
    "tests/training/losses/test_every_loss.py",
    "tests/training/losses/test_table.py",
    "tests/preprocessing/test_normalize.py",
    "tests/io/formats/test_table.py",
    "tests/evaluation/test_measures.py",
    "tests/evaluation/test_extra_measures.py",
)
"""Tests that look at every row of a table, or at what is made of tables."""
BY_ROW = "two_layers or log_cosh_dice or percentiles or npz or volume_ratio"
"""Of tests with a parameter for each row, only those of the new rows are run."""


def assert_no_test_objects(copy: Path) -> None:
    """Run the tests of tables in a copy of medseg with new rows: they ask for no other file to change."""
    for folder in ("tests", "docs", "plans"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    chosen = f"({BY_ROW}) or not (test_every_network or test_every_loss)"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, *OBJECTING]
    environment = {**os.environ, "PYTHONPATH": str(copy), "MEDSEG_TEST_GOLDENS": str(GOLDENS)}
    done = subprocess.run(command, cwd=copy, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert re.search(r"\d{3,} passed", done.stdout), done.stdout
