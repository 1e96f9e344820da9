"""MONAI's networks (docs.monai.io/en/stable/networks.html) as rows of the table.

Each takes from the plan what it can: channels, stages, strides, kernels, patch and spacing. `network.arguments` has the
last word. Networks that can be supervised deeply are evaluated here, part by part, so that they answer as many
resolutions as they are asked for, in training and in prediction; the parameters lie in MONAI's own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import gcd, prod
from typing import Any

import torch
from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.row import NetworkRow, arguments_of
from medseg.plans.network_rules import anisotropic_scales
from medseg.plans.schema import Configuration

Fill = Callable[[Configuration, dict[str, Any]], dict[str, Any]]
"""(configuration, the plan's arguments) -> the arguments that the configuration fills."""

_SIZES = ("spatial_dims", "in_channels", "out_channels", "img_size")
"""Arguments that always follow from the plan: others would not fit its images or labels."""
_DOWNLOADS = ("pretrained", "progress")
"""Arguments that fetch weights from the internet, which medseg never does by itself."""
_PRUNE = "prune"
"""The argument of `basic_unet_plus_plus` that is medseg's own."""


# ---- what the plan fills


def _stages(configuration: Configuration) -> tuple[list[int], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return features, strides and kernels of the plan's stages; of nnU-Net's kind if the plan has none.

    Raises:
        PlanError: the plan has none, and the patch cannot be halved.
    """
    network, dimensions = configuration.network, configuration.dimensions
    if network.features and network.strides and network.kernels:
        return network.features, [tuple(row) for row in network.strides], [tuple(row) for row in network.kernels]
    sizes, strides = list(configuration.patch_voxels), [(1,) * dimensions]
    while len(strides) < 5:
        step = tuple(2 if size % 2 == 0 and size >= 8 else 1 for size in sizes)
        if prod(step) == 1:
            break
        strides.append(step)
        sizes = [size // factor for size, factor in zip(sizes, step, strict=True)]
    if len(strides) < 3:
        raise PlanError(
            f"{network.name} needs stages, and the patch {configuration.patch_voxels} cannot be halved twice.",
            "Write network.features, network.strides and network.kernels, or choose a patch of multiples of 16.",
        )
    return [32 * 2**level for level in range(len(strides))], strides, [(3,) * dimensions] * len(strides)


def _width(configuration: Configuration, default: int) -> int:
    """Return the features of the plan's first stage."""
    return configuration.network.features[0] if configuration.network.features else default


def _encoder_decoder(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    features, strides, _ = _stages(configuration)
    channels, steps = arguments.get("channels", features), arguments.get("strides", strides[1:])
    if len(channels) != len(steps) + 1:
        raise PlanError(
            f"network.arguments do not fit {configuration.network.name}: channels has {len(channels)} entries and "
            f"strides {len(steps)}; expected one stride less than channels.",
            f"network.arguments is {arguments}; what it leaves out comes from network.features and network.strides.",
        )
    return {"channels": channels, "strides": steps}


def _dynunet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    features, strides, kernels = _stages(configuration)
    strides = arguments.get("strides", strides)
    supervised = len(strides) - 2  # the coarsest decoder level is not, as in nnU-Net
    return {
        "filters": features,
        "strides": strides,
        "kernel_size": kernels,
        "upsample_kernel_size": strides[1:],
        "deep_supervision": supervised > 1,
        "deep_supr_num": max(1, supervised - 1),
    }


def _basic_unet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    width = _width(configuration, 32)
    return {"features": [width, width, 2 * width, 4 * width, 8 * width, width]}


def _basic_unet_plus_plus(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return _basic_unet(configuration, arguments) | {"deep_supervision": True}


def _segresnet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    width = arguments.get("init_filters", _width(configuration, 8))
    groups = gcd(8, width) if isinstance(width, int) else 8  # MONAI's 8 groups, or as many as divide the width
    return {"init_filters": width, "norm": ("GROUP", {"num_groups": groups})}


def _segresnet_ds(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    blocks = arguments.get("blocks_down", (1, 2, 2, 4))
    return {
        "init_filters": _width(configuration, 32),
        "blocks_down": blocks,
        "dsdepth": max(1, len(blocks) - 1),
        "resolution": tuple(configuration.spacing_mm),
    }


def _swin_unetr(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"feature_size": max(12, _width(configuration, 24) // 12 * 12)}  # must be a multiple of 12


def _unetr(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"feature_size": _width(configuration, 16)}


def _vnet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"dropout_dim": configuration.dimensions}


def _mednext(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"init_filters": _width(configuration, 32), "deep_supervision": True}


def _flexible_unet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"backbone": "efficientnet-b0"}


def _nothing(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    return {}


# ---- deep supervision


class _Supervised(nn.Module):
    """A network of MONAI's, evaluated part by part.

    Args:
        network: MONAI's.
        scales: how much coarser than the image each answer is, per axis, the full resolution first.
    """

    def __init__(self, network: Any, scales: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.supervision_scales = [list(scale) for scale in scales]


class DynUNetLevels(_Supervised):
    """DynUNet's decoder levels; MONAI itself brings them all to the full resolution."""

    def __init__(self, network: Any) -> None:
        dimensions = network.spatial_dims
        strides = [[step] * dimensions if isinstance(step, int) else step for step in network.strides]
        count = 1 + network.deep_supr_num if network.deep_supervision else 1
        super().__init__(network, [[prod(axis) for axis in zip(*strides[: k + 1], strict=True)] for k in range(count)])
        del network.skip_layers  # the same modules again, under other names

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        skips = [network.input_block(x)]
        for stage in network.downsamples:
            skips.append(stage(skips[-1]))
        x = network.bottleneck(skips[-1])
        answers = []
        for level, up in zip(reversed(range(len(skips))), network.upsamples, strict=True):
            x = up(x, skips[level])
            if level < levels:
                head = network.deep_supervision_heads[level - 1] if level else network.output_block
                answers.append(head(x))
        return answers[::-1]


class SegResNetLevels(_Supervised):
    """The decoder levels of SegResNetDS; MONAI itself answers the finest one only outside of training."""

    def __init__(self, network: Any) -> None:
        dimensions, stages = network.spatial_dims, len(network.blocks_down)
        steps = anisotropic_scales(network.resolution or (), stages) or [[2] * dimensions] * stages
        scales = [[prod(axis) for axis in zip([1] * dimensions, *steps[:k], strict=True)] for k in range(stages - 1)]
        super().__init__(network, scales[: network.dsdepth] or [[1] * dimensions])

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        *skips, x = network.encoder(x)
        answers = []
        for level, up in zip(reversed(range(len(network.up_layers))), network.up_layers, strict=True):
            x = up["upsample"](x)
            x = up["blocks"](x + skips[level] if skips else x)
            if level < levels:
                answers.append(up["head"](x))
        return answers[::-1]


class MedNeXtLevels(_Supervised):
    """The levels of MedNeXt, the bottleneck too; MONAI itself answers the finest one only outside of training."""

    def __init__(self, network: Any) -> None:
        dimensions = network.stem.weight.ndim - 2
        count = 1 + len(network.out_blocks) if network.do_ds else 1
        super().__init__(network, [[2**level] * dimensions for level in range(count)])

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        network: Any = self.network
        x, skips = network.stem(x), []
        for stage, down in zip(network.enc_stages, network.down_blocks, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x, answers = network.bottleneck(x), []
        for number, (up, stage) in enumerate(zip(network.up_blocks, network.dec_stages, strict=True)):
            if len(skips) - number < levels:
                answers.append(network.out_blocks[number](x))
            x = stage(up(x) + skips[-1 - number])
        return [network.out_0(x), *answers[::-1]]


class UNetPlusPlusLevels(_Supervised):
    """The four answers of UNet++, all of full resolution; that of the deepest nodes first.

    Args:
        network: MONAI's BasicUNetPlusPlus.
        prune: the answer to predict with, 1 to 4: nodes that it does not need are left out (Zhou et al. 2020, section
            3.3). Training sees them all.
    """

    def __init__(self, network: Any, prune: int) -> None:
        dimensions = network.final_conv_0_4.weight.ndim - 2
        super().__init__(network, [[1] * dimensions] * (4 if network.deep_supervision else 1))
        self.prune = prune

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the first `levels` answers to an image (batch, channel, ...)."""
        network: Any = self.network
        depth = self.prune if not self.training and levels == 1 else 4
        nodes: list[list[torch.Tensor]] = []  # nodes[level]: the nodes of a resolution, from left to right
        for level in range(depth + 1):
            nodes.append([getattr(network, f"conv_{level}_0")(nodes[-1][0] if nodes else x)])
            for column in range(1, level + 1):
                row = level - column
                up = getattr(network, f"upcat_{row}_{column}")
                nodes[row].append(up(nodes[row + 1][-1], torch.cat(nodes[row], dim=1)))
        return [getattr(network, f"final_conv_0_{k}")(nodes[0][k]) for k in range(depth, depth - levels, -1)]


# ---- making them


def _class(class_name: str) -> Any:
    from monai.networks import nets  # seconds; only a plan that names one of these networks needs it

    return getattr(nets, class_name)


def _known_arguments(class_name: str) -> list[str]:
    """Return the names that `network.arguments` may have."""
    if class_name.startswith("MedNeXt") and class_name != "MedNeXt":  # functions of any arguments
        from monai.networks.nets.mednext import create_mednext

        names = [name for name in arguments_of(create_mednext) if name != "variant"]
    else:
        names = arguments_of(_class(class_name))
    own = [_PRUNE] if class_name == "BasicUNetPlusPlus" else []
    return [name for name in names if name not in _SIZES + _DOWNLOADS] + own


def _make(
    class_name: str,
    fill: Fill,
    levels: Callable[..., nn.Module] | None,
    configuration: Configuration,
    channels: int,
    outputs: int,
) -> nn.Module:
    """Make a network of MONAI's.

    Args:
        class_name: name in `monai.networks.nets`.
        fill: what the plan fills.
        levels: wraps a network that can be supervised deeply.
        configuration: names the network, with its arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.

    Raises:
        PlanError: the arguments do not fit.
    """
    arguments = dict(configuration.network.arguments)
    if class_name == "VNet" and 16 % channels:
        raise PlanError(
            f"The network vnet takes 1, 2, 4, 8 or 16 channels, and its images have {channels}.",
            "Choose another network.",
        )
    options = {_PRUNE: _pruning(arguments)} if class_name == "BasicUNetPlusPlus" else {}
    make = _class(class_name)
    settings: dict[str, Any] = {
        "spatial_dims": configuration.dimensions,
        "in_channels": channels,
        "out_channels": outputs,
    }
    if "img_size" in arguments_of(make):  # of UNETR, whose position embedding has a fixed size
        settings["img_size"] = tuple(configuration.patch_voxels)
    module: nn.Module = make(**settings | fill(configuration, arguments) | arguments)
    return module if levels is None else levels(module, **options)


def _pruning(arguments: dict[str, Any]) -> int:
    """Take medseg's own argument out of those of BasicUNetPlusPlus, and return it."""
    prune = arguments.pop(_PRUNE, 4)
    if not isinstance(prune, int) or not 1 <= prune <= 4:
        raise PlanError(
            f"{_PRUNE} in network.arguments is {prune!r}; expected 1, 2, 3 or 4, the answer to predict with.",
            "4 is the whole network; smaller ones are faster and coarser, and need training.deep_supervision.",
        )
    return prune


def _row(
    class_name: str,
    paper: str,
    fill: Fill = _nothing,
    filled: tuple[str, ...] = (),
    levels: Callable[..., nn.Module] | None = None,
    encoder: tuple[str, ...] = (),
    once_unfilled: bool = False,
) -> NetworkRow:
    return NetworkRow(
        make=partial(_make, class_name, fill, levels),
        paper=paper,
        filled=filled,
        known_arguments=partial(_known_arguments, class_name),
        encoder=encoder,
        make_as_before=partial(_make, class_name, _nothing, levels) if once_unfilled else None,
    )


_STAGES = ("network.features", "network.strides")
_WIDTH = ("network.features",)
_MEDNEXT = "Roy et al. 2023, arxiv.org/abs/2303.09975"
_MEDNEXT_ENCODER = ("stem", "enc_stages", "down_blocks", "bottleneck")

MONAI_ROWS: dict[str, NetworkRow] = {
    "segresnet": _row(
        "SegResNet",
        "Myronenko 2018, arxiv.org/abs/1810.11654",
        _segresnet,
        _WIDTH,
        once_unfilled=True,
        encoder=("convInit", "down_layers"),
    ),
    "segresnet_ds": _row(
        "SegResNetDS",
        "Myronenko 2018, arxiv.org/abs/1810.11654; MONAI's Auto3DSeg",
        _segresnet_ds,
        (*_WIDTH, "spacing_mm"),
        SegResNetLevels,
        encoder=("encoder",),
    ),
    "swin_unetr": _row(
        "SwinUNETR",
        "Hatamizadeh et al. 2022, arxiv.org/abs/2201.01266",
        _swin_unetr,
        _WIDTH,
        once_unfilled=True,
        encoder=("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"),
    ),
    "unetr": _row(
        "UNETR",
        "Hatamizadeh et al. 2022, arxiv.org/abs/2103.10504",
        _unetr,
        (*_WIDTH, "patch_voxels"),
        once_unfilled=True,
        encoder=("vit", "encoder1", "encoder2", "encoder3", "encoder4"),
    ),
    "attention_unet": _row("AttentionUnet", "Oktay et al. 2018, arxiv.org/abs/1804.03999", _encoder_decoder, _STAGES),
    "unet": _row("UNet", "Kerfoot et al. 2019, doi.org/10.1007/978-3-030-12029-0_40", _encoder_decoder, _STAGES),
    "dynunet": _row(
        "DynUNet",
        "Isensee et al. 2021, doi.org/10.1038/s41592-020-01008-z",
        _dynunet,
        (*_STAGES, "network.kernels"),
        DynUNetLevels,
        encoder=("input_block", "downsamples", "bottleneck"),
    ),
    "basic_unet": _row(
        "BasicUNet",
        "Falk et al. 2019, doi.org/10.1038/s41592-018-0261-2",
        _basic_unet,
        _WIDTH,
        once_unfilled=True,
        encoder=("conv_0", "down_1", "down_2", "down_3", "down_4"),
    ),
    "basic_unet_plus_plus": _row(
        "BasicUNetPlusPlus",
        "Zhou et al. 2020, arxiv.org/abs/1912.05074",
        _basic_unet_plus_plus,
        _WIDTH,
        UNetPlusPlusLevels,
        once_unfilled=True,
        encoder=("conv_0_0", "conv_1_0", "conv_2_0", "conv_3_0", "conv_4_0"),
    ),
    "vnet": _row(
        "VNet",
        "Milletari et al. 2016, arxiv.org/abs/1606.04797",
        _vnet,
        encoder=("in_tr", "down_tr32", "down_tr64", "down_tr128", "down_tr256"),
    ),
    "highresnet": _row("HighResNet", "Li et al. 2017, arxiv.org/abs/1707.01992"),
    "flexible_unet": _row(
        "FlexibleUNet",
        "MONAI; encoders: Tan and Le 2019, arxiv.org/abs/1905.11946",
        _flexible_unet,
        encoder=("encoder",),
    ),
    "mednext": _row("MedNeXt", _MEDNEXT, _mednext, _WIDTH, MedNeXtLevels, _MEDNEXT_ENCODER),
    "mednext_small": _row("MedNeXtS", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_base": _row("MedNeXtB", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_medium": _row("MedNeXtM", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_large": _row("MedNeXtL", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
}
"""Name in the plan -> row; `plans.network_rules` has the names of their classes, and what their patches must be."""
