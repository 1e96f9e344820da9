"""`medseg predict` on one CT of 512 x 512 x 300 voxels with 105 classes, the whole command, under a memory watch.

    python benchmarks/prediction/ct.py
    python benchmarks/prediction/ct.py --half          # an eighth of the voxels, for a quick look
    python benchmarks/prediction/ct.py --side 768      # a cube of 768^3 voxels of 0.8 mm

The scan and the model are made up (`ct_scan`, `ct_model`) before the clock starts: 0.8 x 0.8 x 1.5 mm, a network of
more than a million parameters, patches of 128^3 at 1.5 mm. The answer must have all classes in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from ct_model import make_model
from ct_plan import NAME
from ct_scan import SHAPE_ZYX, SPACING_ZYX_MM, make_ct, write_ct
from watch import watch

from medseg.io.images import read_label


def main() -> None:
    """Make scan and model, run the command, look at the answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=105)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--half", action="store_true", help="half the voxels along each axis")
    parser.add_argument("--side", type=int, help="a cube of so many voxels of 0.8 mm along each edge instead")
    parser.add_argument("--folder", type=Path, help="where scan and model stay, to be used again")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="further options of medseg predict, after --")
    arguments = parser.parse_args()
    shape, spacing_mm = SHAPE_ZYX, SPACING_ZYX_MM
    if arguments.side is not None:
        shape, spacing_mm = (arguments.side,) * 3, (0.8, 0.8, 0.8)
    if arguments.half:
        shape = tuple(size // 2 for size in shape)
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="medseg-ct-"))
    scan, model = place / "scans" / "ct_0000.nii.gz", place / "runs" / "ct" / NAME
    if not scan.exists():
        scan.parent.mkdir(parents=True)
        array = make_ct(shape)
        write_ct(scan, array, spacing_mm)
        print(f"{make_model(model, array, arguments.classes, arguments.patch):,} parameters", flush=True)
        del array
    options = [option for option in arguments.options if option != "--"]
    command = [sys.executable, "-m", "medseg", "predict", scan.parent, place / "out", "--model", model, *options]
    watched = watch(command, least=1.0)
    print(watched.output)
    answer = read_label(place / "out" / "ct.nii.gz").array
    counts = np.bincount(answer.ravel(), minlength=arguments.classes)
    print(
        json.dumps(
            {
                "shape": list(answer.shape[1:]),
                "seconds": round(watched.seconds, 1),
                "cpu_seconds": round(watched.cpu_seconds, 1),
                "peak_pss_gb": round(watched.peak_gb, 2),
                "classes_present": int(np.count_nonzero(counts)),
                "smallest_class_voxels": int(counts.min()),
                "voxels_beside_another_class": round(float(np.mean(answer[..., 1:] != answer[..., :-1])), 3),
                "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
            }
        )
    )


if __name__ == "__main__":
    main()
