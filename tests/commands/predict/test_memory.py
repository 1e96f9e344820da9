"""A scan of many classes is segmented in memory that does not grow with classes times voxels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import RESAMPLE_IMAGE, make_plan, network_values

from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import save_plan

CLASSES = 60
SHAPE = (360, 112, 112)
COMMAND = """
import re, sys
from medseg.commands.predict.predict import predict
from medseg.commands.predict.options import PredictOptions

def megabytes(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def run(scans):
    options = PredictOptions(device="cpu", overrides=["inference.backend=torch"])
    result = predict(sys.argv[1] + scans, sys.argv[1] + "/out" + scans, sys.argv[2], options=options)
    assert len(result.files) == 1 and not result.failed, result.failed

run("/small")
before = megabytes("VmRSS")
run("/large")
print(megabytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_follows_the_tiles_and_not_the_volume(tmp_path: Path, save_nifti: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    spacing = np.diag([0.8, 0.8, 1.5, 1.0])
    for name, shape in (("small", (20, 60, 60)), ("large", SHAPE)):
        save_nifti(tmp_path / name / "a_0000.nii.gz", rng.integers(1, 1000, shape, dtype=np.int16), spacing)
    plan = make_plan(
        configuration={
            "spacing_mm": [1.5, 1.5, 1.5],
            "patch_voxels": [32, 32, 32],
            "resample_image": RESAMPLE_IMAGE,
            "network": network_values(stages=2),
        },
        labels={"structures": {f"structure {value}": value for value in range(1, CLASSES)}},
    )
    torch.manual_seed(0)
    save_plan(plan, tmp_path / "run" / "main" / "fold_0" / PLAN)
    network = make_network(plan, plan.configuration("main"))
    save_weights(network, FoldFolder(tmp_path / "run" / "main" / "fold_0"), RunRecord(configuration="main"))
    command = [sys.executable, "-c", COMMAND, str(tmp_path), str(tmp_path / "run" / "main")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took, voxels = float(done.stdout), int(np.prod(SHAPE))
    logits_of_scan, logits_of_network = (CLASSES * 4 * count / 2**20 for count in (voxels, voxels * (0.8 / 1.5) ** 2))
    assert logits_of_scan > 1000
    assert logits_of_network > 280
    assert took < logits_of_network, took  # held whole, they would come on top of all else: over 400
