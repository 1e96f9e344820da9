"""Left and right: a phantom stored in all 48 axis orders, mixed, is segmented as well as in one order."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import medseg

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
STEPS = 200


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


def mean_dice(workspace: Path) -> dict[str, float]:
    data = medseg.DataOptions(structures=["organ_left=1", "organ_right=2"])
    medseg.plan(workspace / "train", workspace, None, medseg.PlanOptions(preset="cpu", data=data, overrides=SMALL))
    medseg.train(None, workspace, medseg.TrainOptions(steps=STEPS, device="cpu", fold="all"))
    medseg.predict(
        workspace / "test" / "images", workspace / "out", None, workspace, medseg.PredictOptions(device="cpu")
    )
    summary = medseg.evaluate(workspace / "out", workspace / "test" / "labels").summary
    return {name: one.figures["dice"].mean for name, one in summary.structures.items()}


@pytest.mark.slow
def test_48_axis_orders_mixed_are_segmented_as_one(tmp_path):
    for name, mixed in (("one", False), ("mixed", True)):
        write_set(tmp_path / name, mixed)
    shapes = {nib.load(path).shape for path in (tmp_path / "mixed/train/images").iterdir()}
    orders = {nib.aff2axcodes(nib.load(path).affine) for path in (tmp_path / "mixed/train/images").iterdir()}
    assert (len(shapes), len(orders)) == (6, 48)
    one, mixed = mean_dice(tmp_path / "one"), mean_dice(tmp_path / "mixed")
    assert min(one.values()) > 0.85
    assert mixed == pytest.approx(one, abs=1e-3)
    for path in sorted((tmp_path / "mixed/out").glob("*.nii.gz")):
        scan, answer = nib.load(tmp_path / "mixed/test/images" / path.name), nib.load(path)
        np.testing.assert_array_equal(answer.affine, scan.affine)
        straight = nib.load(tmp_path / "one/out" / path.name)
        back = nib.as_closest_canonical(answer)
        assert (np.asarray(back.dataobj) == np.asarray(straight.dataobj)).mean() > 0.999
