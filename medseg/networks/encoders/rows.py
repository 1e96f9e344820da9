"""Networks of segmentation-models-pytorch (extra `encoders`) as rows of the table.

The library is imported where a plan names one of them, as it takes seconds. Its encoders are made without weights:
`medseg.models.encoder_weights` fills them from a file when a training run begins, and nothing is downloaded here.
"""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import torch
from torch import nn

from medseg.core.errors import PlanError
from medseg.core.installing import pip_install
from medseg.networks.device import first_line
from medseg.networks.row import NetworkRow
from medseg.plans.arguments import Parameters, arguments_of
from medseg.plans.network_rules import DEFAULT_ENCODER, ENCODER_CLASSES
from medseg.plans.schema import Configuration

_FILLED = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs")
"""Arguments that follow from the plan, or that would change what a network answers."""
_DEPTHS = {"PSPNet": (3, 0), "FPN": (5, 3)}
"""Class -> the depth of its encoder by default, and by how many halvings its decoder's map is finer than the deepest.

The library enlarges that map by a fixed `upsampling`, which gives the size of the image at the default depth only.
"""
_MOST_SIMILAR = 6


class EncoderNetwork(nn.Module):
    """A network in three parts, so that the encoder can be frozen, or learn slower than the rest.

    Args:
        encoder: maps an image (batch, channel, y, x) to feature maps, the finest first.
        decoder: maps these to one map.
        heads: maps that to logits of the resolution of the image.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, heads: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.heads = heads

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return [logits (batch, outputs, y, x)]; these networks have no coarser answers, whatever `levels` says."""
        return [self.heads(self.decoder(self.encoder(x)))]


def load_library() -> Any:
    """Return the module segmentation_models_pytorch.

    Raises:
        PlanError: it is not installed, or torchvision does not fit torch.
    """
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise PlanError(
            f"The networks with a pretrained encoder need segmentation-models-pytorch: {first_line(error)}",
            pip_install("encoders"),
        ) from None
    except Exception as error:  # torchvision, with RuntimeError and others, where it was built for another torch
        raise PlanError(
            f"segmentation-models-pytorch cannot be imported: {type(error).__name__}: {first_line(error)}",
            "Usually torchvision was built for another torch than the one that is installed; the table at "
            "github.com/pytorch/vision names the version that fits. Install both with one pip command.",
        ) from None
    return segmentation_models_pytorch


def check_encoder(name: str) -> None:
    """Refuse an encoder that the library does not have.

    Args:
        name: the plan's `network.encoder`.

    Raises:
        PlanError: there is none of this name; similar names are given.
    """
    known = list(load_library().encoders.encoders)
    if name in known or name.startswith("tu-"):  # timm's own encoders: the library looks the name up
        return
    similar = difflib.get_close_matches(name, known, n=_MOST_SIMILAR, cutoff=0.4)
    raise PlanError(
        f"There is no encoder {name!r}"
        + (f"; similar ones are {', '.join(similar)}." if similar else ".")
        + f" There are {len(known)} in segmentation-models-pytorch, such as mobilenet_v2, resnet34 and "
        "efficientnet-b0; those of timm begin with tu-.",
        "Set network.encoder of the configuration to one of these.",
    )


def _make(class_name: str, configuration: Configuration, channels: int, outputs: int) -> nn.Module:
    library = load_library()
    network = configuration.network
    encoder = network.encoder or DEFAULT_ENCODER
    check_encoder(encoder)
    arguments = dict(network.arguments)
    if class_name in _DEPTHS:
        default, finer = _DEPTHS[class_name]
        arguments.setdefault("upsampling", 2 ** max(0, arguments.get("encoder_depth", default) - finer))
    model = getattr(library, class_name)(
        encoder_name=encoder,
        **arguments,
        encoder_weights=None,  # nothing is downloaded
        in_channels=channels,
        classes=outputs,
    )
    return EncoderNetwork(model.encoder, model.decoder, model.segmentation_head)


def _known_arguments(class_name: str) -> Parameters:
    declared = arguments_of(getattr(load_library(), class_name))
    return {name: parameter for name, parameter in declared.items() if name not in _FILLED}


_PAPERS = {
    "smp_unet": "Ronneberger et al. 2015, arxiv.org/abs/1505.04597",
    "smp_unetplusplus": "Zhou et al. 2018, arxiv.org/abs/1807.10165",
    "fpn": "Kirillov et al. 2019, arxiv.org/abs/1901.02446",
    "pspnet": "Zhao et al. 2017, arxiv.org/abs/1612.01105",
    "deeplabv3": "Chen et al. 2017, arxiv.org/abs/1706.05587",
    "deeplabv3plus": "Chen et al. 2018, arxiv.org/abs/1802.02611",
    "linknet": "Chaurasia and Culurciello 2017, arxiv.org/abs/1707.03718",
    "manet": "Fan et al. 2020, doi.org/10.1109/ACCESS.2020.3025372",
    "upernet": "Xiao et al. 2018, arxiv.org/abs/1807.10221",
    "pan": "Li et al. 2018, arxiv.org/abs/1805.10180",
    "segformer": "Xie et al. 2021, arxiv.org/abs/2105.15203",
}

ENCODER_ROWS: dict[str, NetworkRow] = {
    name: NetworkRow(
        make=partial(_make, class_name),
        dimensions=(2,),
        paper=_PAPERS[name],
        filled=("network.encoder",),
        known_arguments=partial(_known_arguments, class_name),
    )
    for class_name, name in ENCODER_CLASSES.items()
}
"""Name in the plan -> row."""
