"""A workspace with a plan of a tiny 2D network and four small scans: training it takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from builders import make_augmentation, make_plan, make_training, network_values

from medseg.core.case import Case, write_cases
from medseg.core.files import write_json
from medseg.models.workspace import cases_path, splits_path
from medseg.plans.file import save_plan
from medseg.plans.schema import Plan


def toy_plan(**training: Any) -> Plan:
    """The plan; `training` are values of its section that differ."""
    augmentation = make_augmentation(rotation_probability=0.5, noise_probability=0.5, gamma_probability=0.3)
    values = make_training(average_weights=0.9, validations=3, augmentation=augmentation.model_dump(), **training)
    configuration = {
        "patch_voxels": [16, 16],
        "network": network_values(2, 2, features=[4, 8]),
        "spacing_mm": [1.0, 1.0],
        "median_shape_voxels": [24.0, 24.0],
    }
    data = make_plan(2).data.model_dump()
    return make_plan(2, configuration, training=values.model_dump(), data={**data, "cases": 4, "folder": "data"})


def write_toy_workspace(workspace: Path) -> None:
    """Write four scans and the plan `toy`, with one fold."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(4):
        label = np.zeros((24, 24, 3), np.uint8)
        label[6:14, 5 : 15 + number] = 1
        label[15:20, 4:12] = 2
        for kind, array in (("image", label * 2 + rng.normal(size=label.shape)), ("label", label)):
            (workspace / "data").mkdir(parents=True, exist_ok=True)
            stored = array.astype(np.uint8 if kind == "label" else np.float32)
            nib.save(nib.Nifti1Image(stored, np.eye(4)), workspace / "data" / f"{number}_{kind}.nii.gz")
        image, mask = (workspace / "data" / f"{number}_{kind}.nii.gz" for kind in ("image", "label"))
        cases.append(Case(str(number), str(number), (image,), mask))
    plan_path = workspace / "plans" / "toy.yaml"
    save_plan(toy_plan(), plan_path)
    write_cases(cases_path(plan_path), cases, workspace / "data")
    write_json(splits_path(plan_path), [{"train": ["0", "1", "2"], "val": ["3"]}])
