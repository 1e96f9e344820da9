"""The rules of planning: from facts about a data set to spacings, patches, batches and networks, each with its reason.

The rules are nnU-Net v2's (Isensee et al., Nature Methods 2021; residual encoders: Isensee et al., "nnU-Net Revisited",
MICCAI 2024), so that a plan equals nnU-Net's number for number. Unless a function says otherwise, its source is
`experiment_planning/experiment_planners/default_experiment_planner.py`. Everything is a pure function of its arguments.
Halves are rounded to the even neighbour, as Python's and numpy's `round` do in nnU-Net, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod

import numpy as np

from medseg.core.wording import counted
from medseg.planning.lowres import LOWRES_BELOW, LOWRES_MIN_GAIN, Grid, lowres_grid
from medseg.planning.memory import Budget, batch_size, budget_for, fit_patch, millions, times
from medseg.planning.topology import initial_patch, trainable_topology

_AXES = "zyx"
_ANISOTROPY = 3
"""An axis this many times coarser and this many times shorter than the others is treated apart (`ANISO_THRESHOLD`)."""
_ANISOTROPIC_PERCENTILE = 10
"""Percentile of the spacings that becomes the target along such an axis."""
_MASK_BELOW = 0.75
"""If the crop leaves a smaller share of an image, z-scores are taken over the nonzero voxels only: the rest is air."""
_LITTLE_ABOVE_MM = 1e-5
"""By how much a target spacing exceeds that of the other axes, so that its axis stays the coarsest."""
_ZSCORE = ("zscore", "each image's own mean becomes 0 and its standard deviation 1")
_NORMALIZATIONS = {
    "ct": (
        "ct",
        "clip to the 0.5-99.5 percentiles of foreground, subtract its mean, divide by its deviation",
    ),
    "nonorm": ("none", "intensities are taken as they are"),
    "rescale_to_0_1": ("rescale_0_1", "each image's own minimum and maximum become 0 and 1"),
    "rgb_to_0_1": ("rgb_0_1", "colour values 0 to 255 are divided by 255"),
}
"""Name of a channel in lower case -> scheme and what it does; every other name means `_ZSCORE`.

Source: nnU-Net v2, `preprocessing/normalization/map_channel_name_to_normalization.py`.
"""


@dataclass(frozen=True)
class DatasetFacts:
    """The facts about a data set that the rules depend on.

    Attributes:
        spacings_mm: spacing of each case, axes (z, y, x).
        shapes_voxels: shape of each case after the crop to its nonzero box, axes (z, y, x).
        n_cases: number of cases; may exceed the length of the lists if these are a sample.
        n_outputs: structures, background and ignore label together (`memory.count_outputs`).
        channel_names: name of each channel; it decides how the channel is normalized.
        relative_size_after_crop: share of the voxels that the crop leaves, median over the cases.
        target_spacing_mm: target spacing (z, y, x) that replaces the rule's; None to apply the rule.
    """

    spacings_mm: Sequence[Sequence[float]]
    shapes_voxels: Sequence[Sequence[int]]
    n_cases: int
    n_outputs: int
    channel_names: Sequence[str]
    relative_size_after_crop: float = 1.0
    target_spacing_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ConfigurationProposal:
    """A proposed configuration; all vectors are in the proposal's axis order, and in `2d` they lack its first axis.

    Attributes:
        spacing_mm: spacing of the network's grid.
        patch_voxels: size of the patch.
        batch_size: patches in a training step.
        median_shape_voxels: median shape of the resampled images; may hold halves.
        normalization: for each channel the scheme, and whether it looks at nonzero voxels only.
        batch_dice: whether the Dice loss is taken over the whole batch.
        network: `plain_unet` or `residual_unet`.
        features: features of each stage.
        strides: stride along each axis, for each stage.
        kernels: kernel size along each axis, for each stage.
        convs_or_blocks_per_stage: convolutions (plain) or blocks (residual) of each stage of the encoder.
        convs_per_stage_decoder: convolutions of each stage of the decoder.
        reasons: name of a field above -> why it has its value.
        inherits: in a cascade, the configuration that has the same values.
        previous_stage: in a cascade, the configuration whose prediction is an input of this one.
    """

    spacing_mm: tuple[float, ...]
    patch_voxels: tuple[int, ...]
    batch_size: int
    median_shape_voxels: tuple[float, ...]
    normalization: tuple[tuple[str, bool], ...]
    batch_dice: bool
    network: str
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    convs_or_blocks_per_stage: tuple[int, ...]
    convs_per_stage_decoder: tuple[int, ...]
    reasons: dict[str, str] = field(default_factory=dict)
    inherits: str | None = None
    previous_stage: str | None = None


@dataclass(frozen=True)
class Proposal:
    """All proposed configurations.

    Attributes:
        transpose: the original axes (0 is z) in the order in which the network has them.
        configurations: name -> configuration, in the order 2d, 3d_lowres, 3d_fullres, 3d_cascade_fullres.
        reasons: `transpose`, or name of a configuration -> why it is so, or why it is not planned.
    """

    transpose: tuple[int, ...]
    configurations: dict[str, ConfigurationProposal]
    reasons: dict[str, str] = field(default_factory=dict)


def propose(
    facts: DatasetFacts, planner: str = "default", memory_gb: float | None = None, cascade: bool = False
) -> Proposal:
    """Return the configurations that nnU-Net v2's rules plan for a data set (`plan_experiment`).

    Args:
        facts: the facts about the data set.
        planner: one of `memory.PLANNERS`.
        memory_gb: the GPU memory to plan for, in GB; None for the planner's own.
        cascade: plan a low resolution and a cascade even if the rules need none.

    Raises:
        ValueError: the planner is unknown, no patch fits the memory, the facts are unusable, or a cascade of 2D images
            was asked for.
    """
    budget = budget_for(planner, memory_gb, facts.n_outputs)
    _check(facts)
    slices = single_slice_axis(facts)
    target, reason = target_spacing(facts)
    order = axis_order(target, slices)
    median = median_shape(facts, target, slices)
    spacing, shape = tuple(target[axis] for axis in order), tuple(median[axis] for axis in order)
    grid = Grid(spacing, shape, prod(shape) * facts.n_cases, reason)
    first = f"has the coarsest spacing ({spacing[0]:.4g} mm)" if slices is None else "is one voxel in every image"
    reasons = {"transpose": f"{_AXES[order[0]]} comes first: it {first}"}
    plane = replace(grid, spacing_mm=spacing[1:], median_voxels=shape[1:])
    dice = "a slice shows few of the structures, so the Dice loss is taken over the whole batch"
    configurations = {"2d": _configure(plane, facts, budget, True, dice)}
    if shape[0] == 1 and cascade:
        raise ValueError("A cascade was asked for, and the median image has a single slice; it needs volumes.")
    if shape[0] == 1:
        reasons["3d_fullres"] = "not planned: the median image has a single slice"
    else:
        stages, reasons["3d_lowres"] = _plan_3d(grid, facts, budget, cascade)
        configurations |= stages
    return Proposal(order, configurations, reasons)


def single_slice_axis(facts: DatasetFacts) -> int | None:
    """Return the axis along which every image has one voxel (2D images), of several the coarsest; None in 3D.

    nnU-Net relies on a spacing of 999 along that axis, which its readers of 2D images give; here 2D images are
    recognized whatever their spacing.
    """
    thin = np.flatnonzero((np.asarray(facts.shapes_voxels) == 1).all(axis=0)).tolist()
    spacing = np.median(np.asarray(facts.spacings_mm, dtype=float), axis=0)
    return max(thin, key=lambda axis: (spacing[axis], -axis), default=None)


def axis_order(spacing_mm: Sequence[float], slice_axis: int | None = None) -> tuple[int, ...]:
    """Return the order of the axes for the network: the coarsest first (of equals, the first), the others in order.

    Source: `determine_transpose`.

    Args:
        spacing_mm: target spacing along each axis.
        slice_axis: the axis to put first instead, for 2D images.

    >>> axis_order((1.0, 3.0, 1.0))
    (1, 0, 2)
    """
    first = int(np.argmax(spacing_mm)) if slice_axis is None else slice_axis
    return (first, *(axis for axis in range(len(spacing_mm)) if axis != first))


def target_spacing(facts: DatasetFacts) -> tuple[tuple[float, ...], str]:
    """Return the target spacing: the median of the cases, except along an axis that is much coarser and shorter.

    There it is the 10th percentile, though no finer than along the other axes: for images with few thick slices,
    resampling to the median would make many images even coarser.

    Source: `determine_fullres_target_spacing`.

    Args:
        facts: the facts about the data set.

    Returns:
        Spacing in mm along (z, y, x), and the reason.
    """
    if facts.target_spacing_mm is not None:
        return tuple(float(step) for step in facts.target_spacing_mm), "the target spacing that was asked for"
    spacings = np.asarray(facts.spacings_mm, dtype=float)
    target = np.percentile(spacings, 50, axis=0).tolist()
    sizes = np.percentile(np.asarray(facts.shapes_voxels), 50, axis=0).tolist()
    reason = f"median spacing of {counted(len(spacings), 'case')}"
    worst = int(np.argmax(target))
    # of the other two axes: the coarser spacing and the smaller size
    finer, longer = (max(target[:worst] + target[worst + 1 :]), min(sizes[:worst] + sizes[worst + 1 :]))
    coarse = target[worst] > _ANISOTROPY * finer and sizes[worst] * _ANISOTROPY < longer
    if not coarse or single_slice_axis(facts) is not None:
        return tuple(target), reason
    chosen = float(np.percentile(spacings[:, worst], _ANISOTROPIC_PERCENTILE))
    what = f"the {_ANISOTROPIC_PERCENTILE}th percentile"
    if chosen < finer:
        chosen, what = finer + _LITTLE_ABOVE_MM, "a spacing just above the other axes'"
    reason += (
        f"; along {_AXES[worst]} {what} ({chosen:.4g} mm) because the median ({target[worst]:.4g} mm) is "
        f"over {_ANISOTROPY} times the other axes' ({finer:.4g} mm), and the size over {_ANISOTROPY} times "
        f"shorter ({sizes[worst]:g} against {longer:g} voxels)"
    )
    target[worst] = chosen
    return tuple(target), reason


def median_shape(facts: DatasetFacts, spacing_mm: Sequence[float], slice_axis: int | None = None) -> tuple[float, ...]:
    """Return the median over the cases of their shapes after resampling.

    Args:
        facts: the facts about the data set.
        spacing_mm: the spacing to resample to, axes (z, y, x).
        slice_axis: the axis along which 2D images have one voxel, and keep it.

    Returns:
        Shape along (z, y, x); halves, of an even number of cases, are kept.
    """
    shapes = [
        [round(stored / target * edge) for stored, target, edge in zip(spacing, spacing_mm, shape, strict=True)]
        for spacing, shape in zip(facts.spacings_mm, facts.shapes_voxels, strict=True)
    ]
    median = np.median(np.asarray(shapes), axis=0).tolist()
    return tuple(1.0 if axis == slice_axis else max(1.0, edge) for axis, edge in enumerate(median))


def normalization(facts: DatasetFacts) -> tuple[tuple[tuple[str, bool], ...], str]:
    """Return how each channel is normalized.

    Source: `determine_normalization_scheme_and_whether_mask_is_used_for_norm`.

    Args:
        facts: the facts about the data set.

    Returns:
        For each channel the scheme, and whether it looks at nonzero voxels only; and the reason.
    """
    schemes, reasons = [], []
    size = facts.relative_size_after_crop
    for name in facts.channel_names:
        scheme, what = _NORMALIZATIONS.get(name.casefold(), _ZSCORE)
        nonzero_only = scheme == "zscore" and size < _MASK_BELOW
        if nonzero_only:
            what += f", over nonzero voxels only because the crop leaves {size:.0%} of the image"
        schemes.append((scheme, nonzero_only))
        reasons.append(f"channel is named {name}: {what}")
    return tuple(schemes), "; ".join(reasons)


def _plan_3d(
    grid: Grid, facts: DatasetFacts, budget: Budget, cascade: bool
) -> tuple[dict[str, ConfigurationProposal], str]:
    """Return 3d_fullres alone, or with 3d_lowres and the cascade of both; and why there is or is no low resolution."""
    low, reason = lowres_grid(grid, facts.n_cases, budget)
    if low is None:
        dice = "no low resolution is needed beside it, so the Dice loss is taken per sample"
        full = _configure(grid, facts, budget, False, dice)
        if not cascade:
            return {"3d_fullres": full}, reason
        low, patch_share = lowres_grid(grid, facts.n_cases, budget, LOWRES_MIN_GAIN)
        assert low is not None  # a least gain above 1 always gives a grid
        gain = f"{grid.dataset_voxels / low.dataset_voxels:.3g} times fewer voxels"
        low = replace(low, reason=f"a cascade was asked for: {gain}; the rules need none, as {patch_share}")
        return _with_cascade(low, full, facts, budget), "planned: a cascade was asked for"
    dice = f"{reason}, so little that the Dice loss is taken over the whole batch"
    full = _configure(grid, facts, budget, True, dice)
    return _with_cascade(low, full, facts, budget), f"planned: {reason}"


def _with_cascade(
    low: Grid, full: ConfigurationProposal, facts: DatasetFacts, budget: Budget
) -> dict[str, ConfigurationProposal]:
    """Return 3d_fullres with 3d_lowres before it and the cascade of both after it."""
    dice = f"a patch shows at least {LOWRES_BELOW:.0%} of the image, so the Dice loss is taken per sample"
    lowres = _configure(low, facts, budget, False, dice)
    cascade = replace(full, inherits="3d_fullres", previous_stage="3d_lowres")
    return {"3d_lowres": lowres, "3d_fullres": full, "3d_cascade_fullres": cascade}


def _configure(
    grid: Grid, facts: DatasetFacts, budget: Budget, batch_dice: bool, dice_reason: str
) -> ConfigurationProposal:
    """Return the configuration for a grid (nnU-Net's `get_plans_for_configuration`)."""
    spacing, shape, family = grid.spacing_mm, grid.median_voxels, budget.planner
    topology, size = fit_patch(spacing, shape, budget)
    batch, batch_reason = batch_size(topology.patch_voxels, size.elements, grid.dataset_voxels, budget)
    schemes, schemes_reason = normalization(facts)
    largest = trainable_topology(spacing, initial_patch(spacing, shape)).patch_voxels
    reasons = {
        "spacing_mm": grid.reason,
        "patch_voxels": f"largest patch of the median shape ({times(shape)}) whose estimated "
        f"{millions(size.elements)} feature-map values fit {budget.memory_gb:g} GB; first {times(largest)}",
        "batch_size": batch_reason,
        "median_shape_voxels": f"of {counted(len(facts.shapes_voxels), 'image')} resampled to {times(spacing)} mm",
        "normalization": schemes_reason,
        "batch_dice": dice_reason,
        "network": f"the planner's, for {budget.n_outputs} outputs",
        "features": f"doubled at each of {topology.n_stages} stages, up to {size.features[-1]}",
        **topology.reasons(),
        "convs_or_blocks_per_stage": f"the planner's, for {topology.n_stages} stages",
        "convs_per_stage_decoder": f"the planner's: {family.decoder}",
    }
    return ConfigurationProposal(
        spacing_mm=spacing,
        patch_voxels=topology.patch_voxels,
        batch_size=batch,
        median_shape_voxels=shape,
        normalization=schemes,
        batch_dice=batch_dice,
        network=family.network,
        features=size.features,
        strides=topology.strides,
        kernels=topology.kernels,
        convs_or_blocks_per_stage=size.encoder,
        convs_per_stage_decoder=size.decoder,
        reasons=reasons,
    )


def _check(facts: DatasetFacts) -> None:
    """Refuse facts that nothing can be planned from, with a ValueError."""
    n_spacings, n_shapes = len(facts.spacings_mm), len(facts.shapes_voxels)
    if not n_spacings or n_spacings != n_shapes:
        raise ValueError(
            f"The fingerprint has {n_spacings} spacings and {n_shapes} shapes; expected one of each for "
            "every case, and at least one case. Take the data set's fingerprint again."
        )
    override = [] if facts.target_spacing_mm is None else [facts.target_spacing_mm]
    for values in (*facts.spacings_mm, *facts.shapes_voxels, *override):
        if len(values) != 3 or not all(0 < value < inf for value in values):
            raise ValueError(
                f"A spacing or shape is {tuple(values)}; expected three positive numbers (z, y, x). Check the "
                "header of that image; a 2D image has one slice."
            )
    if facts.n_cases < 1 or facts.n_outputs < 2 or not facts.channel_names:
        raise ValueError(
            f"There are {facts.n_cases} cases, {facts.n_outputs} outputs, {len(facts.channel_names)} channels; "
            "expected at least 1, 2 (background and a structure) and 1. Check the data set's description."
        )
