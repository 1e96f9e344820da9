"""One case from its own grid to the network's, and back: both directions live here and nowhere else.

Order as in nnU-Net v2 (`default_preprocessor.py`): axis order, crop to nonzero, normalize, resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.image import Image, Orientation, nonzero_box
from medseg.labels import Labels
from medseg.preprocessing.normalize import normalize
from medseg.preprocessing.resample import resample_image, resample_label, resampled_shape, separate_axis
from medseg.schema import Configuration, Plan
from medseg.sections import Intensity

OUTSIDE = -2
"""Label index of background voxels outside the nonzero mask, in channels normalized within it."""


@dataclass(frozen=True)
class Geometry:
    """How a case came to the network's grid; enough to bring an answer back."""

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


@dataclass(frozen=True)
class Volume:
    """A case on the network's grid: image (channel, z, y, x) float32, label (z, y, x) indices if there are any."""

    image: NDArray[np.float32]
    label: NDArray[np.int16] | None
    geometry: Geometry


def prepare(image: Image, plan: Plan, configuration: Configuration, label: NDArray[np.int16] | None = None) -> Volume:
    """Bring a scan, and its label indices (z, y, x) if given, to the grid of a configuration.

    Raises:
        DataError: the scan does not suit the plan.
    """
    if image.array.shape[0] != len(plan.data.channels):
        raise DataError(
            f"The image has {image.array.shape[0]} channels; the plan has {len(plan.data.channels)}: "
            f"{', '.join(plan.data.channels)}."
        )
    if image.spacing_known != plan.data.spacing_known:
        there, here = ("in mm", "in pixels") if plan.data.spacing_known else ("in pixels", "in mm")
        raise DataError(
            f"The model was made for scans measured {there}; this one is measured {here}.",
            "Convert it to a format like that of the training scans.",
        )
    orientation = Orientation.of(image) if plan.orientation == "canonical" else Orientation()
    transpose = (plan.transpose_forward[0], plan.transpose_forward[1], plan.transpose_forward[2])
    turned = _turn(image.array, orientation, transpose)
    spacing_stored = orientation.permute(image.spacing_mm)
    spacing = (spacing_stored[transpose[0]], spacing_stored[transpose[1]], spacing_stored[transpose[2]])
    box = nonzero_box(turned)
    masked = any(how.nonzero_only for how in configuration.normalization)
    nonzero = _filled_mask(turned, box) if masked else None
    target = network_spacing(spacing, configuration)
    geometry = Geometry(orientation, transpose, turned.shape[1:], box, spacing, target)
    cropped = turned[(slice(None), *geometry.box)]
    intensities: list[Intensity | None] = list(plan.data.intensities) or [None] * len(plan.data.channels)
    normalized = np.stack(
        [
            normalize(channel, how, intensity, nonzero)
            for channel, how, intensity in zip(cropped, configuration.normalization, intensities, strict=True)
        ]
    )
    shape = resampled_shape(normalized.shape[1:], spacing, target)
    axis = separate_axis(spacing, target, configuration.resample_image.separate_axis)
    resampled = resample_image(torch.from_numpy(normalized), shape, configuration.resample_image, axis)
    if label is not None:
        label = _turn(label[None], orientation, transpose)[0][geometry.box]
        if nonzero is not None:
            label = np.where((label == 0) & ~nonzero, np.int16(OUTSIDE), label)
        axis = separate_axis(spacing, target, configuration.resample_label.separate_axis)
        label = np.ascontiguousarray(resample_label(label, shape, configuration.resample_label, axis))
    return Volume(resampled.contiguous().numpy(), label, geometry)


def restore(logits: torch.Tensor, geometry: Geometry, labels: Labels, configuration: Configuration) -> NDArray:
    """(outputs, z, y, x) logits on the network's grid to written label values (z, y, x) on the scan's own grid.

    Voxels outside the nonzero box are background.
    """
    how = configuration.resample_logits
    axis = separate_axis(geometry.network_spacing_mm, geometry.spacing_mm, how.separate_axis)
    full = resample_image(logits.float(), geometry.cropped_shape, how, axis)
    turned = np.full(geometry.turned_shape, labels.background, dtype=labels.dtype)
    turned[geometry.box] = labels.decide(full).cpu().numpy().astype(labels.dtype)
    back = np.argsort(geometry.transpose)
    return np.ascontiguousarray(geometry.orientation.invert(turned.transpose(*back)[None])[0])


def network_spacing(spacing: Sequence[float], configuration: Configuration) -> tuple[float, float, float]:
    """The spacing that a case has on the network's grid: 2D configurations leave the slices where they are."""
    kept = 3 - configuration.dimensions
    z, y, x = (*spacing[:kept], *configuration.spacing_mm)
    return z, y, x


def _turn(array: NDArray, orientation: Orientation, transpose: tuple[int, int, int]) -> NDArray:
    return orientation.apply(array).transpose(0, *(axis + 1 for axis in transpose))


def _filled_mask(array: NDArray, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    """Voxels of the box that are not zero in every channel, and the holes among them; holes never change the box."""
    from scipy import ndimage

    return ndimage.binary_fill_holes((array[(slice(None), *box)] != 0).any(axis=0))
