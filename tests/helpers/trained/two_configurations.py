"""A workspace with a plan of two configurations, 2d and 3d_fullres, and two folds of each: trained, or made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from builders import INFERENCE, configuration_values, network_values, plan_values

from medseg.commands.crossval.crossval import crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.train.options import TrainOptions
from medseg.core.case import Case, write_cases
from medseg.core.files import write_json
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import RunFolder
from medseg.models.workspace import cases_path, splits_path
from medseg.plans.file import save_plan, validate_plan
from medseg.plans.schema import Plan

NAMES = ("2d", "3d_fullres")
FOLDS = [{"train": ["0", "1"], "val": ["2", "3"]}, {"train": ["2", "3"], "val": ["0", "1"]}]
SHAPE = (20, 18, 10)
"""x, y, z of the scans."""


def write_trained(workspace: Path) -> None:
    """Write what `write_planned` does, and train all folds for some steps."""
    write_planned(workspace)
    options = CrossvalOptions(configurations=NAMES, training=TrainOptions(steps=8, device="cpu"))
    assert not crossval(None, workspace, options).failed


def write_made_up(workspace: Path, labels: dict[str, Any] | None = None) -> Plan:
    """Write what `write_planned` does, and folds of random weights."""
    plan = write_planned(workspace, labels)
    for name in NAMES:
        for fold, split in enumerate(FOLDS):
            torch.manual_seed(fold)
            files = RunFolder(workspace / "runs" / "toy" / name).fold(str(fold))
            save_plan(plan, files.plan)
            write_json(files.split, split)
            record = RunRecord(configuration=name, fold=str(fold))
            save_weights(make_network(plan, plan.configuration(name)), files, record)
    return plan


def write_planned(workspace: Path, labels: dict[str, Any] | None = None) -> Plan:
    """Write four scans, another one to predict (`new/4.nii.gz`) and the plan `toy` with two folds.

    Axes of the scans run to L, P and S and the two configurations have other spacings, so that grids differ.
    """
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    cases = []
    for number in range(5):
        label = np.zeros(SHAPE, np.uint8)
        label[4:11, 4 : 10 + number, 2:8] = 1
        label[12:16, 5:11, 3:7] = 2
        scan = (label * 2 + rng.normal(size=label.shape) + 3).astype(np.float32)
        scan[:2] = 0  # outside of the content
        folder = workspace / ("data" if number < 4 else "new")
        folder.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(scan, affine), folder / f"{number}.nii.gz")
        if number < 4:
            nib.save(nib.Nifti1Image(label, affine), folder / f"{number}_label.nii.gz")
            cases.append(
                Case(str(number), str(number), (folder / f"{number}.nii.gz",), folder / f"{number}_label.nii.gz")
            )
    of_2d = configuration_values(2, patch_voxels=[16, 16], network=network_values(2, 2), spacing_mm=[1.0, 1.0])
    of_3d = configuration_values(3, patch_voxels=[8, 8, 8], network=network_values(3, 2), spacing_mm=[2.0, 1.5, 1.5])
    values = plan_values(
        name="toy",
        orientation="canonical",
        configurations=dict(zip(NAMES, (of_2d, of_3d), strict=True)),
        default_configuration="3d_fullres",
        inference={**INFERENCE, "backend": "torch"},  # nothing is compiled: faster for networks this small
        **({} if labels is None else {"labels": labels}),
    )
    plan = validate_plan(values, {}, "a test's plan")
    path = workspace / "plans" / "toy.yaml"
    save_plan(plan, path)
    write_cases(cases_path(path), cases, workspace / "data")
    write_json(splits_path(path), FOLDS)
    return plan
