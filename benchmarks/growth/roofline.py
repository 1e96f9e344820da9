"""What share of the processor's peak a training step and a prediction tile reach.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/growth/roofline.py

Seconds are those of the processor, so that other programs hardly disturb them: one thread on one core.
The peak is measured: the best matrix product of 2048 x 2048 in fp32 and bf16, and the best copy of 512 MB, which reads
and writes. Work is counted by torch's own counter of operations (a multiply-add is two), of forward and backward pass.
A step is all that `Trainer.step` does, optimizer included, on a batch that is there already. Rounds are interleaved;
the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from gpu_train import ARMS, Task, batches_of, trainer_of

from medseg.inference.backends.choose import torch_forward
from medseg.inference.backends.openvino_backend import openvino_forward
from medseg.models.model import make_network

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
FEATURES = (32, 64, 128, 256)
STEPS = {
    "40x56x40, batch 2, 16-128": Task((40, 56, 40), 2, 1, 3, (16, 32, 64, 128), (40, 56, 40)),
    "40x56x40, batch 9, 32-256": Task((40, 56, 40), 9, 1, 3, FEATURES, (40, 56, 40)),
}
TILES = {
    "40x56x40, 32-256": Task((40, 56, 40), 1, 1, 3, FEATURES, (40, 56, 40)),
    "96^3, 32-320": Task((96,) * 3, 1, 1, 3, (32, 64, 128, 256, 320, 320), (96,) * 3),
}
TINY = {"16^3, 4-8": Task((16,) * 3, 2, 1, 3, (4, 8), (16,) * 3)}


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds, after one that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds[1:])


def peaks(size: int, megabytes: int, rounds: int) -> dict[str, float]:
    """Operations a second of a matrix product in each precision, and bytes a second of a copy."""
    found = {}
    for name, precision in PRECISIONS.items():
        a, b = (torch.randn(size, size).to(precision) for _ in range(2))
        found[name] = 2 * size**3 / best(lambda: a @ b, rounds)  # noqa: B023
    source = torch.ones(megabytes << 18)
    target = torch.empty_like(source)
    found["bytes"] = 2 * source.nbytes / best(lambda: target.copy_(source), rounds)
    return found


def operations(work: Callable[[], object]) -> int:
    """Operations of convolutions and matrix products."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def step_rows(name: str, task: Task, rounds: int) -> list[dict]:
    """A training step in each precision."""
    device, rows = torch.device("cpu"), []
    for precision in PRECISIONS:
        trainer, setup = trainer_of(task, ARMS["eager"], device)
        trainer.precision = PRECISIONS[precision]
        batch = batches_of(task, ARMS["eager"], device, 1)[0]
        work = lambda: trainer.step(setup, 1, batch).item()  # noqa: B023, E731
        count = operations(work)
        rows.append({"what": f"training step, {name}", "way": f"torch {precision}", "precision": precision})
        rows[-1] |= {"operations": count, "seconds": best(work, rounds)}
    return rows


def tile_rows(name: str, task: Task, rounds: int) -> list[dict]:
    """A prediction tile, batch 1, in each backend and precision."""
    _, setup = trainer_of(task, ARMS["eager"], torch.device("cpu"))
    network = make_network(setup.plan, setup.configuration).eval()
    tile, rows = torch.randn(1, task.channels, *task.patch), []
    with torch.inference_mode():
        count = operations(lambda: network(tile))
    for precision, dtype in PRECISIONS.items():
        ways = {"torch": torch_forward(network, dtype)}
        ways["OpenVINO"] = openvino_forward(network, task.channels, list(task.patch), dtype)
        for way, forward in ways.items():
            row = {"what": f"tile, {name}", "way": f"{way} {precision}", "precision": precision}
            rows.append({**row, "operations": count, "seconds": best(lambda: forward(tile), rounds)})  # noqa: B023
    return rows


def main() -> None:
    """Peaks, then a row for each step and tile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="file to write the rows to")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tiny", action="store_true", help="does everything work?")
    arguments = parser.parse_args()
    peak = peaks(256, 16, 2) if arguments.tiny else peaks(2048, 512, 2 * arguments.rounds)
    rows: list[dict] = [{"peak": peak, "threads": torch.get_num_threads(), "torch": torch.__version__}]
    print(json.dumps({**rows[0], "machine": platform.processor() or platform.machine()}), flush=True)
    steps, tiles = (TINY, TINY) if arguments.tiny else (STEPS, TILES)
    for make, tasks in ((tile_rows, tiles), (step_rows, steps)):
        for name, task in tasks.items():
            for row in make(name, task, arguments.rounds):
                reached = row["operations"] / row["seconds"]
                row |= {"share_of_peak": reached / peak[row["precision"]]}
                rows.append(row)
                print(json.dumps(row), flush=True)
    if arguments.rows:
        arguments.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
