"""One CT (512 x 512 x 300, int16, .nii.gz) read, cropped, normalized and resampled: medseg and nnU-Net v2, interleaved.

    python benchmarks/prediction/preprocess_ct.py --nnunet PYTHON_WITH_NNUNETV2 --repeats 3

Each run is a process of its own; imports are not counted, neither in the seconds nor in the memory, which is the
largest resident set less the one before the work. nnU-Net's side is `DefaultPreprocessor.run_case`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ct_plan import INTENSITY
from ct_scan import make_ct, write_ct

_MEASURE = """
import gc, json, re, sys, time
import numpy as np
def rss(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**20
def measure(work):
    gc.collect()
    base, began = rss("VmRSS"), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    if len(sys.argv) > 2:
        np.save(sys.argv[2], result)
    print(json.dumps({"seconds": seconds, "peak_gb": rss("VmHWM") - base, "shape": result.shape}))
"""
_OURS = f"""{_MEASURE}
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import nibabel, scipy.ndimage, scipy.sparse
from ct_plan import NAME, ct_plan
from medseg.io.images import read_image
from medseg.preprocessing.volume import prepare
plan = ct_plan(3)
measure(lambda: prepare(read_image(Path(sys.argv[1])), plan, plan.configuration(NAME)).image)
"""
_THEIRS = f"""{_MEASURE}
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
import SimpleITK
how = {{"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}}
configuration = {{
    "data_identifier": "ct", "preprocessor_name": "DefaultPreprocessor", "spacing": [1.5, 1.5, 1.5],
    "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "architecture": {{}},
    "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": how,
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": {{**how, "is_seg": True, "order": 1}},
}}
plans = PlansManager({{
    "dataset_name": "ct", "plans_name": "ct", "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2],
    "configurations": {{"3d_fullres": configuration}},
    "foreground_intensity_properties_per_channel": {{"0": {INTENSITY!r}}},
}})
_ = plans.get_configuration("3d_fullres"), plans.image_reader_writer_class
prepare = DefaultPreprocessor(verbose=False).run_case
dataset = {{"channel_names": {{"0": "CT"}}, "labels": {{"background": 0, "one": 1}}, "file_ending": ".nii.gz"}}
measure(lambda: prepare([sys.argv[1]], None, plans, plans.get_configuration("3d_fullres"), dataset)[0])
"""


def run(python: Path | str, code: str, *arguments: object) -> dict[str, float]:
    """What a fresh process measured."""
    command = [str(python), "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Interleaved repeats; medians of the seconds, the largest of the peaks."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", type=Path, help="python of an environment with nnunetv2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", type=Path, help="a CT of one's own, instead of the made-up one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-ct-") as name:
        place = Path(name)
        scan = arguments.scan or place / "ct.nii.gz"
        if arguments.scan is None:
            write_ct(scan, make_ct())
        sides: dict[str, tuple[Path | str, str]] = {"medseg": (sys.executable, _OURS)}
        if arguments.nnunet:
            sides["nnunet"] = (arguments.nnunet, _THEIRS)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for number in range(arguments.repeats):
            for side, (python, code) in sides.items():
                result = [place / f"{side}.npy"] if number == 0 and len(sides) > 1 else []
                runs[side].append(run(python, code, scan, *result))
                print(side, json.dumps(runs[side][-1]), flush=True)
        row = {
            side: {
                "seconds": round(statistics.median(one["seconds"] for one in found), 2),
                "peak_gb": round(max(one["peak_gb"] for one in found), 2),
            }
            for side, found in runs.items()
        }
        if arguments.nnunet:
            ours, theirs = (np.load(place / f"{side}.npy") for side in sides)
            row["largest_difference"] = float(np.abs(ours - theirs).max())  # type: ignore[assignment]
        print(json.dumps(row))


if __name__ == "__main__":
    main()
