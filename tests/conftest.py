"""Shared fixtures: where the real scans lie, and ways to write tiny ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as pillow

torch.set_num_threads(1)  # the tensors of tests are tiny; more threads only wait for each other
DATA = Path(os.environ.get("MEDSEG_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not DATA.is_dir():
        skip = pytest.mark.skip(reason=f"no real scans in {DATA}; set MEDSEG_TEST_DATA")
        for item in items:
            if "real" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans; its users carry the marker `real`."""
    return DATA


@pytest.fixture
def save_nifti() -> Callable[..., Path]:
    """Write an array (z, y, x) or (channel, z, y, x) as NIfTI."""

    def save(path: Path, array: object, affine: object = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.asarray(array).transpose()
        grid = np.eye(4) if affine is None else np.asarray(affine, dtype=float)
        nib.save(nib.Nifti1Image(stored, grid, dtype=stored.dtype), path)
        return path

    return save


@pytest.fixture
def save_picture() -> Callable[..., Path]:
    """Write an array (y, x) or (y, x, colour) as PNG, BMP or JPEG."""

    def save(path: Path, array: object, dtype: object = np.uint8) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(np.asarray(array, dtype=dtype)).save(path)
        return path

    return save
