"""nnU-Net's own models, in our network, on its scans: the labels must be the ones that nnU-Net wrote.

Geometry, crop, normalization, resampling, network, tiles, flips, folds and label decisions all have to agree for
this to pass. The weights are renamed by hand, so nothing here depends on `medseg.models.nnunet`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import GOLDENS, NNUNET, golden_network, golden_plan

from medseg.inference.predictor import Predictor
from medseg.io import read_image, read_label
from medseg.models.run import Model

MODELS = ["plain3d", "aniso3d", "resenc3d", "plain2d", "regions3d", "plain3d_small_patch"]
FOLDS = {"plain3d": ["fold_0", "fold_1"]}
CASES = [f"case{number}" for number in range(6)]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"no goldens in {GOLDENS}; set MEDSEG_TEST_GOLDENS"),
]


@cache
def predictor_of(model: str, mirrored: bool) -> Predictor:
    plan = golden_plan(model)
    plan.inference.mirror = mirrored
    folds = FOLDS.get(model, ["fold_0"])
    networks = tuple(golden_network(plan, fold) for fold in folds)
    return Predictor(Model(plan, plan.default_configuration, tuple(folds), networks, Path()), torch.device("cpu"))


def check(model: str, case: str, mirrored: bool) -> None:
    answer = predictor_of(model, mirrored)(read_image(NNUNET / "scans" / f"{case}_0000.nii.gz"))
    folder = "expected_mirrored" if mirrored else "expected"
    theirs = read_label(NNUNET / model / folder / f"{case}.nii.gz")
    assert answer.same_grid(theirs)
    off = int((answer.array != theirs.array).sum())
    assert off <= 0.001 * theirs.array.size
    assert off <= max(3, 0.002 * np.count_nonzero(theirs.array))  # nnU-Net adds up its tiles in half precision


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", MODELS)
def test_labels_equal_nnunets(model: str, case: str) -> None:
    check(model, case, mirrored=False)


@pytest.mark.parametrize("model", MODELS)
def test_mirrored_labels_equal_nnunets(model: str) -> None:
    check(model, "case2", mirrored=True)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "case2"])
@pytest.mark.parametrize("model", MODELS)
def test_mirrored_labels_of_all_scans_equal_nnunets(model: str, case: str) -> None:
    check(model, case, mirrored=True)
