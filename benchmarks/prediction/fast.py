"""What each trade of `--fast` costs in Dice, and gains in time, on cases that the model has not seen.

    python benchmarks/prediction/fast.py MODEL DATA/hippocampus benchmarks/accuracy/test_sets/hippocampus.txt

The first row is the plan as it is, with mirrored copies; the others change it in one way each, and in all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import medseg
from medseg.evaluation.overlap import confusion, overlaps
from medseg.inference.fast import TRADES
from medseg.io.layouts.find import find_cases
from medseg.io.load import load_case_image, load_case_label


def overrides_of(trade: dict[str, object]) -> list[str]:
    """Of one trade, as the command line has them."""
    return [f"inference.{key}={str(value).lower()}" for key, value in trade.items()]


def main() -> None:
    """Each way over all cases, in memory: the network and what surrounds it, without files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("cases", type=Path, help="a file with the ids of the cases, one a line")
    parser.add_argument("--set", action="append", default=[], help="key=value for every way, e.g. a smaller patch")
    parser.add_argument("--most", type=int, default=1000, help="how many cases")
    arguments = parser.parse_args()
    ids = arguments.cases.read_text().split()[: arguments.most]
    cases = [case for case in find_cases(arguments.data).cases if case.id in ids]
    single = {name: overrides_of(trade) for name, trade in TRADES.items()}
    every = [override for overrides in single.values() for override in overrides]
    ways = {"as planned": [], **single, "all": every}
    whole = None
    for name, changes in ways.items():
        predictor = medseg.Predictor.load(
            arguments.model, "cpu", overrides=["inference.mirror=true", *arguments.set, *changes]
        )
        predictor.warm_up()
        plan, seconds, dice = predictor.model.plan, 0.0, {}
        for case in cases:
            image = load_case_image(case, len(plan.data.channels), plan.data.reading)
            reference = load_case_label(case, image, plan.data.reading, plan.labels).array[0]
            began = time.perf_counter()
            answer = predictor(image)
            seconds += time.perf_counter() - began
            indices = plan.labels.encode(answer.array[0], case.id)
            counts = confusion(plan.labels.encode(reference, case.id), indices, len(plan.labels.values))
            for structure, overlap in overlaps(counts, plan.labels).items():
                dice.setdefault(structure, []).append(np.nan if overlap.dice is None else overlap.dice)
        means = {structure: float(np.nanmean(values)) for structure, values in dice.items()}
        mean = float(np.mean(list(means.values())))
        whole = whole or mean
        row = {"way": name, "cases": len(cases), "seconds_a_case": round(seconds / len(cases), 3)}
        structures = {structure: round(value, 4) for structure, value in means.items()}
        print(json.dumps({**row, "dice": round(mean, 4), "change": round(mean - whole, 4), **structures}), flush=True)


if __name__ == "__main__":
    main()
