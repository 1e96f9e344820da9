"""What a cascade is worth: a set that needs one, and the hippocampus with a low resolution that it does not need.

    python benchmarks/accuracy/cascade.py /tmp/cascade                                    # the phantom
    python benchmarks/accuracy/cascade.py /tmp/cascade --data shared/data/hippocampus     # any data set, with --cascade

The phantom has structure at two scales. Each volume holds two balls that are alike, full of small holes, and far away
at one end, at random the lower or the upper one, a plate. The ball nearer to the plate is `near`, the other one `far`.
Where the holes are only the full resolution shows; which ball is which only a view of the whole volume. A patch of the
full resolution never holds a ball and the plate.

All are trained for the same number of steps, which for the cascade are those after its first stage. Prints the Dice of
the validation cases of fold 0, mean and by structure, and the time of each command.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from medseg.commands.data.options import PlanOptions
from medseg.commands.data.plan import plan
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import TrainResult, train
from medseg.core.files import write_json
from medseg.core.image import Image
from medseg.datasets.data_options import DEFAULT_DATA_OPTIONS, DataOptions
from medseg.io.images import write_label

SHAPE = (120, 48, 48)
CASES = 16
HOLES = 12_000
NAMES = ("3d_lowres", "3d_fullres", "3d_cascade_fullres")
HALVES = 2


def network(name: str, strides: list[list[int]], features: list[int]) -> list[str]:
    """A small U-Net for a configuration, as settings of a plan."""
    values = {
        "features": features,
        "strides": strides,
        "kernels": [[3, 3, 3]] * len(strides),
        "blocks": [2] * len(strides),
        "decoder_convolutions": [2] * (len(strides) - 1),
    }
    return [f"configurations.{name}.network.{key}={value}".replace(" ", "") for key, value in values.items()]


PHANTOM = [
    *network("3d_lowres", [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 1, 1]], [8, 16, 32, 32]),
    *network("3d_fullres", [[1, 1, 1], [2, 2, 2], [2, 2, 2]], [8, 16, 32]),
    "configurations.3d_lowres.spacing_mm=[3,3,3]",
    "configurations.3d_lowres.patch_voxels=[40,16,16]",
    "configurations.3d_fullres.patch_voxels=[32,32,32]",
    "training.validations=1",
    "inference.mirror=false",
]


def make_phantom(folder: Path) -> None:
    """Write the data set: `images` and `labels`."""
    for number in range(CASES):
        random = np.random.default_rng([7, number])
        zyx = np.indices(SHAPE)
        label = np.zeros(SHAPE, np.uint8)
        image = np.zeros(SHAPE)
        for value, middle in ((1, 50), (2, 80)):
            centre = [middle + random.uniform(-3, 3), *random.uniform(16, 32, 2)]
            distance = sum((axis - place) ** 2 for axis, place in zip(zyx, centre, strict=True)) ** 0.5
            label[distance < random.uniform(9, 11)] = value
        for hole in random.integers(0, SHAPE, (HOLES, 3)):
            label[tuple(slice(place, place + 2) for place in hole)] = 0
        image[label > 0] = 100
        image[: random.integers(4, 8)] = 200
        image += random.normal(0, 30, SHAPE)
        if random.random() < 0.5:
            image, label = image[::-1], label[::-1]
        for kind, array in (("images", image), ("labels", label)):
            whole = np.round(array)[None].astype(np.int16)
            write_label(folder / kind / f"case_{number:02d}.nii.gz", Image(whole, np.eye(4)))


def halves(path: Path) -> None:
    """Two folds instead of five: two networks of the first stage."""
    ids = [f"case_{number:02d}" for number in range(CASES)]
    parts = [ids[half::HALVES] for half in range(HALVES)]
    write_json(path, [{"train": parts[1 - half], "val": parts[half]} for half in range(HALVES)])


def main() -> None:
    """Plan, train the three, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--data", type=Path, help="a data set to plan with --cascade, instead of the phantom")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", choices=NAMES, help="one of the three")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for the runs")
    asked = parser.parse_args()
    name = asked.data.name if asked.data else "phantom"
    if not (asked.workspace / "plans" / f"{name}.yaml").exists():
        data = asked.data or asked.workspace / "phantom"
        if asked.data is None:
            make_phantom(data)
        said, settings = (
            (DEFAULT_DATA_OPTIONS, []) if asked.data else (DataOptions(structures=["near=1", "far=2"]), PHANTOM)
        )
        how = PlanOptions(preset="cpu", cascade=True, data=said, overrides=settings)
        made = plan(data, asked.workspace, name, how)
        if asked.data is None:
            halves(made.splits_path)
    for configuration in [asked.only] if asked.only else NAMES:
        began = time.monotonic()
        options = TrainOptions(configuration=configuration, steps=asked.steps, overrides=asked.set, device="cpu")
        print(line(configuration, train(name, asked.workspace, options), time.monotonic() - began), flush=True)


def line(configuration: str, result: TrainResult, seconds: float) -> str:
    """Dice of each structure, and of all."""
    assert result.summary is not None
    summary = result.summary
    means = {name: one.figures["dice"].mean for name, one in summary.structures.items()}
    shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if value is not None)
    every = summary.overall["dice"]
    return f"{configuration:20} {every.mean:.3f}  {shown}  in {seconds:.0f} s"


if __name__ == "__main__":
    main()
