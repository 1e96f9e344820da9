"""A training step on a CPU with and without the settings of `medseg train`, alone and beside a busy program.

    python benchmarks/training/busy_machine.py --rounds 3

Each measurement is a process of its own with all cores, in bf16 where the processor has it: the median of 20 steps of
the preset `cpu` (40x56x40, batch 2, 16 to 128 features). The busy program keeps one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

STEPS = 20
WARM_UP = 4
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE", "OMP_NUM_THREADS", "LD_PRELOAD")
VARIABLES += ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
SETTINGS = {"as torch comes": False, "as medseg train sets it": True}
BUSY = [sys.executable, "-c", "while True: pass"]


def median_step(tuned: bool) -> float:
    """Seconds of a step in this process."""
    if tuned:
        from medseg.core.machine.tuning import tune_for_training

        tune_for_training()
    import torch
    from gpu_train import ARMS, Task, batches_of, trainer_of

    from medseg.networks.threads import use_cores

    use_cores()
    task, cpu = Task((40, 56, 40), 2, 1, 3, (16, 32, 64, 128), (40, 56, 40)), torch.device("cpu")
    trainer, setup = trainer_of(task, ARMS["eager"], cpu)
    batch, seconds = batches_of(task, ARMS["eager"], cpu, 1)[0], []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        trainer.step(setup, 1, batch).item()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def measured(tuned: bool, busy: bool) -> float:
    """Seconds of a step in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, __file__, "--here", *(["--tuned"] if tuned else [])]
    other = subprocess.Popen(BUSY) if busy else None
    try:
        return float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    finally:
        if other is not None:
            other.kill()
            other.wait()


def main() -> None:
    """A row for each setting, alone and beside the busy program, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", action="store_true", help="measure in this process")
    parser.add_argument("--tuned", action="store_true", help="with the settings, together with --here")
    arguments = parser.parse_args()
    if arguments.here:
        print(median_step(arguments.tuned))
        return
    rows: dict[tuple[str, bool], list[float]] = {}
    for _ in range(arguments.rounds):
        for name, tuned in SETTINGS.items():
            for busy in (False, True):
                rows.setdefault((name, busy), []).append(measured(tuned, busy))
    for (name, busy), seconds in rows.items():
        print(json.dumps({"settings": name, "busy": busy, "step_s": [round(each, 4) for each in seconds]}))


if __name__ == "__main__":
    main()
