"""Read NaN around a scan as what it stands for: places outside the field of view, or outside a mask.

Programs that resample scans or mask the brain (FSL, SPM, AFNI) write NaN where nothing was measured. Every reader of
scans passes through here, so that planning, training and prediction see the same values there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image, check_finite

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
    nan = np.isnan(array) if array.dtype.kind == "f" else None
    if nan is None or not nan.any():
        check_finite(image, source)
        return image, None
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
