"""What keeping a run costs: the pause of a checkpoint, its writing behind the training, a line of the log, a step.

    python benchmarks/training/checkpoint.py runs/hippocampus/3d_fullres/fold_0

takes a checkpoint of that run, and the speed that its log tells.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from medseg.models.run_files import CHECKPOINT, FoldFolder
from medseg.training.run.checkpoint import load_checkpoint, on_host, save_checkpoint
from medseg.training.run.log import Log, read_log

TIMES = 10


def milliseconds(call: Callable[[], object], times: int = TIMES) -> float:
    """Median of the times that a call takes."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return round(1000 * statistics.median(found), 3)


def main() -> None:
    fold = Path(sys.argv[1])
    state = load_checkpoint(fold / CHECKPOINT)
    lines = [one for one in read_log(FoldFolder(fold).log) if one["kind"] == "train"]
    steps = [
        (after["seconds"] - before["seconds"]) / (after["step"] - before["step"]) for before, after in pairwise(lines)
    ]
    with tempfile.TemporaryDirectory(dir=fold) as folder:
        log = Log(FoldFolder(Path(folder)).log)
        found = {
            "checkpoint_mb": round((fold / CHECKPOINT).stat().st_size / 1e6, 1),
            "pause_ms": milliseconds(lambda: on_host(state)),
            "writing_ms": milliseconds(lambda: save_checkpoint(Path(folder) / CHECKPOINT, state)),
            "log_line_ms": milliseconds(lambda: log.add("train", 10, loss=0.1, learning_rate=0.01, seconds=12.3), 100),
            "step_ms": round(1000 * statistics.median(steps), 1) if steps else None,
        }
        log.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
