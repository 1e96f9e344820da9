"""The files of a case as one image, after a check that they lie on one grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Case
from medseg.errors import DataError
from medseg.image import Image, describe_grid_difference
from medseg.io import read_image, read_label


def load_case_image(case: Case, n_channels: int) -> Image:
    """Read all channels of a case as (channel, z, y, x) on the grid of the first file.

    Raises:
        DataError: a file cannot be read, lies on another grid, or the number of channels is not `n_channels`.
    """
    images = [read_image(path) for path in case.channels]
    for path, image in zip(case.channels[1:], images[1:], strict=True):
        _check_grid(case, images[0], case.channels[0], image, path)
    count = sum(image.array.shape[0] for image in images)
    if count != n_channels:
        files = ", ".join(str(path) for path in case.channels)
        raise DataError(
            f"Case {case.id}: {files} hold{'s' * (len(images) == 1)} {count} channel{'s' * (count != 1)}; "
            f"expected {n_channels}.",
            "Give the channels as CASE_0000, CASE_0001, ... or in one file (RGB, or the fourth dimension).",
        )
    if len(images) == 1:
        return images[0]
    array = np.concatenate([image.array for image in images])
    return images[0].with_array(array.astype(np.float32) if array.dtype.kind == "f" else array)


def load_case_label(case: Case, image: Image) -> Image:
    """Read the label map (1, z, y, x) of a case, integers as they stand in the file.

    Raises:
        DataError: the case has no label, or it cannot be read, or lies on another grid than the image.
    """
    if case.label is None:
        raise DataError(f"Case {case.id} has no label file.")
    label = read_label(case.label)
    _check_grid(case, image, case.channels[0], label, case.label)
    return label


def _check_grid(case: Case, image: Image, path: Path, other: Image, other_path: Path) -> None:
    if image.same_grid(other):
        return
    raise DataError(
        f"Case {case.id}: {path} and {other_path} lie on different grids: {describe_grid_difference(image, other)}.",
        "Resample one onto the grid of the other (do not just copy the header), or correct the wrong header.",
    )
