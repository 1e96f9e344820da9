"""Read what nnU-Net's dataset_fingerprint.json, beside plans.json in its model folders, says of the training scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NAME = "dataset_fingerprint.json"


def scan_range_of(folder: Path) -> dict[str, Any] | None:
    """Return the section `data.scans` of a model's plan; None without a fingerprint that says it.

    It has spacings and sizes. nnU-Net notes intensities of structures alone, which plans.json has as well.

    Args:
        folder: the folder of the model.
    """
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8-sig"))
        spacings = np.array(content["spacings"], float)
        sizes = spacings * np.array(content["shapes_after_crop"], float)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # a model can do without it
    if spacings.ndim != 2 or spacings.shape[1] != 3 or not len(spacings):
        return None
    if not all(np.isfinite(values).all() and (values > 0).all() for values in (spacings, sizes)):
        return None
    bounds = [[values.min(axis=0).tolist(), values.max(axis=0).tolist()] for values in (spacings, sizes)]
    return {"spacing": bounds[0], "size": bounds[1], "channels": []}
