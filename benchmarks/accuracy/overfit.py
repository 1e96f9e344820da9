"""Every network, in a few features, learns two real patches by heart: after how many steps, or how well it ends.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/overfit.py DATA_FOLDER
    OMP_NUM_THREADS=1 python benchmarks/accuracy/overfit.py DATA_FOLDER --networks cenet erfnet --steps 900

A network that cannot learn two patches by heart has a fault, or too few features for them; this asks nothing else.
DATA_FOLDER holds `hippocampus/`. Networks, patches and training are those of the test that does it for the quick rows
(tests/networks/test_every_network_learns.py): widths of 4 to 8 features, two patches of about 32 x 32 pixels or 16 x
16 x 16 voxels, the plan's loss, AdamW with a constant learning rate, until both structures together have a Dice of
0.95, looked at every ten steps. A table of all rows is printed last; networks on encoders of photographs are left out
where their library is not installed. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))

from learning.by_heart import learn_by_heart, two_patches
from tiny_networks import NAMES, VARIANTS, by_heart_plan, row_of

from medseg.core.errors import PlanError
from medseg.models.model import make_network
from medseg.networks.anatomy import count_parameters
from medseg.networks.encoders.rows import ENCODER_ROWS, load_library


def main() -> None:
    """Learn by heart with each network and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with hippocampus/")
    parser.add_argument("--networks", nargs="*", default=[name for name in NAMES if name not in VARIANTS])
    parser.add_argument("--dimensions", nargs="*", type=int, default=[2, 3])
    parser.add_argument("--steps", type=int, default=300, help="the most that a network gets")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    options = parser.parse_args()
    rows = []
    for name in installed(options.networks):
        for dimensions in set(options.dimensions).intersection(row_of(name).dimensions):
            rows.append(row(name, dimensions, options))
            print(rows[-1], flush=True)
    print("\n| network | patch | parameters | steps | Dice | s |\n|---|---|---|---|---|---|", *rows, sep="\n")


def installed(names: list[str]) -> list[str]:
    """Return the networks whose library is there, and print which are left out."""
    try:
        load_library()
    except PlanError as error:
        absent = [name for name in names if name in ENCODER_ROWS]
        if absent:
            print(f"left out: {', '.join(absent)}: {str(error).splitlines()[0]}")
        return [name for name in names if name not in absent]
    return names


def row(name: str, dimensions: int, options: argparse.Namespace) -> str:
    """Return the row of a network in the table."""
    plan = by_heart_plan(name, dimensions)
    patch = plan.configuration("main").patch_voxels
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    patches = two_patches(options.data / "hippocampus", patch)
    start = time.process_time()
    dice, steps = learn_by_heart(network, plan, patches, options.steps, options.learning_rate)
    seconds = time.process_time() - start
    shape = " x ".join(map(str, patch))
    return f"| `{name}` | {shape} | {count_parameters(network):,} | {steps} | {dice:.3f} | {seconds:.1f} |"


if __name__ == "__main__":
    main()
