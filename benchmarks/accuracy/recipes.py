"""Which recipe gives the most Dice in a time budget: arms and seeds on a fold's validation cases, equal wall-clock.

    python benchmarks/accuracy/recipes.py plan DATA SET --place P              # test cases of test_sets/ left out
    python benchmarks/accuracy/recipes.py speed SET --place P --seconds 264    # on an idle machine: steps of each arm
    python benchmarks/accuracy/recipes.py train SET --place P --arm muon --seed 1 --steps 2000
    python benchmarks/accuracy/recipes.py score SET --place P --arm muon CHECKPOINT ...    # last weights, average
    python benchmarks/accuracy/recipes.py report --place P

`speed` says how many steps each arm makes in the seconds that a budget leaves for training, with all cores; what
`train` then makes of them does not depend on how busy the machine is, so runs may go side by side, each in one thread
(OMP_NUM_THREADS=1). A run is `medseg train`, whole: its scores are those of the mirrored final validation on the scans'
own grids. From its checkpoint the last weights and their moving average are scored as well, not mirrored, on the
network's grid. `report` compares arms case by case and seed by seed, with 95 % intervals from drawing cases and seeds
anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from accuracy import HERE, OPTIONS
from accuracy import medseg as run_medseg

ARMS = {
    "adamw": ["training.optimizer=adamw", "training.learning_rate=0.003"],
    "muon": [],
    "one_decoder_convolution": ["configurations.{configuration}.network.decoder_convolutions={ones}"],
    "one_convolution_at_full_resolution": [
        "configurations.{configuration}.network.decoder_convolutions={ones}",
        "configurations.{configuration}.network.blocks={first_one}",
    ],
}
"""Settings of each arm; `settings_of` fills in what depends on the plan."""
DRAWS = 10_000


def settings_of(place: Path, name: str, arm: str) -> list[str]:
    """Return an arm's settings for the plan of a set: its configuration, and lists for all stages of its network."""
    from medseg.plans.file import load_plan

    plan = load_plan(next((place / name / "plans").glob("*.yaml")))
    configuration = plan.default_configuration
    network = plan.configuration(configuration).network
    lists = {
        "ones": [1] * (len(network.features) - 1),
        "first_one": [1, *network.blocks[1:]],
    }
    return [text.format(configuration=configuration, **lists) for text in ARMS[arm]]


def prepared(place: Path, name: str, arm: str, seed: int, steps: int):
    """A run ready to start, as `medseg train` makes it."""
    from medseg.commands.train.job import prepare
    from medseg.commands.train.options import TrainOptions
    from medseg.commands.train.run import Request, find_run
    from medseg.core.progress import silent
    from medseg.models.workspace import Workspace
    from medseg.training.step.ranks import ALONE

    options = TrainOptions(steps=steps, overrides=[*settings_of(place, name, arm), f"training.seed={seed}"])
    request = Request(None, Workspace(place / name), options, silent, None, ALONE, time.monotonic())
    return prepare(find_run(request), request)


def speed(place: Path, name: str, arms: list[str], seconds: float) -> dict[str, int]:
    """Steps that each arm makes in so many seconds: the mean of two alternating rounds."""
    from medseg.training.length.measure import measured_step_seconds

    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(2):
        for arm in arms:
            job = prepared(place, name, arm, 0, 1000)
            found[arm].append(measured_step_seconds(job.network, job.samples, job.setup, 16.0))
    print(json.dumps({"set": name, "ms": {arm: [round(1000 * one, 1) for one in found[arm]] for arm in arms}}))
    return {arm: int(seconds / np.mean(found[arm])) for arm in arms}


def train(place: Path, name: str, arm: str, seed: int, steps: int) -> dict[str, object]:
    """A whole run, and the Dice of each validation case."""
    from medseg.models.run_files import CHECKPOINT

    run = place / f"{name}-{arm}-{seed}-{steps}"
    for folder in ("plans", "cache"):
        run.mkdir(exist_ok=True)
        os.symlink(place / name / folder, run / folder)
    settings = [part for text in (*settings_of(place, name, arm), f"training.seed={seed}") for part in ("--set", text)]
    data = (place / name / "data").resolve()
    seconds = run_medseg("train", "--fold", 0, "--steps", steps, "--data", data, *settings, cwd=run)
    fold = next(run.glob("runs/*/*/fold_0"))
    dice: dict[str, dict[str, float]] = defaultdict(dict)
    mirrored: dict[str, list[float]] = defaultdict(list)
    with (fold / "validation" / "metrics.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["dice"]:
                mirrored[row["case"]].append(float(row["dice"]))
    for case, values in mirrored.items():
        dice[case]["mirrored"] = float(np.mean(values))
    for case, scores in score(place, name, arm, fold / CHECKPOINT)[1].items():
        dice[case] |= scores
    kinds = sorted({kind for one in dice.values() for kind in one})
    means = {kind: round(float(np.mean([one[kind] for one in dice.values()])), 4) for kind in kinds}
    print(json.dumps({"set": name, "arm": arm, "seed": seed, "steps": steps, "dice": means}), flush=True)
    date = time.strftime("%Y-%m-%d")
    about = {"set": name, "arm": arm, "seed": seed, "steps": steps, "seconds": round(seconds), "date": date}
    return {**about, "dice": means, "cases": dice}


def score(place: Path, name: str, arm: str, checkpoint: Path) -> tuple[int, dict[str, dict[str, float]]]:
    """Step of a checkpoint, and the Dice of its weights and of their average, by case of the fold."""
    from medseg.commands.train.probe import DiceProbe
    from medseg.training.run.checkpoint import load_checkpoint

    job = prepared(place, name, arm, 0, 1)  # whose network the checkpoint is of
    state = load_checkpoint(checkpoint)
    dice: dict[str, dict[str, float]] = defaultdict(dict)
    for kind in ("network", "average"):
        if state[kind] is None:
            continue
        job.network.load_state_dict(state[kind])
        job.network.eval()
        for sample in job.held_out:
            scores = DiceProbe(job.setup.plan, job.setup.configuration, job.setup.device, [sample])(job.network)
            dice[sample.case.id][kind] = float(np.mean([one for one in scores.values() if one is not None]))
    return state["step"], dice


def table(rows: list[dict], kind: str) -> np.ndarray:
    """Dice by (seed, case), in the order of seeds and of case ids; NaN where a case has no score."""
    rows = sorted(rows, key=lambda row: row["seed"])
    cases = sorted(rows[0]["cases"])
    return np.array([[row["cases"][case].get(kind, np.nan) for case in cases] for row in rows])


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of (seed, case), seeds and cases drawn anew independently of each other."""
    random = np.random.default_rng(0)
    seeds, cases = differences.shape
    drawn = [
        np.nanmean(differences[random.integers(seeds, size=seeds)][:, random.integers(cases, size=cases)])
        for _ in range(DRAWS)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def compare(name: str, kind: str, first: list[dict], second: list[dict]) -> dict[str, object]:
    """What the second arm has more, case by case and seed by seed, with the seeds that both have."""
    shared = {row["seed"] for row in first} & {row["seed"] for row in second}
    one, other = (table([row for row in rows if row["seed"] in shared], kind) for rows in (first, second))
    difference = other - one
    arms = f"{second[0]['arm']} - {first[0]['arm']}"
    mean = round(float(np.nanmean(difference)), 4)
    about = {"set": name, "kind": kind, "difference": arms, "seeds": sorted(shared)}
    return {**about, "mean": mean, "interval": interval(difference)}


def report(rows: list[dict]) -> None:
    """A line for each set and arm, and one for each two arms of a set."""
    for name in sorted({row["set"] for row in rows}):
        arms = {arm: [row for row in rows if (row["set"], row["arm"]) == (name, arm)] for arm in ARMS}
        arms = {arm: mine for arm, mine in arms.items() if mine}
        for arm, mine in arms.items():
            seeds = [row["seed"] for row in mine]
            if len(set(seeds)) < len(seeds) or len({row["steps"] for row in mine}) > 1:
                raise SystemExit(f"{name}, {arm}: runs of one length and of different seeds are expected.")
            kinds = {kind: {row["seed"]: row["dice"][kind] for row in mine} for kind in mine[0]["dice"]}
            print(json.dumps({"set": name, "arm": arm, "steps": mine[0]["steps"], "dice": kinds}))
            last, average = (table(mine, kind) for kind in ("network", "average"))
            print(json.dumps({"set": name, "arm": arm, "average - network": interval(average - last)}))
        for first, second in combinations(arms, 2):
            print(json.dumps(compare(name, "mirrored", arms[first], arms[second])))


def main() -> None:
    """One verb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("plan", "speed", "train", "score", "report"):
        one = verbs.add_parser(verb)
        one.add_argument("--place", type=Path, required=True)
        if verb == "plan":
            one.add_argument("data", type=Path)
        if verb != "report":
            one.add_argument("set", choices=OPTIONS)
        if verb == "speed":
            one.add_argument("--seconds", type=float, default=264.0)
            one.add_argument("--arms", nargs="+", choices=ARMS, default=["adamw", "muon"])
        if verb == "score":
            one.add_argument("checkpoints", type=Path, nargs="+", help="of runs under way, or ended")
        if verb in ("train", "score"):
            one.add_argument("--arm", choices=ARMS, required=True)
        if verb == "train":
            one.add_argument("--seed", type=int, required=True)
            one.add_argument("--steps", type=int, required=True)
    asked = parser.parse_args()
    place = asked.place.resolve()
    results = place / "recipes.jsonl"
    if asked.verb == "plan":
        folder, data = place / asked.set, (asked.data / asked.set).resolve()
        folder.mkdir(parents=True)
        os.symlink(data, folder / "data")
        listing = (HERE / "test_sets" / f"{asked.set}.txt").resolve()
        run_medseg("plan", "data", "--exclude", listing, "--preset", "cpu", *OPTIONS[asked.set], cwd=folder)
        prepared(place, asked.set, "muon", 0, 1)  # fills the cache that all runs share
    elif asked.verb == "speed":
        print(json.dumps({"set": asked.set, "steps": speed(place, asked.set, asked.arms, asked.seconds)}))
    elif asked.verb == "train":
        row = train(place, asked.set, asked.arm, asked.seed, asked.steps)
        with results.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
    elif asked.verb == "score":
        for checkpoint in asked.checkpoints:
            step, dice = score(place, asked.set, asked.arm, checkpoint)
            cases = dice.values()
            means = {kind: round(float(np.mean([one[kind] for one in cases])), 4) for kind in next(iter(cases))}
            print(json.dumps({"checkpoint": checkpoint.name, "step": step, "dice": means}), flush=True)
    else:
        report([json.loads(line) for line in results.read_text().splitlines()])


if __name__ == "__main__":
    main()
