"""Unite several masks of one image (`p4_mask.png` and `p4_mask_1.png`), each of which shows a part of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference

_MOST_SHARED = 0.5
"""Share of the smaller mask. Parts of a structure hardly overlap; two observers' drawings of one thing do."""


def unite(masks: Sequence[Image], files: Sequence[Path]) -> Image:
    """Return masks of one image as one label map: each voxel that any of them marks is marked.

    Args:
        masks: (1, z, y, x) each, 0 for the background.
        files: their files, for messages.

    Raises:
        DataError: they lie on different grids, mark a voxel with different values, or are drawings of the same thing.

    >>> a, b = (Image(np.array([[[row]]]), np.eye(4)) for row in ([0, 0, 3], [3, 0, 0]))
    >>> unite([a, b], [Path("a"), Path("b")]).array.tolist()
    [[[[3, 0, 3]]]]
    """
    first = masks[0]
    united = first.array.astype(np.result_type(*(mask.array for mask in masks)))
    for number, (mask, file) in enumerate(zip(masks[1:], files[1:], strict=True), start=1):
        if not first.same_grid(mask):
            raise DataError(
                f"{files[0]} and {file} lie on different grids: {describe_grid_difference(first, mask)}.",
                "Resample the masks of a case onto the grid of its scan, by nearest neighbour.",
                "label grid",
            )
        marked = mask.array != 0
        both = marked & (united != 0)
        if (united[both] != mask.array[both]).any():
            raise DataError(
                f"{file} marks voxels that {' and '.join(other.name for other in files[:number])} mark with another "
                "value.",
                "Merge the masks of this case into one label file.",
                "overlap",
            )
        for other, earlier in zip(masks[:number], files, strict=False):
            shared, smaller = int((marked & (other.array != 0)).sum()), min(marked.sum(), (other.array != 0).sum())
            if shared > _MOST_SHARED * smaller:
                raise DataError(
                    f"{earlier} and {file} share {shared} voxels, {shared / smaller:.0%} of the smaller of them: they "
                    "seem to be two drawings of the same thing, not parts of a structure.",
                    "Keep one of them, or leave the case out with --exclude IDS.txt.",
                    "overlap",
                )
        united[marked] = mask.array[marked]
    return first.with_array(united)
