"""`medseg predict` with 2d and 3d_fullres together on one CT of 512 x 512 x 300 voxels, under a memory watch.

    python benchmarks/prediction/ensemble.py
    python benchmarks/prediction/ensemble.py --half          # an eighth of the voxels, for a quick look

Scan and 3D model are those of `ct.py`. The 2D network has random weights and sees slices at 0.8 mm, so that the grids
of both differ. A selection names both, and the largest component of all structures together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ct_model import make_model
from ct_plan import NAME, ct_plan, network_values
from ct_scan import SHAPE_ZYX, make_ct, write_ct
from watch import watch

from medseg.io.images import read_label
from medseg.models.model import make_network
from medseg.models.record import RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import PLAN, FoldFolder
from medseg.plans.file import load_plan, save_plan, validate_plan
from medseg.plans.schema import Plan
from medseg.selection.file import selection_path, write_selection
from medseg.selection.record import Member, Selection, Step


def two_configurations(plan: Plan) -> Plan:
    """Return the plan with a 2D configuration of slices of 512 x 512."""
    values = plan.model_dump()
    network = network_values([8, 16, 32, 64])
    network = {
        key: [step[1:] for step in value] if key in ("kernels", "strides") else value for key, value in network.items()
    }
    values["configurations"]["2d"] = {
        **values["configurations"][NAME],
        "spacing_mm": [0.8, 0.8],
        "median_shape_voxels": [512.0, 512.0],
        "patch_voxels": [256, 256],
        "rotation_degrees": [180.0],
        "in_plane_only": True,
        "mirror_axes": [0, 1],
        "network": network,
    }
    return validate_plan(values, {}, "the benchmark's plan")


def make_models(runs: Path, scan: np.ndarray, classes: int) -> None:
    """Write a run of each configuration, and the selection."""
    make_model(runs / NAME, scan, classes, 128)
    folder = runs / "2d" / "fold_0"
    plan = two_configurations(ct_plan(classes))
    torch.manual_seed(1)
    save_plan(plan, folder / PLAN)
    save_weights(make_network(plan, plan.configuration("2d")), FoldFolder(folder), RunRecord(configuration="2d"))
    members = [Member(configuration=name, folds=["0"]) for name in ("2d", NAME)]
    steps = [Step(operation="largest_component", structures=[*load_plan(folder / PLAN).labels.names])]
    selection = Selection(plan="ct", medseg="a benchmark", made="now", members=members, postprocessing=steps)
    write_selection(selection, selection_path(runs))


def main() -> None:
    """Make scan and models, run the command, look at the answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=26)
    parser.add_argument("--half", action="store_true", help="half the voxels along each axis")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="further options of medseg predict, after --")
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="medseg-ensemble-"))
    scan, runs = place / "scans" / "ct_0000.nii.gz", place / "runs" / "ct"
    scan.parent.mkdir(parents=True)
    array = make_ct(tuple(size // 2 for size in SHAPE_ZYX) if arguments.half else SHAPE_ZYX)
    write_ct(scan, array)
    make_models(runs, array, arguments.classes)
    del array
    options = [option for option in arguments.options if option != "--"]
    command = [sys.executable, "-m", "medseg", "predict", scan.parent, place / "out", "--model", runs, *options]
    watched = watch(command, least=1.0)
    print(watched.output)
    answer = read_label(place / "out" / "ct.nii.gz").array
    row = {
        "shape": list(answer.shape[1:]),
        "seconds": round(watched.seconds, 1),
        "peak_pss_gb": round(watched.peak_gb, 2),
        "classes_present": int(np.count_nonzero(np.bincount(answer.ravel()))),
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
    }
    print(json.dumps(row))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
