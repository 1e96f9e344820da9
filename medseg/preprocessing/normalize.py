"""The table of normalization schemes: the names that a channel's `normalization.scheme` may have, and what each does.

Formulas of nnU-Net v2, `default_normalization_schemes.py`. Each of its schemes is a clip, a shift and a division: the
scheme looks at the channel once, block by block, for the figures (`Scaling`), and any part of the channel can then be
normalized by itself. A new scheme is a function and a row here; docs/development/extend.md shows it as a diff.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, PlanError
from medseg.plans.schema import Configuration, Normalization
from medseg.plans.sections.data import Intensity

_SMALLEST_STD = 1e-8  # nnU-Net's: the least that is divided by, where all values are the same
_BLOCK_VOXELS = 1 << 19  # 4 MB in float64: memory stays small beside the scan, whatever its size


@dataclass(frozen=True)
class Scaling:
    """Normalization by (value, clipped to `limits`, - shift) / divisor, in float32.

    >>> values = np.array([-50, 100, 3000], dtype=np.float32)
    >>> Scaling(shift=100, divisor=50, limits=(0, 200)).apply(values)
    >>> values.tolist()
    [-2.0, 0.0, 2.0]

    Attributes:
        shift: subtracted, after clipping.
        divisor: divided by, last.
        limits: smallest and largest value to clip to; None to clip nothing.
    """

    shift: float = 0.0
    divisor: float = 1.0
    limits: tuple[float, float] | None = None

    def apply(self, values: NDArray[np.float32]) -> None:
        """Normalize values of any shape in place."""
        if self.limits is not None:
            np.clip(values, *self.limits, out=values)
        if self.shift != 0:
            values -= np.float32(self.shift)
        if self.divisor != 1:
            values /= np.float32(self.divisor)


ChannelFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps a whole channel (z, y, x) to its normalized values, of the same shape."""

Scheme = Callable[[NDArray, Intensity | None, NDArray[np.bool_] | None], Scaling | ChannelFunction]
"""`scheme(channel, intensity, nonzero)` says how a channel is normalized: by a `Scaling`, or by any other function.

channel: (z, y, x) intensities as stored, not to be changed. intensity: statistics of the channel over the foreground of
the training set; None where the plan has none. nonzero: (z, y, x), where the scan has content, if the plan says
`nonzero_only`: statistics are to be taken there, and everything outside is set to zero afterwards; else None.
"""


def _none(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Leave intensities as they are."""
    return Scaling()


def _ct(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Clip to the percentiles of the training set's foreground and standardize by its statistics."""
    if intensity is None:
        raise DataError("CT normalization needs the intensity statistics of the plan, and it has none.")
    limits = (intensity.percentile_00_5, intensity.percentile_99_5)
    return Scaling(intensity.mean, max(intensity.std, _SMALLEST_STD), limits)


def _rescale_0_1(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Map the channel's own range to 0 to 1."""
    low, high = np.float32(channel.min()), np.float32(channel.max())
    return Scaling(float(low), max(float(high - low), _SMALLEST_STD))


def _rgb_0_1(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Return the scaling that divides values of 0 to 255 by 255."""
    low, high = channel.min(), channel.max()
    if low < 0 or high > 255:
        raise DataError(
            f"RGB normalization expects 0 to 255; the values run from {low:g} to {high:g}.",
            "Choose another scheme for the channel: --normalization CHANNEL=rescale_0_1",
        )
    return Scaling(divisor=255.0)


def _rgb_minus1_1(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Return the scaling that maps 0 to -1 and 255 to 1."""
    _rgb_0_1(channel, intensity, nonzero)  # refuses other values
    return Scaling(127.5, 127.5)


def _imagenet(mean: float, std: float) -> Scheme:
    """Return the scheme of a colour with this mean and deviation, of values of 0 to 1, over the photos of ImageNet."""

    def scheme(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
        """Standardize a colour of 0 to 255 by mean and deviation of the photos of ImageNet."""
        _rgb_0_1(channel, intensity, nonzero)  # refuses other values
        return Scaling(255 * mean, 255 * std)

    return scheme


def _zscore(channel: NDArray, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None) -> Scaling:
    """Standardize by the channel's own mean and standard deviation.

    Both are computed in float64 from float32 values, as these are what will be normalized; in two passes, as the
    difference of two large sums would lose the digits of a small deviation around a large mean.
    """
    if nonzero is not None and not nonzero.any():
        nonzero = None
    total = squares = 0.0
    count = channel.size if nonzero is None else int(np.count_nonzero(nonzero))
    for values in _parts(channel, nonzero):
        total += float(values.sum())
    mean = total / count
    for values in _parts(channel, nonzero):
        values -= mean
        squares += float(np.square(values, out=values).sum())
    return Scaling(mean, max((squares / count) ** 0.5, _SMALLEST_STD))


def _parts(channel: NDArray, nonzero: NDArray[np.bool_] | None) -> Iterator[NDArray[np.float64]]:
    """Yield the values, or those where `nonzero` is true, some slices at a time, as one line each."""
    depth = max(1, _BLOCK_VOXELS * channel.shape[0] // max(1, channel.size))
    for start in range(0, channel.shape[0], depth):
        slices = slice(start, start + depth)
        values = channel[slices] if nonzero is None else channel[slices][nonzero[slices]]
        yield values.astype(np.float32).astype(np.float64).ravel()


NORMALIZATIONS: dict[str, Scheme] = {
    "ct": _ct,
    "zscore": _zscore,
    "rescale_0_1": _rescale_0_1,
    "rgb_0_1": _rgb_0_1,
    "rgb_minus1_1": _rgb_minus1_1,
    # mean and deviation as in torchvision (pytorch.org/vision/stable/models), with which most encoders were trained
    "imagenet_red": _imagenet(0.485, 0.229),
    "imagenet_green": _imagenet(0.456, 0.224),
    "imagenet_blue": _imagenet(0.406, 0.225),
    "none": _none,
}
"""Name in the plan -> scheme."""

_BUILT_IN = frozenset(NORMALIZATIONS)


def register_normalization(name: str, scheme: Scheme) -> None:
    """Let plans name a normalization of your own, as long as this Python process lasts.

    Args:
        name: what `scheme` in the plan says.
        scheme: called for every channel of every scan, from several threads; see `Scheme`.

    Raises:
        PlanError: the name is that of one of medseg's schemes.
    """
    if name in _BUILT_IN:
        raise PlanError(f"medseg has a normalization named {name!r}; choose another name.")
    NORMALIZATIONS[name] = scheme


def check_schemes(configuration: Configuration, name: str) -> None:
    """Refuse a configuration whose channels are normalized by a scheme that is not in the table.

    Args:
        configuration: to be preprocessed for.
        name: the name of the configuration.

    Raises:
        PlanError: naming the key, the scheme, and those that there are.
    """
    for number, how in enumerate(configuration.normalization):
        if how.scheme not in NORMALIZATIONS:
            raise PlanError(
                f"configurations.{name}.normalization.{number}.scheme is {how.scheme!r}, and there is no such "
                f"normalization; there are {', '.join(NORMALIZATIONS)}.",
                "A normalization of your own is registered from Python first: "
                f"medseg.register_normalization({how.scheme!r}, scheme). docs/development/extend.md shows how.",
            )


def normalizer(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None = None
) -> Scaling | ChannelFunction:
    """Return how a channel is to be normalized.

    Args:
        channel: (z, y, x) intensities as stored.
        how: names the scheme.
        intensity: statistics of the training set's foreground; the scheme `ct` needs them.
        nonzero: (z, y, x), where the scan has content; used if `how.nonzero_only`.

    Raises:
        DataError: the values do not suit the scheme.
    """
    return NORMALIZATIONS[how.scheme](channel, intensity, nonzero if how.nonzero_only else None)


def registered_code(configuration: Configuration) -> dict[str, str]:
    """Return a hash of the code of each scheme that was registered from outside; empty for medseg's own.

    Preprocessed cases are kept under the name of the scheme and this hash, so that a scheme that was changed does not
    find what it made before.
    """
    names = {how.scheme for how in configuration.normalization} - _BUILT_IN
    return {name: hashlib.blake2b(_code(NORMALIZATIONS[name]), digest_size=8).hexdigest() for name in sorted(names)}


def _code(scheme: Scheme) -> bytes:
    """Return the source code of a function or of an object's class; without a source file, its bytecode or name."""
    named = scheme if hasattr(scheme, "__qualname__") else type(scheme)
    try:
        return inspect.getsource(named).encode()
    except (OSError, TypeError):  # it was typed in, not read from a file
        code = getattr(named, "__code__", None)
        return code.co_code + repr(code.co_names).encode() if code else named.__qualname__.encode()
