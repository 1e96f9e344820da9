"""Intensity normalization of one channel. Source of the schemes: nnU-Net v2, `default_normalization_schemes.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.schema import Normalization
from medseg.sections import Intensity

_SMALLEST_STD = 1e-8


def normalize(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Normalize one channel (z, y, x).

    Args:
        channel: intensities as stored.
        how: the scheme of the plan.
        intensity: statistics of the training set's foreground; the scheme `ct` needs them.
        nonzero: where the scan has content; needed if `how.nonzero_only`.

    Raises:
        DataError: the values do not suit the scheme.
    """
    values = channel.astype(np.float32)
    match how.scheme:
        case "none":
            return values
        case "ct":
            if intensity is None:
                raise DataError("CT normalization needs the intensity statistics of the plan, and it has none.")
            values = np.clip(values, intensity.percentile_00_5, intensity.percentile_99_5)
            return (values - np.float32(intensity.mean)) / np.float32(max(intensity.std, _SMALLEST_STD))
        case "rescale_0_1":
            low, high = values.min(), values.max()
            return (values - low) / np.maximum(high - low, np.float32(_SMALLEST_STD))
        case "rgb_0_1":
            if values.min() < 0 or values.max() > 255:
                raise DataError(
                    f"RGB normalization expects 0 to 255; the values run from {values.min():g} to {values.max():g}.",
                    "Choose another scheme for the channel: --normalization CHANNEL=rescale_0_1",
                )
            return values / np.float32(255)
        case "zscore":
            return _zscore(values, nonzero if how.nonzero_only else None)


def _zscore(values: NDArray[np.float32], where: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    selected = values if where is None or not where.any() else values[where]
    mean = np.float32(selected.mean(dtype=np.float64))
    std = np.float32(max(selected.std(dtype=np.float64), _SMALLEST_STD))
    result = (values - mean) / std
    if where is not None:
        result[~where] = 0
    return result
