"""A training step in the real loops of nnU-Net v2 and of medseg: same network, patch, batch and recipe, alternating.

    python benchmarks/training/training_loop.py DATA/hippocampus --nnunet PYTHON_WITH_NNUNETV2 --repeats 2
    python benchmarks/training/training_loop.py DATA/nuclei --nnunet PYTHON_WITH_NNUNETV2 --batch 4      # in 2D

Both read, augment and train as they do for a user, and are timed by step. nnU-Net: its trainer and its loader with two
processes for augmentation (the fastest on two cores), deep supervision, fp32, which is all it has on a CPU; the time
from one step's end to the next. medseg: `medseg train --recipe nnunet`, from its log; in bf16 where the processor has
it, and with `--fp32` also as nnU-Net. The first steps of each are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from nnunet_folder import is_3d, make_nnunet_folder

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))
from accuracy import OPTIONS

LEFT_OUT = 3
OURS_MORE = 20
"""Steps that medseg makes more; its log's first ten are left out."""

THEIRS = """
import json, sys, time
import torch
from pathlib import Path
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

if __name__ == "__main__":
    torch.set_num_threads(2)
    folder = Path(nnUNet_preprocessed) / "Dataset004_Set"
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    configuration = sys.argv[3]
    plans["configurations"][configuration]["batch_size"] = int(sys.argv[1])
    plans["continue_training"] = False
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, configuration, 0, dataset, torch.device("cpu"))
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    ends = []
    for _ in range(int(sys.argv[2]) + 1):
        trainer.train_step(next(trainer.dataloader_train))
        ends.append(time.monotonic())
    print("STEPS", json.dumps([b - a for a, b in zip(ends, ends[1:])]), flush=True)
    trainer.dataloader_train._finish(), trainer.dataloader_val._finish()
"""


def ours(place: Path, configuration: str, batch: int, steps: int, settings: list[str]) -> list[float]:
    """Seconds of a step, in means of ten or what is left of them."""
    command = [sys.executable, "-m", "medseg", "train", "--fold", "0", "--steps", str(steps), "--recipe", "nnunet"]
    for text in (f"configurations.{configuration}.batch_size={batch}", "training.validations=1", *settings):
        command += ["--set", text]
    shutil.rmtree(place / "runs", ignore_errors=True)
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
    lines = (next(place.glob(f"runs/*/{configuration}/fold_0")) / "log.jsonl").read_text().splitlines()
    logged = [one for one in map(json.loads, lines) if one["kind"] == "train"]
    return [(b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairwise(logged)]


def theirs(python: str, environment: dict[str, str], configuration: str, batch: int, steps: int) -> list[float]:
    """Seconds of each step."""
    script = Path(environment["nnUNet_results"]).parent / "theirs.py"
    script.write_text(THEIRS)
    command = [python, str(script), str(batch), str(steps + LEFT_OUT), configuration]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("STEPS"))
    return json.loads(line.removeprefix("STEPS"))[LEFT_OUT:]


def main() -> None:
    """Medians over all repeats, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nnunet", type=Path, required=True, help="python of an environment with nnunetv2")
    parser.add_argument("--batch", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="of nnU-Net, timed, per repeat; medseg makes 20 more")
    parser.add_argument("--fp32", action="store_true", help="medseg also without bf16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        place = Path(folder)
        data = arguments.data.resolve()
        configuration = "3d_fullres" if is_3d(data) else "2d"
        make_nnunet_folder(data, place / "raw")
        names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
        environment = os.environ | {name: str(place / part) for name, part in names.items()}
        environment |= {"nnUNet_n_proc_DA": "2", "nnUNet_compile": "f"}
        plan = [str(arguments.nnunet.parent / "nnUNetv2_plan_and_preprocess"), "-d", "4", "-c", configuration]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*plan, "-npfp", "2", "-np", "2"], env=environment, check=True, **quiet)
        medseg = [sys.executable, "-m", "medseg", "plan", str(data), "--preset", "gpu", *OPTIONS.get(data.name, [])]
        subprocess.run([*medseg, "--name", "set"], cwd=place, check=True, **quiet)
        arms = {"medseg": [], **({"medseg fp32": ["training.precision=fp32"]} if arguments.fp32 else {})}
        seconds: dict[str, list[float]] = {"nnunet": [], **{name: [] for name in arms}}
        for _ in range(arguments.repeats):
            for name, settings in arms.items():
                seconds[name] += ours(place, configuration, arguments.batch, arguments.steps + OURS_MORE, settings)
            seconds["nnunet"] += theirs(
                str(arguments.nnunet), environment, configuration, arguments.batch, arguments.steps
            )
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rounded = {name: [round(value, 3) for value in values] for name, values in seconds.items()}
    ratios = {name: round(median["nnunet"] / median[name], 2) for name in arms}
    print(json.dumps({"batch": arguments.batch, "seconds": rounded, "median": median, "ratio": ratios}))


if __name__ == "__main__":
    main()
