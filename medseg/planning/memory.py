"""The memory that a U-Net needs on a GPU, in closed form, and the patch and batch that fit a budget.

nnU-Net v2 (Isensee et al., Nature Methods 2021; `default_experiment_planner.py`, `static_estimate_VRAM_usage`) measures
a network not in bytes but by the number of values that its convolutions put out for one sample, and builds the network
to count them. The count is a sum over stages, so no network is built here.

Notation of the formulas: stage s has f_s features and V_s voxels (after its stride), S is the number of stages, K the
number of output channels. Normalization, activation and skip concatenation are not counted, nor are the input channels:
the count compares networks, it does not predict bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from medseg.planning.topology import Topology, initial_patch, shrink_patch, trainable_topology

# Constants of nnU-Net's `ExperimentPlanner`. All tables here are by number of axes (2D, 3D).
BASE_FEATURES = 32
"""Features of the first stage (`UNet_base_num_features`)."""
MAX_FEATURES = {2: 512, 3: 320}
"""Features double from stage to stage up to this number (`UNet_max_features_2d`, `_3d`)."""
REFERENCE_BATCH = {2: 12, 3: 2}
"""The batch size at which `Planner.elements` fill `Planner.memory_gb` (`UNet_reference_val_corresp_bs_2d`, `_3d`)."""
MIN_BATCH = 2
"""Smallest batch, whatever the memory (`UNet_min_batch_size`)."""
_RESIDUAL_BLOCKS = (1, 3, 4, 6)
"""Residual blocks of the first stages, the last repeats (`residual_unets/residual_encoder_unet_planners.py`)."""


@dataclass(frozen=True)
class Planner:
    """A family of networks, and the memory that they are planned for.

    Attributes:
        network: `plain_unet` or `residual_unet`.
        memory_gb: the GPU memory that the figures hold for, in GB.
        elements: number of axes -> feature-map values of one sample that fill this memory at `REFERENCE_BATCH`.
        encoder: convolutions (plain) or blocks (residual) of the first stages; the last number holds for all others.
        decoder: convolutions of each stage of the decoder.
        max_dataset_share: share of the data set's voxels that one batch may hold.
        patch_batch: number of axes -> batch size that must fit beside the patch when its size is chosen.
    """

    network: str
    memory_gb: float
    elements: dict[int, int]
    encoder: tuple[int, ...]
    decoder: int
    max_dataset_share: float
    patch_batch: dict[int, int]


def _residual(memory_gb: float, elements_2d: int, elements_3d: int) -> Planner:
    """Return a planner with a residual encoder, as in nnU-Net's `residual_encoder_unet_planners.py`."""
    elements = {2: elements_2d, 3: elements_3d}
    return Planner("residual_unet", memory_gb, elements, _RESIDUAL_BLOCKS, 1, 1.0, REFERENCE_BATCH)


PLANNERS = {
    "default": Planner("plain_unet", 8, {2: 85_000_000, 3: 560_000_000}, (2,), 2, 0.05, {2: 2, 3: 2}),
    "resenc-m": _residual(8, 135_000_000, 680_000_000),
    "resenc-l": _residual(24, 380_000_000, 2_100_000_000),
    "resenc-xl": _residual(40, 560_000_000, 3_600_000_000),
}


"""Planners by name: nnU-Net's `ExperimentPlanner` (`default`) and `nnUNetPlannerResEncM`, `L` and `XL`.

The figures are nnU-Net's (`UNet_reference_val_2d`, `UNet_reference_val_3d`, `max_dataset_covered`).
"""


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        features: features of each stage.
        encoder: convolutions (plain) or blocks (residual) of each stage of the encoder.
        decoder: convolutions of each stage of the decoder, which has one stage less.
        elements: feature-map values of one sample.
    """

    features: tuple[int, ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    elements: int


@dataclass(frozen=True)
class Budget:
    """The budget that a network has to fit: memory, and room for a batch.

    Attributes:
        planner: the family of networks.
        memory_gb: the GPU memory to plan for, in GB.
        n_outputs: output channels of the network, K in the formulas.
    """

    planner: Planner
    memory_gb: float
    n_outputs: int

    def limit(self, n_axes: int) -> float:
        """Return the feature-map values of one sample that fit at the reference batch; proportional to the memory."""
        return self.planner.elements[n_axes] * (self.memory_gb / self.planner.memory_gb)

    def allows(self, elements: int, n_axes: int) -> bool:
        """Return whether a patch fits, together with the batch that it must leave room for.

        Args:
            elements: feature-map values of one sample.
            n_axes: 2 or 3.
        """
        return elements / (REFERENCE_BATCH[n_axes] / self.planner.patch_batch[n_axes]) <= self.limit(n_axes)

    def size(self, topology: Topology) -> NetworkSize:
        """Return the size of the planner's network on a topology; features double from stage to stage."""
        family, stages = self.planner, range(topology.n_stages)
        features = tuple(min(MAX_FEATURES[len(topology.divisor)], BASE_FEATURES * 2**stage) for stage in stages)
        encoder = tuple(family.encoder[min(stage, len(family.encoder) - 1)] for stage in stages)
        decoder = (family.decoder,) * (topology.n_stages - 1)
        count = plain_unet_elements if family.network == "plain_unet" else residual_unet_elements
        patch, strides = topology.patch_voxels, topology.strides
        elements = count(patch, strides, features, encoder, decoder, self.n_outputs)
        return NetworkSize(features, encoder, decoder, elements)


def budget_for(planner: str, memory_gb: float | None, n_outputs: int) -> Budget:
    """Return the budget of a planner.

    Args:
        planner: name of the planner, one of `PLANNERS`.
        memory_gb: the GPU memory to plan for, in GB; None for the planner's own.
        n_outputs: output channels of the network.

    Raises:
        ValueError: there is no such planner, or the memory is not positive.
    """
    if planner not in PLANNERS:
        raise ValueError(f"Unknown planner {planner!r}. Choose one of: {', '.join(PLANNERS)}.")
    memory = float(PLANNERS[planner].memory_gb if memory_gb is None else memory_gb)
    if not 0 < memory < inf:
        raise ValueError(f"memory_gb is {memory_gb}; expected more than 0. Give the GPU's memory in GB, such as 8.")
    return Budget(PLANNERS[planner], memory, n_outputs)


def count_outputs(n_structures: int, ignore_label: bool = False) -> int:
    """Return the number of output channels as nnU-Net counts it in planning: background and ignore label included.

    Args:
        n_structures: number of structures.
        ignore_label: whether an ignore label is declared. The trained network has no output for it, but nnU-Net plans
            with one.
    """
    return n_structures + 1 + ignore_label


def voxels_per_stage(patch_voxels: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the voxels of the feature maps of each stage, V_s in the formulas.

    Args:
        patch_voxels: size along each axis, a multiple of the product of the strides along that axis.
        strides: stride along each axis, for each stage; the first one is 1 along every axis.

    >>> voxels_per_stage((64, 64), [(1, 1), (2, 2), (2, 1)])
    (4096, 1024, 512)
    """
    size = list(patch_voxels)
    counts = []
    for stride in strides:
        size = [edge // step for edge, step in zip(size, stride, strict=True)]
        counts.append(prod(size))
    return tuple(counts)


def plain_unet_elements(
    patch_voxels: Sequence[int],
    strides: Sequence[Sequence[int]],
    features: Sequence[int],
    convs_per_stage: Sequence[int],
    convs_per_stage_decoder: Sequence[int],
    n_outputs: int,
) -> int:
    """Return the feature-map values of one sample in a plain convolutional U-Net.

        sum over s of c_s f_s V_s  +  sum over s < S-1 of (d_s + 1) f_s V_s  +  K V_0

    where c_s and d_s are the convolutions of the encoder's and of the decoder's stage s, and the + 1 is the transposed
    convolution that leads up to stage s. The heads of deep supervision are not counted, as in nnU-Net's plans.

    Source: `compute_conv_feature_map_size` of `PlainConvUNet` in dynamic-network-architectures, the package of nnU-Net
    v2's networks.

    Args:
        patch_voxels: size of the patch along each axis.
        strides: stride along each axis, for each stage.
        features: f_s.
        convs_per_stage: c_s.
        convs_per_stage_decoder: d_s, one less than there are stages.
        n_outputs: K.
    """
    voxels = voxels_per_stage(patch_voxels, strides)
    encoder = sum(c * f * v for c, f, v in zip(convs_per_stage, features, voxels, strict=True))
    return encoder + _decoder_elements(voxels, features, convs_per_stage_decoder, n_outputs)


def residual_unet_elements(
    patch_voxels: Sequence[int],
    strides: Sequence[Sequence[int]],
    features: Sequence[int],
    blocks_per_stage: Sequence[int],
    convs_per_stage_decoder: Sequence[int],
    n_outputs: int,
) -> int:
    """Return the feature-map values of one sample in a U-Net with a residual encoder.

        f_0 V_0  +  sum over s of 2 b_s f_s V_s  +  sum over s > 0 of f_s V_s  +  decoder and head

    that is: one convolution as the stem, b_s residual blocks of two convolutions, and in every stage but the first one
    projection, for the skip of its first block. Decoder and head are those of the plain U-Net.

    Source: `compute_conv_feature_map_size` of `ResidualEncoderUNet` in dynamic-network-architectures; the network is
    that of Isensee et al., "nnU-Net Revisited", MICCAI 2024.

    Args:
        patch_voxels: size of the patch along each axis.
        strides: stride along each axis, for each stage.
        features: f_s.
        blocks_per_stage: b_s.
        convs_per_stage_decoder: convolutions of each stage of the decoder, one less than there are stages.
        n_outputs: K.
    """
    voxels = voxels_per_stage(patch_voxels, strides)
    maps = [f * v for f, v in zip(features, voxels, strict=True)]
    encoder = maps[0] + sum(2 * b * m for b, m in zip(blocks_per_stage, maps, strict=True)) + sum(maps[1:])
    return encoder + _decoder_elements(voxels, features, convs_per_stage_decoder, n_outputs)


def _decoder_elements(
    voxels: Sequence[int],
    features: Sequence[int],
    convs: Sequence[int],
    n_outputs: int,
) -> int:
    """Return the values of convolutions, transposed convolutions and the head; without a decoder there is no head."""
    ups = sum((d + 1) * f * v for d, f, v in zip(convs, features[:-1], voxels[:-1], strict=True))
    return ups + (n_outputs * voxels[0] if len(voxels) > 1 else 0)


def fit_patch(
    spacing_mm: Sequence[float], median_shape_voxels: Sequence[float], budget: Budget
) -> tuple[Topology, NetworkSize]:
    """Return the largest patch whose network fits a budget: the initial one, shrunk step by step.

    Source: nnU-Net v2, `default_experiment_planner.py`, `get_plans_for_configuration`.

    Args:
        spacing_mm: spacing of the network's grid, along each axis.
        median_shape_voxels: median shape of the cases on that grid; may hold halves.
        budget: what the network has to fit.

    Returns:
        The topology with the patch, and the size of its network.

    Raises:
        ValueError: not even the smallest patch fits.
    """
    topology = trainable_topology(spacing_mm, initial_patch(spacing_mm, median_shape_voxels))
    refused = set()
    while not budget.allows((size := budget.size(topology)).elements, len(spacing_mm)):
        refused.add(topology)
        smaller = shrink_patch(topology, spacing_mm, median_shape_voxels)
        if smaller is None or smaller in refused:  # padding could lead back to a patch that was refused
            raise ValueError(
                f"memory_gb is {budget.memory_gb:g}, too little even for the smallest patch: "
                f"{times(topology.patch_voxels)} voxels need {size.elements} feature-map values. "
                f"Raise memory_gb; the default of this planner is {budget.planner.memory_gb:g}."
            )
        topology = smaller
    return topology, size


def batch_size(patch_voxels: Sequence[int], elements: int, dataset_voxels: float, budget: Budget) -> tuple[int, str]:
    """Return as many samples as fit the memory, but no more than a share of the data set, and at least 2.

    Source: nnU-Net v2, `default_experiment_planner.py`, `get_plans_for_configuration`.

    Args:
        patch_voxels: size of the patch along each axis.
        elements: feature-map values of one sample.
        dataset_voxels: voxels of all resampled cases together.
        budget: what the batch has to fit.

    Returns:
        The batch size and the reason for it.
    """
    n_axes, share = len(patch_voxels), budget.planner.max_dataset_share
    # rounded to the nearest, as in nnU-Net: the figures hold for the reference batch, and are no hard limit
    fitting = round(budget.limit(n_axes) / elements * REFERENCE_BATCH[n_axes])
    cap = round(dataset_voxels * share / prod(patch_voxels))
    reason = f"{budget.memory_gb:g} GB hold {fitting} patches of {millions(elements)} feature-map values"
    if cap < fitting:
        reason += f"; a batch may hold {share:.0%} of the data set's voxels: {cap} patches"
    if min(fitting, cap) < MIN_BATCH:
        reason += f"; never less than {MIN_BATCH}"
    return max(min(fitting, cap), MIN_BATCH), reason


def times(numbers: Sequence[float]) -> str:
    """Return numbers as a product for reasons and messages.

    >>> times((20, 237.5))
    '20 x 237.5'
    """
    return " x ".join(f"{number:g}" for number in numbers)


def millions(count: float) -> str:
    """Return a large count in millions, for reasons.

    >>> millions(558319104)
    '558 M'
    """
    return f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.2g} M"
