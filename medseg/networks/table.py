"""The table of networks: the names that a configuration's `network.name` may have, and how each is made.

A new network is a file beside this one and a row here; docs/development/extend.md shows it as a diff. Whatever a
network answers, everything behind this module sees a module that maps (batch, channel, ...) to a list of logits, the
full resolution first, and that has `supervision_scales`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.core.errors import MedsegError, PlanError
from medseg.core.installing import pip_install
from medseg.networks.cenet import CENet, make_cenet
from medseg.networks.device import first_line
from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.erfnet import ERFNet, make_erfnet
from medseg.networks.monai.rows import MONAI_ROWS
from medseg.networks.row import WRAPPED, NetworkFactory, NetworkRow, as_list
from medseg.networks.segnet import SegNet, make_segnet
from medseg.networks.shallow_convolution import with_right_gradients
from medseg.networks.unet import UNet
from medseg.plans.arguments import Parameters, arguments_of, check_arguments, declared
from medseg.plans.network_rules import CLASS_NAMES, ENCODER_CLASSES, UNETS
from medseg.plans.schema import Configuration

_LEAST_MOMENTUM = 0.1
"""Of the running statistics of batch normalization: torch's default."""


def _unet(configuration: Configuration, channels: int, outputs: int, *, residual: bool) -> nn.Module:
    return UNet(configuration.network, channels, outputs, residual)


def _unet_row(residual: bool) -> NetworkRow:
    paper = "arxiv.org/abs/2404.09556" if residual else "doi.org/10.1038/s41592-020-01008-z"
    year = 2024 if residual else 2021
    return NetworkRow(partial(_unet, residual=residual), paper=f"Isensee et al. {year}, {paper}", deep_supervision=True)


def _own_arguments(network: type[nn.Module]) -> Parameters:
    """Return the arguments that `network.arguments` may have for a class of medseg's own."""
    filled = ("dimensions", "channels", "outputs")
    return {name: parameter for name, parameter in arguments_of(network).items() if name not in filled}


NETWORKS: dict[str, NetworkRow] = {
    **{name: _unet_row(residual) for name, residual in UNETS.items()},
    "cenet": NetworkRow(
        make_cenet,
        (2,),
        "Gu et al. 2019, arxiv.org/abs/1903.02740",
        known_arguments=partial(_own_arguments, CENet),
    ),
    "erfnet": NetworkRow(
        make_erfnet,
        paper="Romera et al. 2018, doi.org/10.1109/TITS.2017.2750080",
        known_arguments=partial(_own_arguments, ERFNet),
    ),
    "segnet": NetworkRow(
        make_segnet,
        paper="Badrinarayanan et al. 2017, arxiv.org/abs/1511.00561",
        known_arguments=partial(_own_arguments, SegNet),
    ),
    **MONAI_ROWS,
    **ENCODER_ROWS,
}
"""Name in the plan -> row."""

BUILT_IN = frozenset({*NETWORKS, *CLASS_NAMES, *ENCODER_CLASSES})
"""Names of the networks that come with medseg; `register_network` adds others."""


def register_network(name: str, make: NetworkFactory, dimensions: tuple[int, ...] = (2, 3)) -> None:
    """Let plans name a network of your own, as long as this Python process lasts.

    Args:
        name: what `network.name` in the plan says.
        make: makes the module; see `NetworkFactory`.
        dimensions: the dimensions of the images that it can take: 2, 3 or both.

    Raises:
        PlanError: the name is that of one of medseg's networks.
    """
    if name in BUILT_IN:
        raise PlanError(f"medseg has a network named {name!r}; choose another name.")
    NETWORKS[name] = NetworkRow(make, dimensions)


def check_name(name: str) -> str:
    """Return the name of a network if there is one of that name.

    Raises:
        PlanError: there is none; the message has those that there are, and the one that was probably meant.
    """
    if name in NETWORKS:
        return name
    meant = _meant(name)
    similar = f". Did you mean {meant!r}?" if meant else "."
    raise PlanError(
        f"There is no network {name!r}; there are {', '.join(NETWORKS)}" + similar,
        "Set network.name of the configuration to one of these. A network of your own is registered from Python "
        f"first: medseg.register_network({name!r}, make). docs/development/extend.md shows how.",
    )


_OTHER_NAMES = {
    **dict.fromkeys(("nnunet", "genericunet", "plainconvunet"), "plain_unet"),
    **dict.fromkeys(("resunet", "resencunet", "residualencoderunet"), "residual_unet"),
    **dict.fromkeys(("attunet", "attentiongatedunet", "attunet2d"), "attention_unet"),
    **dict.fromkeys(("unetpp", "unetplusplus", "nestedunet"), "basic_unet_plus_plus"),
    **dict.fromkeys(("deeplab", "deeplabv3p"), "deeplabv3plus"),
}
"""Names that papers and other libraries have, as `_plain` returns them -> ours, where these do not look alike."""


def _plain(name: str) -> str:
    """Return a name in lower case, without what is written in several ways.

    >>> _plain("U-Net++"), _plain("Attention_UNet")
    ('unetplusplus', 'attentionunet')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


def _meant(name: str) -> str | None:
    """Return the network that was probably meant by a name that no network has; None where none is like it."""
    known = {_plain(each): each for each in (*CLASS_NAMES, *ENCODER_CLASSES, *NETWORKS)} | _OTHER_NAMES
    match = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.6)
    return known[match[0]] if match else None


def find_network(configuration: Configuration) -> NetworkRow:
    """Return the row of the network that a configuration names.

    Raises:
        PlanError: there is no such network, it does not take images of so many dimensions, or it has not the arguments
            that the plan gives.
    """
    name, dimensions = check_name(configuration.network.name), configuration.dimensions
    row = NETWORKS[name]
    if dimensions not in row.dimensions:
        allowed = " or ".join(f"{number}D" for number in row.dimensions)
        raise PlanError(f"The network {name} takes {allowed} images, and the configuration is {dimensions}D.")
    if row.known_arguments is not None and configuration.network.arguments:
        check_arguments(name, configuration.network.arguments, row.known_arguments())
    return row


def build_network(
    configuration: Configuration, channels: int, outputs: int, factory: NetworkFactory | None = None
) -> nn.Module:
    """Return an untrained network that maps (batch, channel, ...) to a list of logits, the full resolution first.

    Args:
        configuration: names the network, with its arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
        factory: makes the network instead of the one that the configuration names.

    Raises:
        PlanError: there is no such network, its arguments do not fit it, or it does not take such images.
    """
    if factory is not None:
        return with_right_gradients(as_list(factory(configuration, channels, outputs), configuration.dimensions))
    row, name = find_network(configuration), configuration.network.name
    try:
        network = row.make(configuration, channels, outputs)
    except MedsegError:
        raise
    except ImportError as error:  # MONAI's own optional dependencies
        raise PlanError(
            f"{name} needs another package: {first_line(error)}", f"{pip_install('networks')} brings einops."
        ) from None
    except Exception as error:  # other libraries raise all kinds of errors for arguments that they cannot take
        arguments = configuration.network.arguments
        known = declared(arguments, row.known_arguments()) if row.known_arguments is not None else ""
        encoder = configuration.network.encoder
        what = "network.arguments do not fit" if arguments else "This plan does not fit"
        on = f" with the encoder {encoder}" if encoder else ""
        raise PlanError(
            f"{what} {name}{on}: {type(error).__name__}: {first_line(error)}",
            f"network.arguments is {arguments}" + (f"; {known}." if known else "."),
        ) from error
    network = with_right_gradients(as_list(network, configuration.dimensions))
    vars(network)["encoder_parts"] = row.encoder
    _quicken_statistics(network)
    return network


def _quicken_statistics(network: nn.Module) -> None:
    """Let the running statistics of an encoder follow its weights within tens of steps.

    EfficientNet has a momentum of 0.01, made for hundreds of epochs of ImageNet: after a hundred steps a third of its
    statistics is still what they began with, and a network that has learnt its patches by heart answers nothing.
    """
    for name, module in network.named_modules():
        if in_encoder(network, name) and isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, _LEAST_MOMENTUM)


def in_encoder(network: nn.Module, name: str) -> bool:
    """Return whether a parameter or module of a network belongs to its encoder, as its row has it.

    Args:
        network: as `build_network` returns it, or another module: parts named `stem` and `encoder` are then meant.
        name: of the parameter or module within the network.
    """
    return name.removeprefix(WRAPPED).split(".")[0] in vars(network).get("encoder_parts", ("stem", "encoder"))


def supervision_scales(network: nn.Module, dimensions: int, enabled: bool) -> Sequence[Sequence[int]]:
    """Return how much coarser than the patch each output that the loss sees is, per axis, the full resolution first.

    Args:
        network: as `build_network` returns it, or another module that may have `supervision_scales`.
        dimensions: 2 or 3.
        enabled: the plan's `training.deep_supervision`; without it only the full resolution is seen.
    """
    scales: Sequence[Sequence[int]] | None = getattr(network, "supervision_scales", None)
    return (scales or [[1] * dimensions])[: None if enabled else 1]
