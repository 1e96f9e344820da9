"""Dice on unseen cases after equal time of training: medseg beside nnU-Net v2, on the same cases, fold and machine.

    python benchmarks/accuracy/equal_time.py DATA hippocampus --nnunet PYTHON_WITH_NNUNETV2 --budget 5m --place P

The test cases of benchmarks/accuracy/test_sets/ are left out of both plans; both train on the cases of medseg's fold 0.
Arms (`--arms`):

- `medseg_fp32`, `medseg`: `medseg train --budget B`, whole commands, so that preprocessing, validations and the final
  validation come out of the budget; in fp32, and in what the processor has;
- `nnunet_shortened`: nnU-Net as an expert would shorten it: planned for 2 GB, batches of 2, and a learning rate that
  falls to zero over as many steps as the measured ones leave room for, asked again every ten steps;
- `nnunet`: nnU-Net as it comes (8 GB, a schedule of 250,000 steps), stopped after the budget.

nnU-Net's budget holds its steps alone: reading its plan, preprocessing and validation are given to it. Both sides
predict without mirrored copies (with them, nnU-Net's own answers to 40 small scans take as long as the training).
Rows lie in P/rows.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from accuracy import HERE, OPTIONS, link_test_cases, medseg

sys.path.insert(0, str(HERE.parent / "training"))
from nnunet_folder import DATASET, is_3d, make_nnunet_folder

OURS = {"medseg_fp32": ["training.precision=fp32", "inference.precision=fp32"], "medseg": []}
THEIRS = {"nnunet_shortened": 2, "nnunet": None}
"""Arm -> memory in GB that its network is planned for; None for nnU-Net's own."""

TRAIN = """
import json, sys, time
import numpy as np, torch
from pathlib import Path
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

if __name__ == "__main__":
    plans_name, configuration, budget, seed, shortened, weights = sys.argv[1:]
    budget, shortened = float(budget), shortened == "True"
    torch.set_num_threads(2)
    torch.manual_seed(int(seed)), np.random.seed(int(seed))
    folder = Path(nnUNet_preprocessed) / "Dataset004_Set"
    plans = json.loads((folder / f"{plans_name}.json").read_text())
    plans["continue_training"] = False
    if shortened:
        plans["configurations"][configuration]["batch_size"] = 2
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, configuration, 0, dataset, torch.device("cpu"))
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    begin, step, total, times = time.monotonic(), 0, trainer.num_epochs * trainer.num_iterations_per_epoch, []
    while time.monotonic() - begin < budget and step < total:
        if shortened and step % 10 == 3 and step > 10:  # the first three take longer; others may, too
            total = step + int((budget - (time.monotonic() - begin)) / np.mean(times[3:]))
            trainer.lr_scheduler = PolyLRScheduler(trainer.optimizer, trainer.initial_lr, total)
        if shortened and step >= 13:
            trainer.lr_scheduler.step(step)
        elif step % trainer.num_iterations_per_epoch == 0:
            trainer.on_train_epoch_start()
        start = time.monotonic()
        trainer.train_step(next(trainer.dataloader_train))
        times.append(time.monotonic() - start)
        step += 1
    seconds = time.monotonic() - begin
    trainer.save_checkpoint(weights)
    trainer.dataloader_train._finish(), trainer.dataloader_val._finish()
    print("RESULT", json.dumps({"steps": step, "seconds": seconds, "step_ms": round(1000 * float(np.median(times)))}))
"""


def budget_seconds(text: str) -> float:
    """Return 5m or 90s in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def scores(answers: Path, test: Path) -> dict[str, object]:
    """Score answers with `medseg evaluate` and return Dice."""
    medseg("evaluate", answers, test / "labels", "--no-surface", cwd=test.parent)
    metrics = json.loads((answers / "metrics.json").read_text())
    return {
        "dice": round(metrics["overall"]["measures"]["dice"]["mean"], 4),
        "structures": {key: round(one["measures"]["dice"]["mean"], 4) for key, one in metrics["structures"].items()},
    }


def ours(data: Path, place: Path, arm: str, budget: str, seed: int) -> dict[str, object]:
    """Plan, train, predict and score with medseg."""
    run = place / f"{arm}-{budget}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
    medseg("plan", data, "--exclude", listing, "--preset", "cpu", *OPTIONS[data.name], cwd=run)
    sets = [part for text in [*OURS[arm], f"training.seed={seed}"] for part in ("--set", text)]
    train = medseg("train", "--fold", 0, "--budget", budget, *sets, cwd=run)
    predict = medseg("predict", place / "test" / "images", "out", "--no-page", "--no-mirror", cwd=run)
    record = json.loads(next(run.glob("runs/*/*/fold_0/run.json")).read_text())
    found = {"steps": record["steps"], "train_s": round(train, 1), "predict_s": round(predict, 1)}
    return {**found, "precision": record["precision"], **scores(run / "out", place / "test")}


def prepare_theirs(data: Path, place: Path, nnunet: Path, environment: dict[str, str], memory: int | None) -> str:
    """Plan and preprocess with nnU-Net for an amount of memory, with medseg's fold 0; return the plans' name."""
    name = f"plans_{memory or 'default'}"
    folder = place / "preprocessed" / DATASET
    if (folder / f"{name}.json").exists():
        return name
    command = [nnunet.parent / "nnUNetv2_plan_and_preprocess", "-d", "4", "-c", configuration(data)]
    more = ["-gpu_memory_target", memory] if memory else []
    command += [*more, "-overwrite_plans_name", name, "-npfp", "2", "-np", "2"]
    subprocess.run([*map(str, command)], env=environment, check=True)
    plan = place / "plan"
    if not plan.exists():
        plan.mkdir()
        listing = (HERE / "test_sets" / f"{data.name}.txt").resolve()
        medseg("plan", data, "--exclude", listing, "--preset", "cpu", *OPTIONS[data.name], cwd=plan)
    shutil.copy(next((plan / "plans").glob("*.splits.json")), folder / "splits_final.json")
    return name


def configuration(data: Path) -> str:
    """Return nnU-Net's configuration for a set."""
    return "3d_fullres" if is_3d(data) else "2d"


def theirs(data: Path, place: Path, nnunet: Path, arm: str, budget: str, seed: int) -> dict[str, object]:
    """Train, predict and score with nnU-Net."""
    environment = os.environ | {
        "nnUNet_raw": str(place / "raw"),
        "nnUNet_preprocessed": str(place / "preprocessed"),
        "nnUNet_results": str(place / f"{arm}-{budget}-{seed}"),
        "nnUNet_n_proc_DA": "2",
        "nnUNet_compile": "0",
    }
    plans, name = prepare_theirs(data, place, nnunet, environment, THEIRS[arm]), configuration(data)
    model = place / f"{arm}-{budget}-{seed}" / DATASET / f"nnUNetTrainer__{plans}__{name}"
    (model / "fold_0").mkdir(parents=True, exist_ok=True)
    script = place / "train.py"
    script.write_text(TRAIN)
    weights = model / "fold_0" / "checkpoint_final.pth"
    arguments = [plans, name, budget_seconds(budget), seed, arm == "nnunet_shortened", weights]
    done = subprocess.run(
        [*map(str, [nnunet, script, *arguments])], env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:])
    inputs = place / "inputs"
    if not inputs.exists():
        write_inputs(place / "test" / "images", inputs)
    out = place / f"{arm}-{budget}-{seed}" / "out"
    began = time.monotonic()
    predict = [nnunet.parent / "nnUNetv2_predict_from_modelfolder", "-i", inputs, "-o", out, "-m", model, "-f", "0"]
    predict += ["-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta"]
    subprocess.run([*map(str, predict)], env=environment, check=True)
    seconds = {"train_s": round(found["seconds"], 1), "predict_s": round(time.monotonic() - began, 1)}
    for answer in out.glob("*.png"):
        whiten(answer)
    more = {"steps": found["steps"], "step_ms": found["step_ms"], "precision": "fp32"}
    return {**more, **seconds, **scores(out, place / "test")}


def whiten(answer: Path) -> None:
    """Give the structure of a 2D answer the value that it has in the masks."""
    from PIL import Image

    Image.open(answer).point(lambda value: 255 * int(value > 0)).save(answer)


def write_inputs(images: Path, target: Path) -> None:
    """Write test images as nnU-Net wants them."""
    from PIL import Image

    target.mkdir()
    for file in images.iterdir():
        if file.name.endswith(".nii.gz"):
            os.symlink(file.resolve(), target / file.name.replace(".nii.gz", "_0000.nii.gz"))
        else:
            Image.open(file).convert("RGB").save(target / f"{file.name.rsplit('.', 1)[0]}_0000.png")


def main() -> None:
    """Run the arms that are missing; print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", choices=[name for name in OPTIONS if name != "brain_tumour"])
    parser.add_argument("--nnunet", type=Path, required=True, help="python of an environment with nnunetv2")
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--arms", default=",".join([*OURS, *THEIRS]))
    parser.add_argument("--seeds", default="0")
    arguments = parser.parse_args()
    data, place = (arguments.data / arguments.set).resolve(), (arguments.place / arguments.set).resolve()
    place.mkdir(parents=True, exist_ok=True)
    left_out = set((HERE / "test_sets" / f"{arguments.set}.txt").read_text().split())
    if not (place / "test").exists():
        link_test_cases(data, left_out, place / "test")
    if not (place / "raw").exists():
        make_nnunet_folder(data, place / "raw", left_out)
    record = arguments.place / "rows.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    done = {(row["set"], row["arm"], row["budget"], row["seed"]) for row in rows}
    for seed in map(int, arguments.seeds.split(",")):
        for arm in arguments.arms.split(","):
            if (arguments.set, arm, arguments.budget, seed) in done:
                continue
            if arm in OURS:
                result = ours(data, place, arm, arguments.budget, seed)
            else:
                result = theirs(data, place, arguments.nnunet, arm, arguments.budget, seed)
            about = {"set": arguments.set, "arm": arm, "budget": arguments.budget, "seed": seed}
            versions = {"torch": version("torch"), "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
            row = {**about, **result, **versions, "date": time.strftime("%Y-%m-%d")}
            with record.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
