"""Export alone: logits on the network's grid to labels on the scan's, by medseg and nnU-Net, each in fresh processes.

    python benchmarks/prediction/export.py --classes 3 26 105 --nnunet PYTHON_WITH_NNUNETV2
    python benchmarks/prediction/export.py --classes 105 --eighth --noise

A CT of 300 x 512 x 512 voxels of 1.5 x 0.8 x 0.8 mm, logits (float16) on a grid of 1.5 mm: 300 x 273 x 273. They are
made once, outside the time, and read from a file by both. Memory is the process's peak above what it holds with
the logits read. nnU-Net holds float64 copies of all classes: with 105 it needs more than 23 GB, so give it
`--eighth` (150 x 256 x 256) there. medseg's loops are compiled on first use on a machine: `first_s` is a tiny export
before the others (with a fresh NUMBA_CACHE_DIR it shows what compiling takes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SPACING_MM = (1.5, 0.8, 0.8)
NETWORK_MM = (1.5, 1.5, 1.5)
FULL = ((300, 273, 273), (300, 512, 512))
EIGHTH = ((150, 137, 137), (150, 256, 256))
Export = Callable[[np.ndarray, tuple[int, int, int]], np.ndarray]


def medseg_export(outputs: int) -> tuple[Export, dict[str, str]]:
    import torch

    from medseg import __version__
    from medseg.core.image import Orientation
    from medseg.core.labels import Labels
    from medseg.plans.schema import Configuration, Resampling
    from medseg.preprocessing.restore import restore
    from medseg.preprocessing.volume import Geometry

    labels = Labels(structures={f"structure {number}": number for number in range(1, outputs)})
    how = Resampling(order=1, order_across=0, separate_axis=None)
    configuration = Configuration.model_construct(resample_logits=how)

    def export(logits: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
        geometry = Geometry(Orientation(), (0, 1, 2), shape, box, SPACING_MM, NETWORK_MM)
        return restore([torch.from_numpy(logits)], geometry, labels, configuration)

    return export, {"medseg": __version__, "torch": torch.__version__}


def nnunet_export(outputs: int) -> tuple[Export, dict[str, str]]:
    from importlib.metadata import version

    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    how = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "architecture": {},
        "spacing": NETWORK_MM,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": how,
    }
    plans = {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager"}
    manager = PlansManager({**plans, "configurations": {"3d_fullres": configuration}})
    structures = {f"structure {number}": number for number in range(1, outputs)}
    threads = os.cpu_count() or 1
    labels = manager.get_label_manager({"labels": {"background": 0, **structures}})

    def export(logits: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        properties = {
            "spacing": SPACING_MM,
            "shape_before_cropping": shape,
            "bbox_used_for_cropping": [[0, size] for size in shape],
            "shape_after_cropping_and_before_resampling": shape,
        }
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, manager, manager.get_configuration("3d_fullres"), labels, properties, num_threads_torch=threads
        )

    return export, {"nnunetv2": version("nnunetv2"), "torch": torch.__version__}


def resident_gb(field: str) -> float:
    """`VmRSS` or `VmHWM` (the peak) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e9


def child(side: str, folder: Path, shape: tuple[int, int, int], repeats: int) -> dict[str, Any]:
    """Times one side; the peak of memory is that of all its exports."""
    logits = np.load(folder / "logits.npy")
    export, versions = {"medseg": medseg_export, "nnunet": nnunet_export}[side](len(logits))
    small = np.ascontiguousarray(logits[:, :8, : shape[1] // 16, : shape[2] // 16])
    began = time.perf_counter()
    if side == "medseg":
        warm_up(small)
    first = time.perf_counter() - began
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident_gb("VmRSS")
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        labels = export(logits, shape)
        seconds.append(time.perf_counter() - began)
    peak = resident_gb("VmHWM") - before
    np.save(folder / f"{side}.npy", labels)
    return {
        "seconds": [round(one, 2) for one in seconds],
        "first_s": round(first, 2),
        "peak_gb": round(peak, 2),
        **versions,
    }


def warm_up(small: np.ndarray) -> None:
    """Compiles the loops for this type of logits, or reads them from numba's cache."""
    import torch

    from medseg.core.labels import Labels
    from medseg.preprocessing.cells_numba import choose_planes
    from medseg.preprocessing.interpolate import Resize
    from medseg.preprocessing.windows import Window

    labels = Labels(structures={str(number): number for number in range(1, len(small))})
    size = (small.shape[1], 2 * small.shape[2], 2 * small.shape[3])
    window = Window(torch.from_numpy(small), 0, range(size[0]))
    choose_planes(window, window.planes, Resize(small.shape[1:], size, (1, 1, 1), None), labels)


def run_child(python: str, side: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [python, __file__, "--child", side, "--folder", str(folder), "--repeats", str(arguments.repeats)]
    done = subprocess.run([*command, *(["--eighth"] if arguments.eighth else [])], capture_output=True, text=True)
    if done.returncode:
        return {"failed": f"exit code {done.returncode}", "why": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    """The processor's name, where the system tells it."""
    cpus = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: list[dict[str, Any]]) -> str:
    """The medians as Markdown."""
    lines = ["| classes | side | s | peak above the input, GB | voxels that differ |", "|---|---|---|---|---|"]
    for row in rows:
        for side in ("medseg", "nnunet"):
            if side in row:
                done = row[side]
                seconds = f"{statistics.median(done['seconds']):.2f}" if "seconds" in done else done["failed"]
                differ = " of ".join(map(str, row.get("voxels_that_differ", []))) if side == "nnunet" else ""
                lines.append(f"| {row['classes']} | {side} | {seconds} | {done.get('peak_gb', '')} | {differ} |")
    return "\n".join(lines)


def main() -> None:
    """One line of JSON per number of classes, then a table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 26, 105], help="with the background")
    parser.add_argument("--nnunet", help="python of an environment with nnunetv2")
    parser.add_argument("--noise", action="store_true", help="white noise, the worst case, in place of organs")
    parser.add_argument("--eighth", action="store_true", help="an eighth of the volume")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=["medseg", "nnunet"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    present, shape = EIGHTH if arguments.eighth else FULL
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.folder, shape, arguments.repeats)))
        return
    from organ_logits import noise_logits, organ_logits

    print(json.dumps({"machine": machine(), "cores": os.cpu_count(), "grid": present, "scan": shape}))
    rows = []
    for outputs in arguments.classes:
        with tempfile.TemporaryDirectory(prefix="medseg-bench-") as name:
            folder = Path(name)
            logits = (noise_logits if arguments.noise else organ_logits)(outputs, present)
            np.save(folder / "logits.npy", logits)
            del logits
            row: dict[str, Any] = {"classes": outputs, "medseg": run_child(sys.executable, "medseg", folder, arguments)}
            if arguments.nnunet:
                row["nnunet"] = run_child(arguments.nnunet, "nnunet", folder, arguments)
                if "failed" not in row["nnunet"]:
                    mine, theirs = np.load(folder / "medseg.npy"), np.load(folder / "nnunet.npy")
                    row["voxels_that_differ"] = [int((mine != theirs).sum()), mine.size]
            print(json.dumps(row), flush=True)
            rows.append(row)
    print(table(rows))


if __name__ == "__main__":
    main()
