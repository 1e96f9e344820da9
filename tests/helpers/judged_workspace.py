"""A workspace to cross-validate, with cases enough for a selection that judges answers, and new scans, one spoilt."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from toy_workspace import toy_plan

from medseg.core.case import Case, write_cases
from medseg.core.files import write_json
from medseg.models.workspace import cases_path, splits_path
from medseg.plans.file import save_plan

CASES = 24
STEPS = 25
"""Steps a fold, after which answers are neither all good nor all bad."""


def write_judged_workspace(workspace: Path) -> None:
    """Write the plan `toy` with two folds of twelve cases each, and three scans in `new/`, the last of noise alone."""
    cases = []
    for number in range(CASES):
        image, mask = (workspace / "data" / f"{number}_{kind}.nii.gz" for kind in ("image", "label"))
        nib.save(nib.Nifti1Image(_write_scan(image, number), np.eye(4)), mask)
        cases.append(Case(str(number), str(number), (image,), mask))
    plan_path = workspace / "plans" / "toy.yaml"
    plan = toy_plan()
    plan.inference.backend = "torch"  # nothing is compiled: faster for networks this small
    save_plan(plan, plan_path)
    write_cases(cases_path(plan_path), cases, workspace / "data")
    ids = [str(number) for number in range(CASES)]
    write_json(splits_path(plan_path), [{"train": ids[12:], "val": ids[:12]}, {"train": ids[:12], "val": ids[12:]}])
    for number in range(3):
        _write_scan(workspace / "new" / f"{number}.nii.gz", 20 + number, spoilt=number == 2)


def _write_scan(path: Path, number: int, spoilt: bool = False) -> np.ndarray:
    """Write a scan with two bright boxes, or one of noise alone, and return its label."""
    rng = np.random.default_rng(number)
    label = np.zeros((24, 24, 3), np.uint8)
    label[6:14, 5 : 15 + number % 4] = 1
    label[15:20, 4 : 10 + number % 3] = 2
    scan = rng.normal(scale=9, size=label.shape) if spoilt else label * 4 + rng.normal(size=label.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(scan.astype(np.float32), np.eye(4)), path)
    return label
