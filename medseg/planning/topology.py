"""The shape of a U-Net: where it halves which axis, which kernels it uses, and the patch that fits it.

Rules of nnU-Net v2 (Isensee et al., Nature Methods 2021), for 2D and 3D alike. Lengths are in voxels,
spacings in mm; an axis is halved only while its voxels are not much coarser than those of the finest axis,
so that the receptive field grows to a cube in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

INITIAL_VOLUME_VOXELS = {2: 2048**2, 3: 256**3}  # by number of axes
MIN_BOTTLENECK_EDGE = 4  # voxels an axis keeps after its last halving
SIMILAR_SPACING = 2  # spacings whose ratio is below this are alike


@dataclass(frozen=True)
class Topology:
    """One entry per stage in `strides` and `kernels`; the first stride is 1 along every axis.

    `patch_voxels` is a multiple of `divisor` (the product of the strides) along every axis.
    """

    patch_voxels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]

    @property
    def n_stages(self) -> int:
        return len(self.strides)

    def reasons(self) -> dict[str, str]:
        """Sentences for 'strides' and 'kernels'."""
        halvings = ", ".join(str(d.bit_length() - 1) for d in self.divisor)
        flat = sum(1 in kernel for kernel in self.kernels)
        kernels = "3 along every axis: voxels differ less than twofold between the axes"
        if flat:
            kernels = f"1 along the coarse axis for {flat} of {self.n_stages} stages, until the others catch up"
        return {
            "strides": f"{halvings} halvings: to {MIN_BOTTLENECK_EDGE} voxels or a few more, but only while "
            "they are less than twice as coarse as along the finest axis that can be halved",
            "kernels": kernels,
        }


def initial_patch(spacing_mm: Sequence[float], median_shape_voxels: Sequence[float]) -> tuple[float, ...]:
    """The largest patch to try: 256^3 or 2048^2 voxels, equal edges in mm, cut to the median image.

    Half voxels of the median are kept (237.5); they disappear when the patch is padded.
    """
    density = 1 / np.asarray(spacing_mm, dtype=float)
    n_axes = len(spacing_mm)
    edges = density * (INITIAL_VOLUME_VOXELS[n_axes] / np.prod(density)) ** (1 / n_axes)
    # Spacings that differ by a factor of thousands would round an edge down to no voxel at all.
    whole = [max(1, round(edge)) for edge in edges.tolist()]
    return tuple(min(edge, float(limit)) for edge, limit in zip(whole, median_shape_voxels, strict=True))


def pad_to_multiple(patch_voxels: Sequence[float], divisor: Sequence[int]) -> tuple[int, ...]:
    """Each edge rounded up to the next multiple of its divisor."""
    return tuple(ceil(edge / step) * step for edge, step in zip(patch_voxels, divisor, strict=True))


def build_topology(spacing_mm: Sequence[float], patch_voxels: Sequence[float]) -> Topology:
    """Halve the axes that may be halved, stage after stage, until none is left; then pad the patch to fit.

    A kernel is 1 along an axis until the voxels there are about as fine as along the finest axis, from then
    on 3; in the bottleneck it is always 3. `patch_voxels` may hold half voxels. The axes may come in any
    order, the same in both arguments.

    Source: nnU-Net v2 (Isensee et al. 2021).
    """
    spacing, size = [float(s) for s in spacing_mm], [float(edge) for edge in patch_voxels]
    axes = range(len(spacing))
    kernel = [1] * len(spacing)
    strides, kernels = [(1,) * len(spacing)], []
    while halved := _axes_to_halve(spacing, size):
        finest = min(spacing)
        kernel = [3 if k == 3 or s / finest < SIMILAR_SPACING else 1 for k, s in zip(kernel, spacing, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            spacing[axis] *= 2
            size[axis] = ceil(size[axis] / 2)
    kernels.append((3,) * len(spacing))
    divisor = tuple(2 ** sum(stride[axis] == 2 for stride in strides) for axis in axes)
    return Topology(pad_to_multiple(patch_voxels, divisor), tuple(strides), tuple(kernels), divisor)


def _axes_to_halve(spacing_mm: Sequence[float], size_voxels: Sequence[float]) -> list[int]:
    """Axes long enough for another halving and alike in spacing to the finest of them; empty when done."""
    long_enough = [axis for axis, edge in enumerate(size_voxels) if edge >= 2 * MIN_BOTTLENECK_EDGE]
    if not long_enough:
        return []
    finest = min(spacing_mm[axis] for axis in long_enough)
    alike = [axis for axis in long_enough if spacing_mm[axis] / finest < SIMILAR_SPACING]
    # A stage that halves a single axis must leave more than the minimum to be worth it.
    if len(alike) == 1 and size_voxels[alike[0]] < 3 * MIN_BOTTLENECK_EDGE:
        return []
    return alike


def shrink_patch(
    topology: Topology, spacing_mm: Sequence[float], median_shape_voxels: Sequence[float]
) -> Topology | None:
    """The next smaller patch: shorter along the axis longest against the median image (ties: the last).

    The step is the divisor that this axis has after a step of its present one, so that no valid size is
    skipped: from 256, a multiple of 64, it leads to 224 (a multiple of 32) rather than 192. None when every
    axis is down to one voxel.

    Source: nnU-Net v2 (Isensee et al. 2021).
    """
    patch = list(topology.patch_voxels)
    shrinkable = [axis for axis, edge in enumerate(patch) if edge > 1]
    if not shrinkable:
        return None
    axis = max(shrinkable, key=lambda a: (patch[a] / median_shape_voxels[a], a))
    trial = patch.copy()
    trial[axis] -= topology.divisor[axis]
    patch[axis] -= build_topology(spacing_mm, trial).divisor[axis]
    return build_topology(spacing_mm, patch)
