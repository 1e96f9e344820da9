"""The shape of a U-Net: which axis it halves at which stage, which kernels it uses, and the patch that fits it.

Rules of nnU-Net v2 (Isensee et al., Nature Methods 2021; `experiment_planning/experiment_planners/network_topology.py`
and `default_experiment_planner.py`), for 2D and 3D alike. Lengths are in voxels, spacings in mm; an axis is halved only
while its voxels are not much coarser than those of the finest axis, so that the receptive field grows to a cube in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

INITIAL_VOLUME_VOXELS = {2: 2048**2, 3: 256**3}
"""Number of axes -> voxels of the largest patch to try (`get_plans_for_configuration`)."""
MIN_BOTTLENECK_EDGE = 4
"""Voxels that an axis keeps after its last halving (`UNet_featuremap_min_edge_length`)."""
SIMILAR_SPACING = 2
"""Spacings whose ratio is below this are similar (`get_pool_and_conv_props`)."""


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net and its patch.

    Attributes:
        patch_voxels: size of the patch along each axis, a multiple of `divisor`.
        strides: stride along each axis, for each stage; the first one is 1 along every axis.
        kernels: kernel size along each axis, for each stage.
        divisor: product of the strides along each axis.
    """

    patch_voxels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]

    @property
    def n_stages(self) -> int:
        """Number of resolutions."""
        return len(self.strides)

    def reasons(self) -> dict[str, str]:
        """Return the reasons for the keys `strides` and `kernels`."""
        halvings = ", ".join(str(step.bit_length() - 1) for step in self.divisor)  # log2 of powers of two
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
    """Return the largest patch to try: 256^3 or 2048^2 voxels, equal edges in mm, cut to the median image.

    Source: nnU-Net v2, `default_experiment_planner.py`, `get_plans_for_configuration`.

    Args:
        spacing_mm: spacing along each axis.
        median_shape_voxels: median shape of the resampled cases.

    Returns:
        Size along each axis. Half voxels of the median (237.5) are kept; they disappear when the patch is padded.

    >>> initial_patch((1.0, 1.0, 1.0), (100, 300, 300))
    (100.0, 256, 256)
    """
    density = 1 / np.asarray(spacing_mm, dtype=float)
    n_axes = len(spacing_mm)
    # edges in proportion to the density of voxels are equal in mm; the factor gives them the wanted product
    edges = density * (INITIAL_VOLUME_VOXELS[n_axes] / np.prod(density)) ** (1 / n_axes)
    # Spacings that differ by a factor of thousands would round an edge down to no voxel at all.
    edges_voxels = [max(1, round(edge)) for edge in edges.tolist()]
    return tuple(min(edge, float(limit)) for edge, limit in zip(edges_voxels, median_shape_voxels, strict=True))


def pad_to_multiple(patch_voxels: Sequence[float], divisor: Sequence[int]) -> tuple[int, ...]:
    """Return each edge of a patch rounded up to the next multiple of its divisor."""
    return tuple(ceil(edge / step) * step for edge, step in zip(patch_voxels, divisor, strict=True))


def build_topology(spacing_mm: Sequence[float], patch_voxels: Sequence[float]) -> Topology:
    """Return the topology for a patch: axes are halved stage after stage until none can be, then the patch is padded.

    A kernel is 1 along an axis until the voxels there are about as fine as along the finest axis, from then on 3; in
    the bottleneck it is always 3.

    Source: nnU-Net v2, `network_topology.py`, `get_pool_and_conv_props`.

    Args:
        spacing_mm: spacing along each axis, in any order of the axes.
        patch_voxels: size of the patch along each axis, in the same order; may hold halves.
    """
    spacing, size = [float(step) for step in spacing_mm], [float(edge) for edge in patch_voxels]
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


def trainable_topology(spacing_mm: Sequence[float], patch_voxels: Sequence[float]) -> Topology:
    """Return the topology for a patch, with one halving of a larger patch where the patch is too short for any.

    nnU-Net v2 plans a network of a single stage for images of 6 x 6, which is no U-Net: it fails when it is made. Here
    the axes that are halved first get 8 voxels; images are padded to their patch in any case.

    Args:
        spacing_mm: spacing along each axis.
        patch_voxels: size of the patch along each axis; may hold halves.

    >>> trainable_topology((1.0, 1.0), (6, 5)).patch_voxels
    (8, 8)
    >>> trainable_topology((5.0, 1.0, 1.0), (2, 6, 6)).patch_voxels
    (2, 8, 8)
    """
    topology = build_topology(spacing_mm, patch_voxels)
    if topology.n_stages > 1:
        return topology
    axes = [axis for axis, edge in enumerate(patch_voxels) if edge > 1] or [*range(len(patch_voxels))]
    finest = min(spacing_mm[axis] for axis in axes)
    halved = [axis for axis in axes if spacing_mm[axis] / finest < SIMILAR_SPACING]
    # an axis that is halved alone needs 12 voxels, see `_axes_to_halve`
    least = (2 if len(halved) > 1 else 3) * MIN_BOTTLENECK_EDGE
    patch = [max(edge, least) if axis in halved else edge for axis, edge in enumerate(patch_voxels)]
    return build_topology(spacing_mm, patch)


def _axes_to_halve(spacing_mm: Sequence[float], size_voxels: Sequence[float]) -> list[int]:
    """Return the axes that are long enough for another halving and similar in spacing to the finest of them."""
    long_enough = [axis for axis, edge in enumerate(size_voxels) if edge >= 2 * MIN_BOTTLENECK_EDGE]
    if not long_enough:
        return []
    finest = min(spacing_mm[axis] for axis in long_enough)
    similar = [axis for axis in long_enough if spacing_mm[axis] / finest < SIMILAR_SPACING]
    # A stage that halves a single axis must leave more than the minimum to be worth it.
    if len(similar) == 1 and size_voxels[similar[0]] < 3 * MIN_BOTTLENECK_EDGE:
        return []
    return similar


def shrink_patch(
    topology: Topology, spacing_mm: Sequence[float], median_shape_voxels: Sequence[float]
) -> Topology | None:
    """Return the topology of the next smaller patch; None if every axis is down to one voxel.

    It is shorter along the axis that is longest relative to the median image (of equals, the last). The step is the
    divisor that this axis has after a step of its present one, so that no valid size is skipped: from 256, a multiple
    of 64, it leads to 224 (a multiple of 32) and not to 192.

    Source: nnU-Net v2, `default_experiment_planner.py`, `get_plans_for_configuration`.

    Args:
        topology: the present patch.
        spacing_mm: spacing along each axis.
        median_shape_voxels: median shape of the resampled cases.
    """
    patch = list(topology.patch_voxels)
    shrinkable = [axis for axis, edge in enumerate(patch) if edge > 1]
    if not shrinkable:
        return None
    axis = max(shrinkable, key=lambda index: (patch[index] / median_shape_voxels[index], index))
    trial = patch.copy()
    trial[axis] -= topology.divisor[axis]
    patch[axis] -= build_topology(spacing_mm, trial).divisor[axis]
    return build_topology(spacing_mm, patch)
