"""One case from its own grid to the network's; `restore` brings answers back.

Order of the steps as in nnU-Net v2 (`default_preprocessor.py`): axis order, crop to nonzero, normalize, resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, Orientation, nonzero_box, whole_box
from medseg.core.labels import OUTSIDE
from medseg.core.wording import counted
from medseg.plans.schema import Configuration, Normalization, Plan
from medseg.plans.sections.data import Intensity
from medseg.preprocessing.blocks import Read, resample_blocks
from medseg.preprocessing.normalize import ChannelFunction, Scaling, normalizer
from medseg.preprocessing.resample import resample_label, resampled_shape, separate_axis


@dataclass(frozen=True)
class Geometry:
    """The way of a case to the network's grid, with all that is needed to bring an answer back.

    Attributes:
        orientation: which axes were exchanged and reversed to come to the canonical frame; none for `stored`.
        transpose: the order in which the network has the axes, of those of the frame.
        turned_shape: voxels of the scan with its axes as the network has them.
        box: part of the turned scan that is not all zero.
        spacing_mm: the spacing (z, y, x) in mm of the turned scan.
        network_spacing_mm: the spacing of the network's grid.
    """

    orientation: Orientation
    transpose: tuple[int, int, int]
    turned_shape: tuple[int, int, int]
    box: tuple[slice, slice, slice]
    spacing_mm: tuple[float, float, float]
    network_spacing_mm: tuple[float, float, float]

    @property
    def cropped_shape(self) -> tuple[int, ...]:
        """Voxels of the nonzero box."""
        return tuple(part.stop - part.start for part in self.box)

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Voxels of the network's grid."""
        return resampled_shape(self.cropped_shape, self.spacing_mm, self.network_spacing_mm)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Voxels (z, y, x) of the scan as it is stored."""
        return self.stored(np.broadcast_to(np.uint8(0), (1, *self.turned_shape))).shape[1:]

    def turn(self, array: NDArray) -> NDArray:
        """Return a view of an array (channel, z, y, x) as stored, with its axes as the network has them."""
        return _turn(array, self.orientation, self.transpose)

    def stored(self, array: NDArray) -> NDArray:
        """Return a view of an array with the network's axes, with its axes as stored: the inverse of `turn`."""
        back = np.argsort(self.transpose)
        return self.orientation.invert(array.transpose(0, *(int(axis) + 1 for axis in back)))


@dataclass(frozen=True)
class Volume:
    """A case on the network's grid.

    Attributes:
        image: (channel, z, y, x) float32, normalized.
        label: (z, y, x) label indices, `IGNORE` and `OUTSIDE` included; None for a case without labels.
        geometry: how the case came there.
        warnings: how the scan differs from those that the network was trained on, in sentences.
        others: the same case on the grids of other configurations that answer together with this one.
    """

    image: NDArray[np.float32]
    label: NDArray[np.int16] | None
    geometry: Geometry
    warnings: tuple[str, ...] = ()
    others: tuple[Volume, ...] = ()

    @property
    def together(self) -> tuple[Volume, ...]:
        """Itself and the others."""
        return (self, *self.others)


def prepare(
    image: Image,
    plan: Plan,
    configuration: Configuration,
    label: NDArray[np.int16] | None = None,
    also_content: NDArray[np.bool_] | None = None,
    geometry: Geometry | None = None,
) -> Volume:
    """Return a scan, and its labels if given, on the grid of a configuration.

    Args:
        image: the scan as stored.
        plan: has channels, orientation and the statistics of intensities.
        configuration: has spacing, normalization and resampling.
        label: (z, y, x) label indices on the grid of the scan.
        also_content: (z, y, x) mask of voxels that count as content although they may be zero, for channels that are
            normalized within the content.
        geometry: what `geometry_of` returned for the scan, where that is known already.

    Raises:
        DataError: the scan does not suit the plan.
    """
    geometry = geometry or geometry_of(image, plan, configuration, trained=label is not None)
    orientation, transpose, box = geometry.orientation, geometry.transpose, geometry.box
    spacing, target = geometry.spacing_mm, geometry.network_spacing_mm
    turned = _turn(image.array, orientation, transpose)
    masked = any(how.nonzero_only for how in configuration.normalization)
    nonzero = content_of(turned[(slice(None), *box)]) if masked else None
    if nonzero is not None and also_content is not None:
        nonzero = nonzero | _turn(also_content[None], orientation, transpose)[0][box]
    cropped = turned[(slice(None), *geometry.box)]
    shape = geometry.network_shape
    axis = separate_axis(spacing, target, configuration.resample_image.separate_axis)
    resampled = np.empty((len(cropped), *shape), dtype=np.float32)
    intensities: Sequence[Intensity | None] = plan.data.intensities or [None] * len(cropped)  # some plans have none
    for channel, intensity, how, out in zip(cropped, intensities, configuration.normalization, resampled, strict=True):
        read = _reader(channel, how, intensity, nonzero)
        resample_blocks(read, channel.shape, out, configuration.resample_image, axis)
    if label is not None:
        label = _turn(label[None], orientation, transpose)[0][geometry.box]
        if nonzero is not None:
            label = np.where((label == 0) & ~nonzero, np.int16(OUTSIDE), label)
        axis = separate_axis(spacing, target, configuration.resample_label.separate_axis)
        label = np.ascontiguousarray(resample_label(label, shape, configuration.resample_label, axis))
    return Volume(resampled, label, geometry)


def prepare_weights(
    weights: NDArray[np.float32], geometry: Geometry, configuration: Configuration
) -> NDArray[np.float32]:
    """Return a map of weights on the grid of a configuration, resampled linearly, so that none becomes negative.

    Args:
        weights: (z, y, x) on the grid of the scan.
        geometry: how the scan came to the grid of the configuration.
        configuration: says how images are resampled.
    """
    cropped = geometry.turn(weights[None])[0][geometry.box]
    how = configuration.resample_image
    linear = how.model_copy(update={"order": min(how.order, 1), "order_across": min(how.order_across, 1)})
    axis = separate_axis(geometry.spacing_mm, geometry.network_spacing_mm, how.separate_axis)
    resampled = np.empty(geometry.network_shape, dtype=np.float32)
    resample_blocks(lambda box: cropped[box].astype(np.float32, order="C"), cropped.shape, resampled, linear, axis)
    return np.maximum(resampled, 0)


def geometry_of(image: Image, plan: Plan, configuration: Configuration, trained: bool = False) -> Geometry:
    """Return how a scan comes to the grid of a configuration; nothing is resampled yet.

    Args:
        image: the scan as stored.
        plan: has channels and orientation.
        configuration: has the spacing.
        trained: the scan is one to train on; `inference.spacing` is for others.

    Raises:
        DataError: the scan does not suit the plan.
    """
    _check_fits(image, plan)
    orientation = Orientation.of(image) if plan.orientation == "canonical" else Orientation()
    transpose = (plan.transpose_forward[0], plan.transpose_forward[1], plan.transpose_forward[2])
    turned = _turn(image.array, orientation, transpose)
    spacing_stored = orientation.permute(_spacing(image, plan, trained))
    spacing = (spacing_stored[transpose[0]], spacing_stored[transpose[1]], spacing_stored[transpose[2]])
    z, y, x = turned.shape[1:]
    # what is cropped is answered as background; without one, every voxel has to be seen by the network
    box = whole_box(turned) if plan.labels.background is None else nonzero_box(turned)
    return Geometry(orientation, transpose, (z, y, x), box, spacing, network_spacing(spacing, configuration))


def _check_fits(image: Image, plan: Plan) -> None:
    if image.array.shape[0] != len(plan.data.channels):
        raise DataError(
            f"The image has {counted(image.array.shape[0], 'channel')}; the plan has {len(plan.data.channels)}: "
            f"{', '.join(plan.data.channels)}."
        )


def _spacing(image: Image, plan: Plan, trained: bool) -> tuple[float, float, float]:
    """Return the distance of a scan's voxels along z, y and x as the network is to see it.

    Args:
        image: the scan.
        plan: says whose word counts.
        trained: the scan is one to train on; `inference.spacing` is for others.

    Raises:
        DataError: the scan is measured in pixels and the plan in mm, or the other way round.
    """
    if plan.inference.spacing is not None and not trained:
        z, y, x = plan.inference.spacing
        return z, y, x
    if plan.data.spacing_rule == "one":
        return 1.0, 1.0, 1.0
    if plan.data.spacing_rule == "nnunet" and image.nnunet_spacing is not None:
        return image.nnunet_spacing
    if image.spacing_known != plan.data.spacing_known:
        expected, actual = ("in mm", "in pixels") if plan.data.spacing_known else ("in pixels", "in mm")
        size = "its voxels are Z x Y x X mm large" if plan.data.spacing_known else "its pixels are those of the model"
        numbers = "Z,Y,X" if plan.data.spacing_known else "1,1,1"
        of_array = " (an array: spacing=(Z, Y, X))" if plan.data.spacing_known else ""
        raise DataError(
            f"The model was made for scans measured {expected}; this one is measured {actual}.",
            f"If {size}, add --set inference.spacing=[{numbers}]{of_array}; else convert it to the format of the "
            "training scans.",
        )
    return image.spacing_mm


def network_spacing(spacing: Sequence[float], configuration: Configuration) -> tuple[float, float, float]:
    """Return the spacing (z, y, x) in mm of a case on the network's grid.

    Args:
        spacing: mm of the case, with its axes as the network has them.
        configuration: has the network's spacing; in 2D of the slices alone, whose distance stays as it is.
    """
    unchanged = 3 - configuration.dimensions
    z, y, x = (*spacing[:unchanged], *configuration.spacing_mm)
    return z, y, x


def _turn(array: NDArray, orientation: Orientation, transpose: tuple[int, int, int]) -> NDArray:
    return orientation.apply(array).transpose(0, *(axis + 1 for axis in transpose))


def _reader(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None
) -> Read:
    """Return a function that reads boxes of a channel (z, y, x), normalized."""
    normalize = normalizer(channel, how, intensity, nonzero)
    normalized = None if isinstance(normalize, Scaling) else _normalized_channel(normalize, channel, how.scheme)

    def read(box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        # always a copy, in C order: the caller may change it, and sums along its axes then run through memory in order
        values = (channel if normalized is None else normalized)[box].astype(np.float32, order="C")
        if isinstance(normalize, Scaling):
            normalize.apply(values)
        if how.nonzero_only and nonzero is not None:
            values[~nonzero[box]] = 0
        return values

    return read


def _normalized_channel(normalize: ChannelFunction, channel: NDArray, scheme: str) -> NDArray[np.float32]:
    """Return a channel normalized by a function that needs all of it."""
    values = np.asarray(normalize(channel.astype(np.float32)), dtype=np.float32)
    if values.shape != channel.shape:
        raise DataError(f"The normalization {scheme} turns a channel of shape {channel.shape} into {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError(f"The normalization {scheme} makes values that are not finite.")
    return values


def content_of(cropped: NDArray) -> NDArray[np.bool_]:
    """Return where a scan has content: voxels that are not zero in every channel, and the holes among them.

    A hole is a region of zeros that does not reach the border of the box, across faces of voxels. The result is that of
    `scipy.ndimage.binary_fill_holes`, which grows the outside step by step and is slower than labelling all regions.

    Args:
        cropped: (channel, z, y, x) scan, cropped to its nonzero box.

    Returns:
        (z, y, x) mask.
    """
    from scipy import ndimage

    content = cropped[0] != 0
    for channel in cropped[1:]:
        content |= channel != 0
    if content.all():
        return content
    zeros, count = ndimage.label(~content)
    outside = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for face in (0, -1):
            outside[np.unique(np.take(zeros, face, axis=axis))] = True
    outside[0] = False
    return ~outside[zeros]
