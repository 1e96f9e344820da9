"""From the facts about a data set to a proposal: spacings, patches, batches, networks, and why.

The decision rules are nnU-Net v2's (Isensee et al., Nature Methods 2021; residual encoders: Isensee et al.
2024, "nnU-Net Revisited"), so that a plan can be held against nnU-Net's number for number. Everything is a
pure function of its arguments. `round` is Python's throughout: halves go to the even neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod

import numpy as np

from medseg.core.wording import counted
from medseg.planning.lowres import LOWRES_BELOW, LOWRES_MIN_GAIN, Grid, lowres_grid
from medseg.planning.memory import Budget, batch_size, budget_for, fit_patch, millions, times
from medseg.planning.topology import build_topology, initial_patch

AXES = "zyx"
ANISOTROPY = 3  # an axis this many times coarser and this many times shorter than the others is treated apart
ANISOTROPIC_PERCENTILE = 10
MASK_BELOW = 0.75  # relative size after the crop below which z-scores look at the nonzero voxels only
ZSCORE = ("zscore", "each image's own mean becomes 0 and its standard deviation 1")
NORMALIZATIONS = {  # scheme and what it does, by channel name in lower case; ZSCORE for every other name
    "ct": (
        "ct",
        "clip to the 0.5-99.5 percentiles of foreground, subtract its mean, divide by its deviation",
    ),
    "nonorm": ("none", "intensities are taken as they are"),
    "rescale_to_0_1": ("rescale_0_1", "each image's own minimum and maximum become 0 and 1"),
    "rgb_to_0_1": ("rgb_0_1", "colour values 0 to 255 are divided by 255"),
}


@dataclass(frozen=True)
class DatasetFacts:
    """What the rules look at. One entry per case in both lists, axes z, y, x; shapes after the nonzero crop.

    `n_cases` may differ from the length of the lists (a sample of the cases). `n_outputs` counts structures,
    background and ignore label (`memory.count_outputs`). `target_spacing_mm` (z, y, x) replaces the rule's.
    """

    spacings_mm: Sequence[Sequence[float]]
    shapes_voxels: Sequence[Sequence[int]]
    n_cases: int
    n_outputs: int
    channel_names: Sequence[str]
    relative_size_after_crop: float = 1.0  # voxels after / before the crop, median over the cases
    target_spacing_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ConfigurationProposal:
    """All vectors are in the proposal's transposed axis order; in '2d' they lack its first axis."""

    spacing_mm: tuple[float, ...]
    patch_voxels: tuple[int, ...]
    batch_size: int
    median_shape_voxels: tuple[float, ...]  # of the resampled images; may hold halves
    normalization: tuple[tuple[str, bool], ...]  # per channel: scheme, whether over nonzero voxels only
    batch_dice: bool
    network: str
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    convs_or_blocks_per_stage: tuple[int, ...]
    convs_per_stage_decoder: tuple[int, ...]
    reasons: dict[str, str] = field(default_factory=dict)  # by field name
    inherits: str | None = None
    previous_stage: str | None = None


@dataclass(frozen=True)
class Proposal:
    """`transpose[i]` is the original axis (0 is z) that comes i-th; reasons by 'transpose' or name."""

    transpose: tuple[int, ...]
    configurations: dict[str, ConfigurationProposal]  # in the order 2d, 3d_lowres, 3d_fullres, 3d_cascade_fullres
    reasons: dict[str, str] = field(default_factory=dict)


def propose(
    facts: DatasetFacts, planner: str = "default", memory_gb: float | None = None, cascade: bool = False
) -> Proposal:
    """Plan the configurations for a data set with nnU-Net v2's rules.

    `planner` is one of `memory.PLANNERS`; `memory_gb` is the GPU memory to plan for (None: the planner's
    own); `cascade` asks for a low resolution and a cascade, also where the rules need none. Raises ValueError
    for an unknown planner, a budget that no patch fits, unusable facts, and a cascade of 2D images.
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
    reasons = {"transpose": f"{AXES[order[0]]} comes first: it {first}"}
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
    """The axis along which every image has one voxel (2D images), the coarsest if several; None in 3D.

    nnU-Net relies on a spacing of 999 there; here 2D images stay 2D whatever spacing their reader gave.
    """
    thin = np.flatnonzero((np.asarray(facts.shapes_voxels) == 1).all(axis=0)).tolist()
    spacing = np.median(np.asarray(facts.spacings_mm, dtype=float), axis=0)
    return max(thin, key=lambda axis: (spacing[axis], -axis), default=None)


def axis_order(spacing_mm: Sequence[float], slice_axis: int | None = None) -> tuple[int, ...]:
    """The axis with the coarsest target spacing (ties: the first one) in front, the others in their order."""
    first = int(np.argmax(spacing_mm)) if slice_axis is None else slice_axis
    return (first, *(axis for axis in range(len(spacing_mm)) if axis != first))


def target_spacing(facts: DatasetFacts) -> tuple[tuple[float, ...], str]:
    """Target spacing in mm, axes z, y, x, and why: the median, except along a coarse and short axis.

    There it is the 10th percentile, though no finer than the other axes: with few thick slices, resampling
    to thicker ones does harm. Source: nnU-Net v2 (Isensee et al. 2021).
    """
    if facts.target_spacing_mm is not None:
        return tuple(float(s) for s in facts.target_spacing_mm), "the target spacing that was asked for"
    spacings = np.asarray(facts.spacings_mm, dtype=float)
    target = np.percentile(spacings, 50, axis=0).tolist()
    sizes = np.percentile(np.asarray(facts.shapes_voxels), 50, axis=0).tolist()
    reason = f"median spacing of {counted(len(spacings), 'case')}"
    worst = int(np.argmax(target))
    finer, shorter = (max(target[:worst] + target[worst + 1 :]), min(sizes[:worst] + sizes[worst + 1 :]))
    coarse = target[worst] > ANISOTROPY * finer and sizes[worst] * ANISOTROPY < shorter
    if not coarse or single_slice_axis(facts) is not None:
        return tuple(target), reason
    chosen = float(np.percentile(spacings[:, worst], ANISOTROPIC_PERCENTILE))
    what = f"the {ANISOTROPIC_PERCENTILE}th percentile"
    if chosen < finer:
        chosen, what = finer + 1e-5, "a spacing just above the other axes'"
    reason += (
        f"; along {AXES[worst]} {what} ({chosen:.4g} mm) because the median ({target[worst]:.4g} mm) is "
        f"over {ANISOTROPY} times the other axes' ({finer:.4g} mm), and the size over {ANISOTROPY} times "
        f"shorter ({sizes[worst]:g} against {shorter:g} voxels)"
    )
    target[worst] = chosen
    return tuple(target), reason


def median_shape(facts: DatasetFacts, spacing_mm: Sequence[float], slice_axis: int | None = None) -> tuple[float, ...]:
    """Median over the cases of the shapes after resampling to `spacing_mm`; axes z, y, x; halves are kept."""
    shapes = [
        [round(own / new * edge) for own, new, edge in zip(spacing, spacing_mm, shape, strict=True)]
        for spacing, shape in zip(facts.spacings_mm, facts.shapes_voxels, strict=True)
    ]
    median = np.median(np.asarray(shapes), axis=0).tolist()
    return tuple(1.0 if axis == slice_axis else max(1.0, edge) for axis, edge in enumerate(median))


def normalization(facts: DatasetFacts) -> tuple[tuple[tuple[str, bool], ...], str]:
    """Per channel the scheme and whether it looks at nonzero voxels only (z-scores after a large crop)."""
    schemes, reasons = [], []
    size = facts.relative_size_after_crop
    for name in facts.channel_names:
        scheme, what = NORMALIZATIONS.get(name.casefold(), ZSCORE)
        nonzero_only = scheme == "zscore" and size < MASK_BELOW
        if nonzero_only:
            what += f", over nonzero voxels only because the crop leaves {size:.0%} of the image"
        schemes.append((scheme, nonzero_only))
        reasons.append(f"channel is named {name}: {what}")
    return tuple(schemes), "; ".join(reasons)


def _plan_3d(
    grid: Grid, facts: DatasetFacts, budget: Budget, cascade: bool
) -> tuple[dict[str, ConfigurationProposal], str]:
    """3d_fullres alone, or with 3d_lowres before it and the cascade of both behind; and why."""
    low, why = lowres_grid(grid, facts.n_cases, budget)
    if low is None:
        dice = "no low resolution is needed beside it, so the Dice loss is taken per sample"
        full = _configure(grid, facts, budget, False, dice)
        if not cascade:
            return {"3d_fullres": full}, why
        low, shown = lowres_grid(grid, facts.n_cases, budget, LOWRES_MIN_GAIN)
        assert low is not None  # it has the least gain
        gain = f"{grid.dataset_voxels / low.dataset_voxels:.3g} times fewer voxels"
        low = replace(low, reason=f"a cascade was asked for: {gain}; the rules need none, as {shown}")
        return _with_cascade(low, full, facts, budget), "planned: a cascade was asked for"
    dice = f"{why}, so little that the Dice loss is taken over the whole batch"
    full = _configure(grid, facts, budget, True, dice)
    return _with_cascade(low, full, facts, budget), f"planned: {why}"


def _with_cascade(
    low: Grid, full: ConfigurationProposal, facts: DatasetFacts, budget: Budget
) -> dict[str, ConfigurationProposal]:
    """3d_fullres with 3d_lowres before it and the cascade of both behind."""
    dice = f"a patch shows at least {LOWRES_BELOW:.0%} of the image, so the Dice loss is taken per sample"
    lowres = _configure(low, facts, budget, False, dice)
    cascade = replace(full, inherits="3d_fullres", previous_stage="3d_lowres")
    return {"3d_lowres": lowres, "3d_fullres": full, "3d_cascade_fullres": cascade}


def _configure(
    grid: Grid, facts: DatasetFacts, budget: Budget, batch_dice: bool, dice_reason: str
) -> ConfigurationProposal:
    spacing, shape, family = grid.spacing_mm, grid.median_voxels, budget.planner
    topology, size = fit_patch(spacing, shape, budget)
    batch, batch_reason = batch_size(topology.patch_voxels, size.elements, grid.dataset_voxels, budget)
    schemes, schemes_reason = normalization(facts)
    largest = build_topology(spacing, initial_patch(spacing, shape)).patch_voxels
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
    """ValueError for facts that nothing can be planned from."""
    n_spacings, n_shapes = len(facts.spacings_mm), len(facts.shapes_voxels)
    if not n_spacings or n_spacings != n_shapes:
        raise ValueError(
            f"Fingerprint has {n_spacings} spacings and {n_shapes} shapes; expected one of each for "
            "every case, and a case at least. Take the data set's fingerprint anew."
        )
    override = [] if facts.target_spacing_mm is None else [facts.target_spacing_mm]
    for values in (*facts.spacings_mm, *facts.shapes_voxels, *override):
        if len(values) != 3 or not all(0 < value < inf for value in values):
            raise ValueError(
                f"Spacing or shape {tuple(values)}; expected three positive numbers (z, y, x). Check that "
                "image's header; a 2D image has one slice."
            )
    if facts.n_cases < 1 or facts.n_outputs < 2 or not facts.channel_names:
        raise ValueError(
            f"{facts.n_cases} cases, {facts.n_outputs} outputs, {len(facts.channel_names)} channels; "
            "expected 1, 2 (background and a structure) and 1 at least. Check the data set's description."
        )
