"""Is a training patch changed as nnU-Net v2 changes it? Effects of both programs on one image, compared by their laws.

    python benchmarks/accuracy/augment_law.py --nnunet PYTHON_WITH_NNUNETV2 --draws 2000

Each change alone, made certain, and the whole chain with its probabilities. What an effect is measured by: differences
and ratios of means, deviations and gradients before and after; for rotation and scale the angles and the factor that a
picture of coordinates shows; for the label the share of each value. A p-value is of a two-sample Kolmogorov-Smirnov
test; of eighty independent ones the smallest is about 0.01 where nothing differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import torch

PATCH, START = 24, 16
CHANGES = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")
ANGLE = np.pi / 6


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth textured image (channel, z, y, x), and a label map of three values."""
    random = np.random.default_rng(0)
    grid = np.indices((PATCH + 2 * START,) * 3) / 6.0
    waves = sum(
        np.sin(axis * speed + shift) for axis, speed, shift in zip(grid, (1.0, 1.3, 0.8), (0, 1, 2), strict=True)
    )
    image = np.exp(0.4 * waves) + random.normal(scale=0.1, size=waves.shape)
    image = (image - image.mean()) / image.std()
    return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(np.digitize(waves, [0.5, 1.5]))[None]


def middle(array: torch.Tensor) -> torch.Tensor:
    """The patch in the middle of the scene."""
    return array[:, START:-START, START:-START, START:-START].clone()


def nnunet_makers():
    """{change: function of image and label, certain}; `all` with its probabilities; nnU-Net's own objects."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    chain = nnUNetTrainer.get_training_transforms((PATCH,) * 3, (-ANGLE, ANGLE), None, (0, 1, 2), False, [False])
    spatial, *others = chain.transforms
    makers = {"all": lambda image, label: chain(image=image.clone(), segmentation=label.clone())}
    for name, wrapped in zip(CHANGES, others, strict=False):
        makers[name] = lambda image, label, one=wrapped.transform: one(image=middle(image), segmentation=middle(label))

    def turned(image, label):
        z, y, x = torch.meshgrid(*[torch.arange(image.shape[1], dtype=torch.float32)] * 3, indexing="ij")
        return spatial(image=torch.stack([z, y, x]), segmentation=label.clone())

    makers["spatial"] = turned
    mirror = others[len(CHANGES)]
    makers["mirror"] = lambda image, label: mirror(image=middle(image), segmentation=middle(label))
    return lambda name, draw, image, label: tuple(makers[name](image, label)[key] for key in ("image", "segmentation"))


def medseg_makers():
    """The same of medseg: batches of one sample, with every position but the middle one excluded."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests"))
    from builders import make_configuration, make_sample, make_training

    from medseg.planning.recipe import training_recipe
    from medseg.plans.sections.augmentation import Augmentation
    from medseg.training.data.augment import draw_changes
    from medseg.training.data.intensity import apply_changes
    from medseg.training.data.sampling import Draw, Sampler, generator
    from medseg.training.data.spatial import gather

    recipe, _ = training_recipe("gpu", 3)
    settings = recipe["augmentation"]
    configuration = make_configuration(3, patch_voxels=[PATCH] * 3)

    def make(name, draw, image, label):
        chances = {f"{change}_probability" for change in (*CHANGES, "rotation", "scaling")}
        alone = {key: (0.0 if key in chances and name != "all" else value) for key, value in settings.items()}
        if name in CHANGES:
            alone[f"{name}_probability"] = 1.0
        if name == "spatial":
            alone |= {key: settings[key] for key in ("rotation_probability", "scaling_probability")}
            image = torch.stack(torch.meshgrid(*[torch.arange(image.shape[1]).float()] * 3, indexing="ij"))
        sample = make_sample(label[0].numpy(), label[0].numpy())
        sample = type(sample)(sample.case, image, sample.label, sample.locations, sample.annotated)
        training = make_training(augmentation=alone)
        random = generator(sum(name.encode()), draw, 0)
        found = Sampler([sample], configuration, training).draw(random, 0)
        mirrored = found.mirrored if name in ("all", "mirror") else (False,) * 3
        patches = gather([sample], [Draw(0, (START,) * 3, found.matrix, mirrored)], (PATCH,) * 3, torch.device("cpu"))
        changes = draw_changes([random], Augmentation.model_validate(alone), len(image), 3)
        apply_changes(patches.image, changes, [mirrored])
        return patches.image[0], patches.maps[0]

    return make


def effects(name: str, before: torch.Tensor, image: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """What a change did, in numbers."""
    old, new = before[0].double().numpy(), image[0].double().numpy()
    if name == "mirror":
        others = [(1, 2), (0, 2), (0, 1)]  # a profile along an axis does not see the others turned round
        moved = [abs(new.mean(axes) - old.mean(axes)).max() > 1e-4 for axes in others]
        return {f"axis_{axis}": float(one) for axis, one in enumerate(moved)}
    if name == "spatial":
        c = PATCH // 2
        matrix = np.stack(
            [(image.roll(-1, axis + 1) - image)[:, c, c, c].double().numpy() for axis in range(3)], axis=1
        )
        factor = np.cbrt(np.linalg.det(matrix))
        turn = matrix / factor
        angles = {f"turn_{i}{j}": round(float(turn[i, j]), 4) for i, j in ((0, 1), (0, 2), (1, 2), (1, 0), (2, 0))}
        return {"factor": round(float(factor), 4), **angles, "shares": float((label == 1).double().mean())}
    steps = {
        f"gradient_{axis}": float(np.diff(new, axis=axis).std() / np.diff(old, axis=axis).std()) for axis in range(3)
    }
    median = float(np.median(new) - np.median(old))
    values = {"mean": float(new.mean() - old.mean()), "deviation": float(new.std() / old.std()), "median": median}
    ends = {"lowest": float(new.min() - old.min()), "highest": float(new.max() - old.max())}
    rest = {"difference": float((new - old).std())} if name != "all" else {"label": float((label == 1).double().mean())}
    return {effect: round(value, 4) for effect, value in {**values, **ends, **steps, **rest}.items()}


def serve(which: str, draws: int) -> None:
    """Print {change: {effect: numbers}}; a channel that a change leaves alone is no effect of it."""
    torch.set_num_threads(1)
    np.random.seed(1)  # noqa: NPY002 - what nnU-Net draws from
    torch.manual_seed(1)
    make = {"medseg": medseg_makers, "nnunet": nnunet_makers}[which]()
    image, label = scene()
    found: dict[str, dict[str, list[float]]] = {}
    for name in (*CHANGES, "spatial", "mirror", "all"):
        rows = found.setdefault(name, {})
        for draw in range(draws):
            new, map_ = make(name, draw, image, label)
            for effect, value in effects(name, middle(image), new, map_).items():
                rows.setdefault(effect, []).append(value)
    print(json.dumps(found))


def main() -> None:
    """One line for each change: shares of patches that it left alone, and p-values of its effects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", help="python of an environment with nnunetv2")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--serve", choices=["medseg", "nnunet"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.draws)
        return
    from scipy import stats

    answers = {}
    for which, python in (("medseg", sys.executable), ("nnunet", arguments.nnunet)):
        command = [python, __file__, "--serve", which, "--draws", str(arguments.draws)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        answers[which] = json.loads(text.splitlines()[-1])
    for name, mine in answers["medseg"].items():
        theirs = answers["nnunet"][name]
        tests = {effect: stats.ks_2samp(mine[effect], theirs[effect]).pvalue for effect in mine}
        means = {effect: [round(float(np.mean(side[effect])), 4) for side in (mine, theirs)] for effect in mine}
        row = {"p": {effect: float(f"{p:.2g}") for effect, p in tests.items()}, "means": means}
        print(json.dumps({"change": name, "smallest": float(f"{min(tests.values()):.2g}"), **row}), flush=True)


if __name__ == "__main__":
    main()
