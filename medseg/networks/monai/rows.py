"""MONAI's networks (docs.monai.io/en/stable/networks.html) as rows of the table of networks.

A row names the class, its paper, what the plan fills of its arguments (`fill`) and, for networks that can be supervised
deeply, what evaluates it (`levels`). `network.arguments` has the last word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.monai.fill import (
    Fill,
    fill_basic_unet,
    fill_basic_unet_plus_plus,
    fill_dynunet,
    fill_encoder_decoder,
    fill_flexible_unet,
    fill_mednext,
    fill_nothing,
    fill_segresnet,
    fill_segresnet_ds,
    fill_swin_unetr,
    fill_unetr,
    fill_upsampling,
    fill_vnet,
)
from medseg.networks.monai.levels import DynUNetLevels, MedNeXtLevels, SegResNetLevels, UNetPlusPlusLevels
from medseg.networks.row import NetworkRow
from medseg.plans.arguments import Parameters, arguments_of
from medseg.plans.schema import Configuration

_SIZES = ("spatial_dims", "in_channels", "out_channels", "img_size")
"""Arguments that always follow from the plan: others would not fit its images or labels."""
_DOWNLOADS = ("pretrained", "progress")
"""Arguments that fetch weights from the internet, which medseg never does by itself."""
_PRUNE = "prune"
"""The argument of `basic_unet_plus_plus` that is medseg's own."""


def _class(class_name: str) -> Any:
    from monai.networks import nets  # seconds; only a plan that names one of these networks needs it

    return getattr(nets, class_name)


def _known_arguments(class_name: str) -> Parameters:
    """Return the arguments that `network.arguments` may have."""
    if class_name.startswith("MedNeXt") and class_name != "MedNeXt":  # functions of any arguments
        from monai.networks.nets.mednext import create_mednext

        known = arguments_of(create_mednext)
        del known["variant"]
    else:
        known = arguments_of(_class(class_name))
    if class_name == "BasicUNetPlusPlus":
        known[_PRUNE] = inspect.Parameter(_PRUNE, inspect.Parameter.KEYWORD_ONLY, default=4, annotation=int)
    return {name: parameter for name, parameter in known.items() if name not in _SIZES + _DOWNLOADS}


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
    filled = fill(configuration, arguments) | fill_upsampling(configuration)
    module: nn.Module = make(**settings | filled | arguments)
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
    fill: Fill = fill_nothing,
    filled: tuple[str, ...] = (),
    levels: Callable[..., nn.Module] | None = None,
    encoder: tuple[str, ...] = (),
    once_unfilled: bool = False,
) -> NetworkRow:
    """Return the row of a network of MONAI's.

    Args:
        class_name: name in `monai.networks.nets`.
        paper: authors, year and address of the paper.
        fill: what the plan fills of its arguments.
        filled: the keys of the plan that `fill` looks at.
        levels: wraps a network that can be supervised deeply.
        encoder: names of the parts that are its encoder.
        once_unfilled: whether versions of medseg made it without `fill`, so that models of theirs need that still.
    """
    return NetworkRow(
        make=partial(_make, class_name, fill, levels),
        paper=paper,
        filled=filled,
        known_arguments=partial(_known_arguments, class_name),
        encoder=encoder,
        deep_supervision=levels is not None,
        make_as_before=partial(_make, class_name, fill_nothing, levels) if once_unfilled else None,
    )


_STAGES = ("network.features", "network.strides")
_WIDTH = ("network.features",)
_MEDNEXT = "Roy et al. 2023, arxiv.org/abs/2303.09975"
_MEDNEXT_ENCODER = ("stem", "enc_stages", "down_blocks", "bottleneck")

MONAI_ROWS: dict[str, NetworkRow] = {
    "segresnet": _row(
        "SegResNet",
        "Myronenko 2018, arxiv.org/abs/1810.11654",
        fill_segresnet,
        _WIDTH,
        once_unfilled=True,
        encoder=("convInit", "down_layers"),
    ),
    "segresnet_ds": _row(
        "SegResNetDS",
        "Myronenko 2018, arxiv.org/abs/1810.11654; MONAI's Auto3DSeg",
        fill_segresnet_ds,
        (*_WIDTH, "spacing_mm"),
        SegResNetLevels,
        encoder=("encoder",),
    ),
    "swin_unetr": _row(
        "SwinUNETR",
        "Hatamizadeh et al. 2022, arxiv.org/abs/2201.01266",
        fill_swin_unetr,
        _WIDTH,
        once_unfilled=True,
        encoder=("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"),
    ),
    "unetr": _row(
        "UNETR",
        "Hatamizadeh et al. 2022, arxiv.org/abs/2103.10504",
        fill_unetr,
        (*_WIDTH, "patch_voxels"),
        once_unfilled=True,
        encoder=("vit", "encoder1", "encoder2", "encoder3", "encoder4"),
    ),
    "attention_unet": _row(
        "AttentionUnet", "Oktay et al. 2018, arxiv.org/abs/1804.03999", fill_encoder_decoder, _STAGES
    ),
    "unet": _row("UNet", "Kerfoot et al. 2019, doi.org/10.1007/978-3-030-12029-0_40", fill_encoder_decoder, _STAGES),
    "dynunet": _row(
        "DynUNet",
        "Isensee et al. 2021, doi.org/10.1038/s41592-020-01008-z",
        fill_dynunet,
        (*_STAGES, "network.kernels"),
        DynUNetLevels,
        encoder=("input_block", "downsamples", "bottleneck"),
    ),
    "basic_unet": _row(
        "BasicUNet",
        "Falk et al. 2019, doi.org/10.1038/s41592-018-0261-2",
        fill_basic_unet,
        _WIDTH,
        once_unfilled=True,
        encoder=("conv_0", "down_1", "down_2", "down_3", "down_4"),
    ),
    "basic_unet_plus_plus": _row(
        "BasicUNetPlusPlus",
        "Zhou et al. 2020, arxiv.org/abs/1912.05074",
        fill_basic_unet_plus_plus,
        _WIDTH,
        UNetPlusPlusLevels,
        once_unfilled=True,
        encoder=("conv_0_0", "conv_1_0", "conv_2_0", "conv_3_0", "conv_4_0"),
    ),
    "vnet": _row(
        "VNet",
        "Milletari et al. 2016, arxiv.org/abs/1606.04797",
        fill_vnet,
        encoder=("in_tr", "down_tr32", "down_tr64", "down_tr128", "down_tr256"),
    ),
    "highresnet": _row("HighResNet", "Li et al. 2017, arxiv.org/abs/1707.01992"),
    "flexible_unet": _row(
        "FlexibleUNet",
        "MONAI; encoders: Tan and Le 2019, arxiv.org/abs/1905.11946",
        fill_flexible_unet,
        encoder=("encoder",),
    ),
    "mednext": _row("MedNeXt", _MEDNEXT, fill_mednext, _WIDTH, MedNeXtLevels, _MEDNEXT_ENCODER),
    "mednext_small": _row("MedNeXtS", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_base": _row("MedNeXtB", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_medium": _row("MedNeXtM", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
    "mednext_large": _row("MedNeXtL", _MEDNEXT, levels=MedNeXtLevels, encoder=_MEDNEXT_ENCODER),
}
"""Name in the plan -> row; `plans.network_rules` has the names of their classes, and what their patches must be."""
