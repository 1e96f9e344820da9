"""An answer is worth more than what is said of it: where judging fails, it stays."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from builders import make_plan
from judged_examples import NAMES, make_example

from medseg.confidence.quality import fit_quality
from medseg.core.case import Case
from medseg.delivery.answers.segment import segment
from medseg.inference.predictor import Predictor
from medseg.models.model import Model
from medseg.selection.record import Member, Selection


class Halving(torch.nn.Module):
    """Says the first structure where the scan is bright; its deepest layer may run out of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(10.0))
        self.deepest = torch.nn.AvgPool3d(2)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        self.deepest(x)
        zero = torch.zeros_like(x)
        return [self.sharpness * torch.cat([zero, x - 0.5, zero - 1], dim=1)]


def run_out(module: torch.nn.Module, inputs: object, answer: object) -> None:
    if module._forward_hooks and len(module._forward_hooks) > 1:  # only while it is looked at
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")


@pytest.mark.parametrize("short", [False, True], ids=["enough memory", "too little memory"])
def test_an_answer_that_cannot_be_judged_is_kept_and_says_so(tmp_path: Path, short: bool) -> None:
    random = np.random.default_rng(0)
    quality = fit_quality([make_example(number, random) for number in range(45)], NAMES)
    selection = Selection(plan="toy", medseg="0", made="now", members=[Member(configuration="main", folds=["0"])])
    selection = selection.model_copy(update={"quality": quality})
    configuration = {"normalization": [{"scheme": "none"}], "patch_voxels": [8, 8, 8]}
    plan = make_plan(3, configuration, labels={"structures": {NAMES[0]: 1, NAMES[1]: 2}})
    plan.inference.backend = "torch"
    network = Halving()
    if short:
        network.deepest.register_forward_hook(run_out)
    model = Model(plan, "main", ("0",), (network,), Path(), selection=selection)
    predictor = Predictor(model, torch.device("cpu"), compares=False)
    scan = np.zeros((8, 8, 8), np.float32)
    scan[2:5, 2:5, 2:5] = 1
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    (tmp_path / "out").mkdir()
    case = Case("scan", "", (tmp_path / "scan.nii.gz",))
    (outcome,) = segment([predictor], [case], tmp_path / "out")
    assert outcome.problem is None
    assert np.array_equal(nib.load(outcome.files[0]).get_fdata(), scan)
    assert ("quality" in outcome.about) != short
    if short:
        (warning,) = outcome.about["warnings"]
        assert warning.startswith("The answer has no predicted Dice and no flags: There is not enough memory: CUDA")
    assert not predictor._passes.lock.locked()
