"""Rules on the patch of each network, in pure Python, so that a plan is checked without torch when it is read.

`schema` asks `patch_rule`. A network has its rule here, in `PATCH_RULES`, by the name that it has in
`medseg.networks.table`. Those without one must be given multiples of the product of the strides in the plan, if the
plan has strides for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log2, prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.plans.schema import Configuration, Network

CLASS_NAMES = {
    "AttentionUnet": "attention_unet",
    "BasicUNet": "basic_unet",
    "BasicUNetPlusPlus": "basic_unet_plus_plus",
    "DynUNet": "dynunet",
    "FlexibleUNet": "flexible_unet",
    "HighResNet": "highresnet",
    "MedNeXt": "mednext",
    "MedNeXtS": "mednext_small",
    "MedNeXtB": "mednext_base",
    "MedNeXtM": "mednext_medium",
    "MedNeXtL": "mednext_large",
    "SegResNet": "segresnet",
    "SegResNetDS": "segresnet_ds",
    "SwinUNETR": "swin_unetr",
    "UNETR": "unetr",
    "UNet": "unet",
    "VNet": "vnet",
}
"""Name of a class of MONAI -> name of the network in the table; a plan may have either, and is read as the latter."""

UNETS = {"plain_unet": False, "residual_unet": True}
"""Name of each of medseg's own U-Nets -> whether its encoder is residual."""

UPSAMPLING_ARGUMENTS = {
    "basic_unet": "upsample",
    "basic_unet_plus_plus": "upsample",
    "flexible_unet": "upsample",
    "segresnet": "upsample_mode",
    "segresnet_ds": "upsample_mode",
}
"""Name of each of MONAI's networks that can come to a finer grid in several ways -> the argument that says how."""

ENCODER_CLASSES = {
    "Unet": "smp_unet",
    "UnetPlusPlus": "smp_unetplusplus",
    "FPN": "fpn",
    "PSPNet": "pspnet",
    "DeepLabV3": "deeplabv3",
    "DeepLabV3Plus": "deeplabv3plus",
    "Linknet": "linknet",
    "MAnet": "manet",
    "UPerNet": "upernet",
    "PAN": "pan",
    "Segformer": "segformer",
}
"""The same for the classes of segmentation-models-pytorch, whose networks have an encoder by name."""
ONLY_2D = ("cenet", *ENCODER_CLASSES.values())
"""Networks that take no volumes."""
DEFAULT_ENCODER = "mobilenet_v2"
"""Encoder of these networks where the plan names none."""

_MEANS_OF_PATCHES = ("deeplabv3", "deeplabv3plus", "pan", "upernet")
"""Networks that normalize the mean of each patch over the batch."""

_HALF_SCALED = ("efficientnet_lite", "inception", "xception")
"""Parts of the names of encoders that were trained with colours from -1 to 1 (`timm.get_pretrained_cfg`)."""


def colour_schemes(encoder: str) -> list[str]:
    """Return the normalization of red, green and blue that an encoder was trained with.

    >>> colour_schemes("mobilenet_v2"), colour_schemes("timm-tf_efficientnet_lite0")[0]
    (['imagenet_red', 'imagenet_green', 'imagenet_blue'], 'rgb_minus1_1')
    """
    if any(part in encoder for part in _HALF_SCALED):
        return ["rgb_minus1_1"] * 3
    return ["imagenet_red", "imagenet_green", "imagenet_blue"]


@dataclass(frozen=True)
class PatchRule:
    """A rule on the sizes of a patch.

    Attributes:
        multiple: each axis must be a multiple of this.
        coarsest: how many voxels of the patch one voxel of the network's coarsest level spans, along each axis.
        least_voxels: the coarsest level must have at least this many voxels: 2 where it is normalized over voxels,
            since a single one has no deviation.
    """

    multiple: Sequence[int]
    coarsest: Sequence[int]
    least_voxels: int = 1

    def nearest(self, patch_voxels: Sequence[int]) -> list[int]:
        """Return the nearest valid patch; the patch itself if it is valid.

        >>> PatchRule([16, 16], [16, 16]).nearest([100, 5]), PatchRule([1, 1], [16, 16], 2).nearest([17, 9])
        ([96, 16], [17, 32])
        """
        nearest = [
            max(-(-coarse // step) * step, round(size / step) * step)
            for size, step, coarse in zip(patch_voxels, self.multiple, self.coarsest, strict=True)
        ]
        if prod(size // coarse for size, coarse in zip(nearest, self.coarsest, strict=True)) < self.least_voxels:
            nearest[-1] = self.least_voxels * self.coarsest[-1]
        return nearest

    @property
    def words(self) -> str:
        """The rule in words."""
        parts = [] if max(self.multiple) == 1 else [f"multiples of {list(self.multiple)}"]
        if max(self.coarsest) > 1 and (self.least_voxels > 1 or list(self.coarsest) != list(self.multiple)):
            parts.append(
                f"at least {list(self.coarsest)}" + (", and more on one axis" if self.least_voxels > 1 else "")
            )
        return " and ".join(parts)


def patch_rule(configuration: Configuration) -> PatchRule:
    """Return the rule that the network of a configuration sets for its patch."""
    network, dimensions = configuration.network, configuration.dimensions
    rule = PATCH_RULES.get(network.name)
    if rule is not None:
        return rule(configuration)
    divisor = network.divisor or [1] * dimensions  # networks without strides take any patch
    return PatchRule(divisor, [1] * dimensions)


def halving(times: int, least_voxels: int = 1) -> Callable[[Configuration], PatchRule]:
    """Return the rule of a network that halves every axis a given number of times.

    Args:
        times: how often.
        least_voxels: of the coarsest level, as in `PatchRule`.
    """

    def rule(configuration: Configuration) -> PatchRule:
        steps = [2**times] * configuration.dimensions
        return PatchRule(steps, steps, least_voxels)

    return rule


def _padded_halving(times: int) -> Callable[[Configuration], PatchRule]:
    """Return the rule of a network that halves every axis, rounding down, and pads on its way up."""

    def rule(configuration: Configuration) -> PatchRule:
        dimensions = configuration.dimensions
        return PatchRule([1] * dimensions, [2**times] * dimensions, 2)

    return rule


def _by_strides(configuration: Configuration) -> PatchRule:
    """Return the rule of a network with the strides of its arguments, else those of the plan's stages."""
    dimensions = configuration.dimensions
    strides = configuration.network.arguments.get("strides", configuration.network.strides)
    rows = [[step] * dimensions if isinstance(step, int) else step for step in _list(strides)]
    if not all(_are_sizes(row, dimensions) for row in rows):  # whoever builds the network says what is wrong with them
        rows = []
    divisor = [prod(axis) for axis in zip(*rows, strict=True)] or [1] * dimensions
    return PatchRule(divisor, divisor, 2 if rows else 1)


def _by_blocks(default_stages: int, also_below: int) -> Callable[[Configuration], PatchRule]:
    """Return the rule of a network that halves every axis between the stages of its argument `blocks_down`.

    Args:
        default_stages: stages if the plan has no such argument.
        also_below: 1 if it halves once more below the last of them, else 0.
    """

    def rule(configuration: Configuration) -> PatchRule:
        blocks = configuration.network.arguments.get("blocks_down")
        stages = len(_list(blocks)) or default_stages
        return halving(min(stages - 1 + also_below, 30))(configuration)

    return rule


def _segresnet_ds(configuration: Configuration) -> PatchRule:
    """Return the rule of SegResNetDS: its strides follow from the spacing (`scales_for_resolution`)."""
    dimensions = configuration.dimensions
    stages = len(_list(configuration.network.arguments.get("blocks_down"))) or 4
    resolution = configuration.network.arguments.get("resolution", configuration.spacing_mm)
    scales = anisotropic_scales(_list(resolution), stages) or [[2] * dimensions] * stages
    divisor = [prod(axis) for axis in zip(*scales[:-1], strict=True)] or [1] * dimensions
    return (
        PatchRule(divisor, divisor, 2) if len(divisor) == dimensions else PatchRule([1] * dimensions, [1] * dimensions)
    )


def anisotropic_scales(spacing_mm: Sequence[Any], stages: int) -> list[list[int]]:
    """Return by how much SegResNetDS divides each axis after each stage: the coarsest axes wait for the others.

    The rule of MONAI's `scales_for_resolution` (monai/networks/nets/segresnet_ds.py).

    Args:
        spacing_mm: along each axis; empty for the same along all, which has no such scales.
        stages: of the encoder.

    >>> anisotropic_scales([5.0, 1.0, 1.0], 4)
    [[1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    """
    if not spacing_mm or not all(isinstance(size, (int, float)) and size > 0 for size in spacing_mm):
        return []
    levels = [floor(log2(max(spacing_mm) / size)) for size in spacing_mm]
    last = max(levels)
    waits = [[1 if 2**number >= 2**level else 2 for level in levels] for number in range(last)]
    return (waits + [[2] * len(spacing_mm)] * max(0, stages - last))[:stages]


def _by_encoder(
    default_depth: int = 5, default_stride: int | None = None, pooled: int = 0
) -> Callable[[Configuration], PatchRule]:
    """Return the rule of a network on an encoder, which halves every axis as often as its argument says.

    Args:
        default_depth: how often if the plan does not say.
        default_stride: how much coarser than the image the encoder's coarsest level is if the plan does not say; None
            if that follows from the depth alone.
        pooled: how often the decoder halves that level once more, rounding down.
    """

    def rule(configuration: Configuration) -> PatchRule:
        arguments = configuration.network.arguments
        depth = arguments.get("encoder_depth", default_depth)
        stride = 2**depth if isinstance(depth, int) and 0 < depth < 10 else 2**default_depth
        if default_stride is not None:
            wanted = arguments.get("encoder_output_stride", default_stride)
            stride = min(stride, wanted) if isinstance(wanted, int) and wanted > 0 else stride
        # batch normalization needs two values: of two patches, or of two pixels of one
        least_voxels = 2 if configuration.batch_size == 1 else 1
        steps = [stride] * configuration.dimensions
        return PatchRule(steps, [step * 2**pooled for step in steps], least_voxels)

    return rule


def encoder_problem(network: Network, batch_size: int) -> str | None:
    """Return what is wrong with a network's encoder, weights or batch, or None.

    Args:
        network: the plan's section.
        batch_size: patches in a training step.
    """
    if network.name not in ENCODER_CLASSES.values():
        keys = [key for key in ("encoder", "weights") if getattr(network, key) is not None]
        if keys:
            return (
                f"network.{keys[0]} is {getattr(network, keys[0])!r}, and {network.name} has no encoder by name; "
                f"delete it, or choose a network of {', '.join(ENCODER_CLASSES.values())}"
            )
        return None
    if network.name in _MEANS_OF_PATCHES and batch_size == 1:
        return f"batch_size is 1; {network.name} normalizes the mean of each patch over the batch and needs 2 or more"
    return None


def upsampling_problem(network: Network) -> str | None:
    """Return what is wrong with the choice of how a network comes to a finer grid, or None.

    Args:
        network: the plan's section.
    """
    if network.upsampling is None or network.name in UNETS:
        return None
    argument = UPSAMPLING_ARGUMENTS.get(network.name)
    if argument is None:
        return (
            f"upsampling is {network.upsampling!r}, and {network.name} has no choice of it; delete it, or choose one "
            f"of {', '.join((*UNETS, *UPSAMPLING_ARGUMENTS))}"
        )
    if argument in network.arguments:
        return (
            f"upsampling is {network.upsampling!r}, and arguments has {argument} {network.arguments[argument]!r}, "
            "which means the same; delete one of them"
        )
    return None


def pruning_problem(network: Network, deep_supervision: Any) -> str | None:
    """Return what is wrong with the pruning of a network at prediction, or None.

    Args:
        network: one with the argument `prune` predicts with an answer that only deep supervision trains.
        deep_supervision: the plan's `training.deep_supervision`.
    """
    prune = network.arguments.get("prune", 4)
    if network.name != "basic_unet_plus_plus" or prune == 4 or deep_supervision is True:
        return None
    by_level = getattr(deep_supervision, "by_level", [])  # its answers are those of the depths 4, 3, 2, 1
    if isinstance(prune, int) and 0 <= 4 - prune < len(by_level) and by_level[4 - prune] > 0:
        return None
    return (
        f"network: prune in its arguments is {prune!r}, which predicts with an answer that only "
        "training.deep_supervision trains; set that to true, or delete prune"
    )


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []


def _are_sizes(row: Any, dimensions: int) -> bool:
    return isinstance(row, list | tuple) and len(row) == dimensions and all(isinstance(v, int) and v > 0 for v in row)


PATCH_RULES: dict[str, Callable[[Configuration], PatchRule]] = {
    "attention_unet": _by_strides,
    "basic_unet": _padded_halving(4),
    "basic_unet_plus_plus": _padded_halving(4),
    "cenet": halving(5, 2),
    "deeplabv3": _by_encoder(default_stride=8),
    "deeplabv3plus": _by_encoder(default_stride=16),
    "dynunet": _by_strides,
    "erfnet": halving(3, 2),
    "flexible_unet": _by_encoder(),
    "fpn": _by_encoder(),
    "highresnet": halving(0),
    "linknet": _by_encoder(),
    "manet": _by_encoder(),
    "mednext": _by_blocks(4, 1),
    "mednext_small": halving(4),
    "mednext_base": halving(4),
    "mednext_medium": halving(4),
    "mednext_large": halving(4),
    "pan": _by_encoder(default_stride=16, pooled=3),
    "pspnet": _by_encoder(default_depth=3),
    "segnet": halving(5),
    "segformer": _by_encoder(),
    "segresnet": _by_blocks(4, 0),
    "segresnet_ds": _segresnet_ds,
    "smp_unet": _by_encoder(),
    "smp_unetplusplus": _by_encoder(),
    "swin_unetr": halving(5, 2),
    "unetr": halving(4),
    "unet": _by_strides,
    "upernet": _by_encoder(),
    "vnet": halving(4, 2),
}
"""Name of a network -> its rule; those of medseg's own U-Nets follow from their strides alone."""
