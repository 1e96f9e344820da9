"""How much GPU memory a U-Net needs, in closed form, and the patch and batch that fit a budget.

nnU-Net v2 (Isensee et al., Nature Methods 2021) measures a network not in bytes but by the number of values
that its convolutions put out for one sample, and builds the network to count them. The count is a sum over
stages, so no network is built here.

Notation of the formulas: stage s has f_s features and V_s voxels (after its stride), S is the number of
stages, K the number of output channels. Normalization, activation and skip concatenation are not counted,
nor are the input channels: this is a yardstick to compare networks by, not a forecast in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from medseg.planning.topology import Topology, build_topology, initial_patch, shrink_patch

BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}  # by number of axes, as are all such tables here
REFERENCE_BATCH = {2: 12, 3: 2}  # the batch at which `Planner.elements` fill `Planner.memory_gb`
MIN_BATCH = 2
_RESIDUAL_BLOCKS = (1, 3, 4, 6)


@dataclass(frozen=True)
class Planner:
    """A family of networks; `elements` values per sample fill `memory_gb` at the `REFERENCE_BATCH`."""

    network: str  # 'plain_unet' or 'residual_unet'
    memory_gb: float
    elements: dict[int, int]
    encoder: tuple[int, ...]  # convolutions (plain) or blocks (residual) of the first stages; the last repeats
    decoder: int  # convolutions per stage
    max_dataset_share: float  # of the data set's voxels that one batch may hold
    patch_batch: dict[int, int]  # the batch that a patch must leave room for


def _residual(memory_gb: float, elements_2d: int, elements_3d: int) -> Planner:
    elements = {2: elements_2d, 3: elements_3d}
    return Planner("residual_unet", memory_gb, elements, _RESIDUAL_BLOCKS, 1, 1.0, REFERENCE_BATCH)


PLANNERS = {
    "default": Planner("plain_unet", 8, {2: 85_000_000, 3: 560_000_000}, (2,), 2, 0.05, {2: 2, 3: 2}),
    "resenc-m": _residual(8, 135_000_000, 680_000_000),
    "resenc-l": _residual(24, 380_000_000, 2_100_000_000),
    "resenc-xl": _residual(40, 560_000_000, 3_600_000_000),
}


@dataclass(frozen=True)
class NetworkSize:
    """Features, convolutions or blocks per stage, and the feature-map values per sample that they make."""

    features: tuple[int, ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    elements: int


@dataclass(frozen=True)
class Budget:
    """A planner, the GPU memory to plan for in GB, and K."""

    planner: Planner
    memory_gb: float
    n_outputs: int

    def limit(self, n_axes: int) -> float:
        """Feature-map values per sample that fit at the reference batch; linear in the memory."""
        return self.planner.elements[n_axes] * (self.memory_gb / self.planner.memory_gb)

    def allows(self, elements: int, n_axes: int) -> bool:
        """Whether the batch that a patch must leave room for fits, with so many values per sample."""
        return elements / (REFERENCE_BATCH[n_axes] / self.planner.patch_batch[n_axes]) <= self.limit(n_axes)

    def size(self, topology: Topology) -> NetworkSize:
        """The family's network on that topology: features double from stage to stage up to a maximum."""
        family, stages = self.planner, range(topology.n_stages)
        features = tuple(min(MAX_FEATURES[len(topology.divisor)], BASE_FEATURES * 2**stage) for stage in stages)
        encoder = tuple(family.encoder[min(stage, len(family.encoder) - 1)] for stage in stages)
        decoder = (family.decoder,) * (topology.n_stages - 1)
        count = plain_unet_elements if family.network == "plain_unet" else residual_unet_elements
        patch, strides = topology.patch_voxels, topology.strides
        elements = count(patch, strides, features, encoder, decoder, self.n_outputs)
        return NetworkSize(features, encoder, decoder, elements)


def budget_for(planner: str, memory_gb: float | None, n_outputs: int) -> Budget:
    """The budget of a planner by its name; None is its own memory. ValueError for a wrong name or memory."""
    if planner not in PLANNERS:
        raise ValueError(f"Unknown planner {planner!r}. Choose one of: {', '.join(PLANNERS)}.")
    memory = float(PLANNERS[planner].memory_gb if memory_gb is None else memory_gb)
    if not 0 < memory < inf:
        raise ValueError(f"memory_gb is {memory_gb}; expected more than 0. Give the GPU's memory in GB, say 8.")
    return Budget(PLANNERS[planner], memory, n_outputs)


def count_outputs(n_structures: int, ignore_label: bool = False) -> int:
    """K as nnU-Net counts it when it plans: every declared label, background and ignore label included."""
    return n_structures + 1 + ignore_label


def voxels_per_stage(patch_voxels: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Voxels V_s of the feature maps of each stage.

    `patch_voxels` (one size per axis) is a multiple of the product of the strides along every axis, as
    `topology.build_topology` returns it; the first stride is 1 everywhere.
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
    """Feature-map values of one sample in a plain convolutional U-Net.

        sum over s of c_s f_s V_s  +  sum over s < S-1 of (d_s + 1) f_s V_s  +  K V_0

    with c_s and d_s the convolutions of the encoder's and of the decoder's stage; the + 1 is the transposed
    convolution that leads up to stage s. The heads of deep supervision are not counted, as in nnU-Net's plans.

    Source: nnU-Net v2 (Isensee et al. 2021) and `compute_conv_feature_map_size` in the package of its
    networks, dynamic-network-architectures.
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
    """Feature-map values of one sample in a U-Net with a residual encoder.

        f_0 V_0  +  sum over s of 2 b_s f_s V_s  +  sum over s > 0 of f_s V_s  +  decoder and head

    that is: one convolution as the stem, b_s residual blocks of two convolutions, and in every stage but the
    first one projection, the skip of its first block. Decoder and head are those of the plain U-Net.

    Source: nnU-Net v2's residual encoder (Isensee et al. 2024, "nnU-Net Revisited"), counted as the package
    of its networks does (dynamic-network-architectures, `compute_conv_feature_map_size`).
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
    """Convolutions, transposed convolutions and the head; with one stage there is no decoder, hence no head."""
    ups = sum((d + 1) * f * v for d, f, v in zip(convs, features[:-1], voxels[:-1], strict=True))
    return ups + (n_outputs * voxels[0] if len(voxels) > 1 else 0)


def fit_patch(
    spacing_mm: Sequence[float], median_shape_voxels: Sequence[float], budget: Budget
) -> tuple[Topology, NetworkSize]:
    """The initial patch, shrunk step by step until the network on it fits the budget.

    Source: nnU-Net v2 (Isensee et al. 2021). Raises ValueError when not even the smallest patch fits.
    """
    topology = build_topology(spacing_mm, initial_patch(spacing_mm, median_shape_voxels))
    seen = set()
    while not budget.allows((size := budget.size(topology)).elements, len(spacing_mm)):
        seen.add(topology)
        smaller = shrink_patch(topology, spacing_mm, median_shape_voxels)
        if smaller is None or smaller in seen:  # padding could lead back to a patch that was refused
            raise ValueError(
                f"memory_gb is {budget.memory_gb:g}, which no patch fits: one of "
                f"{times(topology.patch_voxels)} voxels needs {size.elements} feature-map values. "
                f"Raise memory_gb; {budget.planner.memory_gb:g} is this planner's own."
            )
        topology = smaller
    return topology, size


def batch_size(patch_voxels: Sequence[int], elements: int, dataset_voxels: float, budget: Budget) -> tuple[int, str]:
    """As many samples as fit the memory, but no more than a share of the data set, and at least 2; and why.

    `elements` are the feature-map values per sample, `dataset_voxels` those of all resampled cases together.
    Source: nnU-Net v2 (Isensee et al. 2021).
    """
    n_axes, share = len(patch_voxels), budget.planner.max_dataset_share
    fitting = round(budget.limit(n_axes) / elements * REFERENCE_BATCH[n_axes])
    cap = round(dataset_voxels * share / prod(patch_voxels))
    reason = f"{budget.memory_gb:g} GB hold {fitting} patches of {millions(elements)} feature-map values"
    if cap < fitting:
        reason += f"; a batch may hold {share:.0%} of the data set's voxels: {cap} patches"
    if min(fitting, cap) < MIN_BATCH:
        reason += f"; never less than {MIN_BATCH}"
    return max(min(fitting, cap), MIN_BATCH), reason


def times(numbers: Sequence[float]) -> str:
    """(20, 237.5) as '20 x 237.5', for reasons and messages."""
    return " x ".join(f"{number:g}" for number in numbers)


def millions(count: float) -> str:
    """558319104 as '558 M', for reasons."""
    return f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.2g} M"
