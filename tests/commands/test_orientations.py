"""Left and right: a phantom stored in all 48 axis orders, mixed, is segmented as well as in one order."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import medseg
from medseg.core.case import read_cases
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample, load_samples

ORDERS = [
    np.array([*zip(axes, signs, strict=True)])
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
AFFINE = np.array([[2.0, 0, 0, -31], [0, 2.0, 0, 12.5], [0, 0, 3.0, -77], [0, 0, 0, 1]])
SHAPE_XYZ = (26, 20, 12)
SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network.features=[8, 16, 32]",
    "training.validation_cases=1",
]
STEPS = 160


def phantom(number: int) -> tuple[NDArray, NDArray]:
    """Two equal organs to the left and right of a midline, and a bright one in front that lies on the right only.

    (x, y, z) to R, A and S: scan, and labels 1 (left) and 2 (right).
    """
    rng = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE_XYZ), indexing="ij"), -1) * (2.0, 2.0, 3.0)
    middle = np.array([26, 20, 18]) + rng.uniform(-3, 3, 3)

    def ball(offset: tuple[float, float, float], radius: float) -> NDArray:
        return np.linalg.norm(grid - middle - offset, axis=-1) < radius

    left, right, marker = ball((-12, -6, 0), 6), ball((12, -6, 0), 6), ball((10, 10, 0), 6)
    scan = 100 * (left | right) + 200 * marker + rng.normal(0, 10, SHAPE_XYZ)
    return scan.astype(np.float32), (left + 2 * right).astype(np.uint8)


def write_set(folder: Path, mixed: bool) -> None:
    """48 cases to train on and 48 to predict, each in an axis order of its own if `mixed`."""
    for number in range(96):
        for array, kind in zip(phantom(number), ("images", "labels"), strict=True):
            image = nib.Nifti1Image(array, AFFINE)
            if mixed:
                image = image.as_reoriented(ORDERS[number % 48])
            path = folder / ("train" if number < 48 else "test") / kind / f"case_{number:02d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(image, path)


def planned(workspace: Path) -> tuple[Plan, list[Sample]]:
    """The plan of a set, and its cases as they are trained on."""
    data = medseg.DataOptions(structures=["organ_left=1", "organ_right=2"])
    options = medseg.PlanOptions(preset="cpu", data=data, overrides=SMALL)
    result = medseg.plan(workspace / "train", workspace, "organs", options)
    configuration = result.plan.configuration(result.plan.default_configuration)
    cases = read_cases(result.cases_path, workspace / "train")
    samples, failed = load_samples(cases, result.plan, configuration, workspace / "cache" / "organs")
    assert not failed
    return result.plan, samples


@pytest.mark.slow
def test_48_axis_orders_mixed_are_segmented_as_one(tmp_path: Path) -> None:
    """What is trained on is the same, and so are the answers of one model; so one training shows it for both sets."""
    for name, mixed in (("one", False), ("mixed", True)):
        write_set(tmp_path / name, mixed)
    shapes = {nib.load(path).shape for path in (tmp_path / "mixed/train/images").iterdir()}
    orders = {nib.aff2axcodes(nib.load(path).affine) for path in (tmp_path / "mixed/train/images").iterdir()}
    assert (len(shapes), len(orders)) == (6, 48)
    (one_plan, one), (mixed_plan, mixed) = (planned(tmp_path / name) for name in ("one", "mixed"))
    assert mixed_plan.configurations == one_plan.configurations
    for sample, other in zip(mixed, one, strict=True):
        # mean and standard deviation are sums over 6240 voxels in another order; intensities are 10 at most
        torch.testing.assert_close(sample.image, other.image, rtol=0, atol=1e-4)
        assert torch.equal(sample.label, other.label)
    medseg.train(None, tmp_path / "mixed", medseg.TrainOptions(steps=STEPS, device="cpu", fold="all"))
    model = tmp_path / "mixed" / "runs" / "organs" / "3d_fullres" / "fold_all"
    for name in ("one", "mixed"):
        folder = tmp_path / name
        options = medseg.PredictOptions(device="cpu", mirror=False)
        medseg.predict(folder / "test" / "images", folder / "out", model, folder, options)
    summary = medseg.evaluate(tmp_path / "mixed/out", tmp_path / "mixed/test/labels").summary
    assert min(structure.figures["dice"].mean for structure in summary.structures.values()) > 0.85
    for path in sorted((tmp_path / "mixed/out").glob("*.nii.gz")):
        scan, answer = nib.load(tmp_path / "mixed/test/images" / path.name), nib.load(path)
        np.testing.assert_array_equal(answer.affine, scan.affine)
        straight = nib.load(tmp_path / "one/out" / path.name)
        back = nib.as_closest_canonical(answer)
        assert (np.asarray(back.dataobj) == np.asarray(straight.dataobj)).mean() > 0.999
