"""How long `medseg check` takes beside reading the same cases: both in one process, turn by turn, after one of each.

    python benchmarks/data/check.py DATA/hippocampus --repeats 9

Reading is `load_case` on every case, image and label, spread over the cores as the check spreads it. The check is the
whole verb: finding the cases, reading, every rule, `check.json` and `check.html`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medseg.commands.data.check import check
from medseg.commands.data.options import CheckOptions
from medseg.core.case import Case
from medseg.core.machine.parallel import map_cases
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.load import load_case


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Interleaved repeats; medians, minima and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    data = find_data(arguments.data, DataOptions())

    def load(case: Case) -> int:
        return load_case(case, len(data.channels), data.reading, data.labels).image.array.size

    def read() -> int:
        return sum(size for _, size in map_cases(load, data.cases) if isinstance(size, int))

    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as place:

        def look() -> object:
            return check(arguments.data, place, CheckOptions())

        read(), look()
        seconds: dict[str, list[float]] = {"read": [], "check": []}
        for _ in range(arguments.repeats):
            seconds["read"].append(timed(read))
            seconds["check"].append(timed(look))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    least = {name: min(values) for name, values in seconds.items()}
    report = {
        "cases": len(data.cases),
        "median_seconds": {name: round(value, 3) for name, value in median.items()},
        "ratio_of_medians": round(median["check"] / median["read"], 2),
        "least_seconds": {name: round(value, 3) for name, value in least.items()},
        "ratio_of_least": round(least["check"] / least["read"], 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
