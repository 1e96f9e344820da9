"""A look at whether a network and a loss that are not medseg's own can be trained, before hours of preprocessing."""

from __future__ import annotations

import torch

from medseg.core.errors import MedsegError, PlanError
from medseg.models.model import input_channels
from medseg.networks.device import evaluating, first_line, is_out_of_memory
from medseg.networks.trial import check_answers
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.protocol import SummedLoss


def rehearse(
    network: torch.nn.Module,
    plan: Plan,
    configuration: Configuration,
    partly_labelled: bool,
    voxel_weights: bool = False,
) -> None:
    """Make the plan's loss, and let an empty patch through a network or a loss that medseg does not know.

    Nothing is trained, and the state of the random numbers stays as it is.

    Args:
        network: on the device to train on.
        plan: names the loss.
        configuration: that of the network; its patch is what is let through.
        partly_labelled: whether there are cases in which only some structures were annotated.
        voxel_weights: whether there are cases with a map of weights.

    Raises:
        PlanError: the loss is not there or cannot take such labels; or network and loss do not take such a patch.
    """
    loss = DeepSupervision.of(
        network, plan, configuration, partly_labelled=partly_labelled, voxel_weights=voxel_weights
    )
    if isinstance(network, UNet) and isinstance(loss.loss, SummedLoss):
        return
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    patch = configuration.patch_voxels
    image = torch.zeros(1, input_channels(plan, configuration), *patch, device=device)
    target = torch.zeros(1, *patch, dtype=torch.int16, device=device)
    name, part = configuration.network.name, "network"
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), evaluating(network):
            outputs = network(image, len(loss.scales))
            name, part = plan.training.loss.name, "loss"
            loss(outputs, target)
    except MedsegError:
        raise
    except Exception as error:  # code of others raises all kinds of errors
        if is_out_of_memory(error):
            raise
        raise PlanError(
            f"The {part} {name} cannot be computed for a patch of {patch} voxels: {type(error).__name__}: "
            f"{first_line(error)}",
            "Change the patch, or the arguments of the network or loss in the plan.",
        ) from error
    batch = (configuration.batch_size, input_channels(plan, configuration), *patch)
    check_answers(network, configuration, batch, plan.labels.outputs, loss.scales)  # as in training, a whole batch
