"""Read NaN around a scan as what it stands for: places outside the field of view, or outside a mask.

Programs that resample scans or mask the brain (FSL, SPM, AFNI) write NaN where nothing was measured. Every reader of
scans passes through here, so that planning, training and prediction see the same values there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, check_finite
from medseg.core.labels import Labels

_LEAST_SHARE, _FEWEST = 1e-3, 8
"""Fewer voxels than this share of a channel, or than this number, are no region outside of a scan but stray voxels:
something went wrong."""
_FEW_NEGATIVE = 0.1
"""Share of negative values up to which 0 is the darkest value of a kind of scan: interpolation makes some negative. CT
of any part of the body, and scans whose mean was taken off, have more."""


def without_nan(image: Image, source: str) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return a finite image: NaN outside of the scan has the value of nothing, which the image's warnings say.

    NaN is outside of the scan where it reaches the edge of the grid, in any direction. Its value is 0, or the smallest
    value of the channel where more than a tenth of the values are negative (air in CT).

    Args:
        image: any image.
        source: name of the image in messages, such as its path.

    Returns:
        The image, and (z, y, x) where every channel was NaN; None in place of this mask if there was no NaN.

    Raises:
        DataError: there is NaN elsewhere, only stray NaN, nothing but NaN, infinity, or a value beyond float32.
    """
    array = image.array
    if array.dtype.kind != "f" or not np.isnan(array.max(initial=0)):  # the largest is NaN if any value is
        check_finite(image, source)
        return image, None
    nan = np.isnan(array)
    filled, sentences = array.copy(), []
    for number, (channel, missing) in enumerate(zip(filled, nan, strict=True)):
        if not missing.any():
            continue
        if not _is_outside(missing):
            check_finite(image, source)  # raises
        values = channel[~missing]
        value = 0.0 if np.mean(values < 0) <= _FEW_NEGATIVE else float(values.min())
        channel[missing] = value
        which = f" of channel {number}" if len(array) > 1 else ""
        sentences.append(
            f"{source}: {np.count_nonzero(missing)} of {missing.size} voxels{which} are NaN, all at the edge of "
            f"the grid; they are taken for places outside of the scan and read as {value:g}"
        )
    outside = replace(image, array=filled, warnings=(*image.warnings, *sentences))
    check_finite(outside, source)
    return outside, nan.all(axis=0)


_AS_BACKGROUND = "read as 0, the background"


def without_nan_in_label(image: Image, source: str) -> Image:
    """Return label values in which NaN outside of the scan is 0, which a note says: AFNI and SPM write such masks.

    Args:
        image: the values as they are stored; NaN that is not all at the edge of the grid stays, and is refused later.
        source: name of the label in the note, such as its path.
    """
    if image.array.dtype.kind != "f":
        return image
    missing = np.isnan(image.array).any(axis=0)
    if not missing.any() or not _is_outside(missing):
        return image
    note = (
        f"{source}: {np.count_nonzero(missing)} of {missing.size} voxels are NaN, all at the edge of the grid; "
        f"they are {_AS_BACKGROUND}"
    )
    return replace(image, array=np.where(missing, 0, image.array), notes=(*image.notes, note))


def refuse_nan_as_structure(image: Image, labels: Labels | None, source: str) -> None:
    """Refuse a label in which NaN was read as 0, where 0 is a structure and no background.

    Args:
        image: the label map, as read.
        labels: the structures, if they are known.
        source: name of the label in the message.

    Raises:
        DataError: a structure would be where the label says nothing.
    """
    if labels is None or labels.background is not None or not any(_AS_BACKGROUND in note for note in image.notes):
        return
    raise DataError(
        f"{source} holds NaN, and there is no background: every value is a structure.",
        "Write the ignore value there, if these voxels were not annotated.",
        "not finite",
    )


def _is_outside(missing: NDArray[np.bool_]) -> bool:
    """Return whether all voxels of a mask (z, y, x) are joined to the edge of the grid, and neither few nor all."""
    from scipy import ndimage  # most scans have no NaN

    count = np.count_nonzero(missing)
    if count < max(_FEWEST, _LEAST_SHARE * missing.size) or count == missing.size:
        return False
    # one voxel more on each side joins all that lies at the edge; an axis with one slice has no edge
    padding = [(int(size > 1), int(size > 1)) for size in missing.shape]
    padded = np.pad(missing, padding, constant_values=True)
    _, regions = ndimage.label(padded, structure=np.ones((3, 3, 3)))
    return int(regions) == 1
