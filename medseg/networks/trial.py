"""Whether a network answers a batch as it should: found on torch's meta device, without computing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medseg.core.errors import MedsegError, PlanError
from medseg.networks.device import first_line
from medseg.plans.schema import Configuration


def check_answers(
    network: torch.nn.Module,
    configuration: Configuration,
    shape: Sequence[int],
    outputs: int,
    scales: Sequence[Sequence[int]],
) -> None:
    """Refuse a network that cannot compute a training batch, or whose answers have other shapes than the loss expects.

    Nothing is computed, and the network and the random numbers stay as they are.

    Args:
        network: on any device.
        configuration: names it.
        shape: of the batch (batch, channel, ...).
        outputs: the number of channels of the logits.
        scales: how much coarser than the patch each answer is, per axis.

    Raises:
        PlanError: it does not take the batch, or answers in other shapes.
    """
    name, arguments = configuration.network.name, configuration.network.arguments
    hint = f"network.arguments is {arguments}." if arguments else "Change the patch, or choose another network."
    state = {key: value.to("meta") for key, value in (*network.named_parameters(), *network.named_buffers())}
    modes = {module: module.training for module in network.modules()}
    image = torch.empty(*shape, device="meta")
    try:
        network.train()
        with torch.random.fork_rng([]), torch.no_grad():  # dropout may draw numbers
            answers = torch.func.functional_call(network, state, (image, len(scales)))
    except MedsegError:
        raise
    except Exception as error:  # other libraries raise all kinds of errors
        if "meta" in str(error).lower():  # an operation that needs values: the first step of training shows the rest
            return
        raise PlanError(
            f"The network {name} cannot be computed for a patch of {list(shape[2:])} voxels: "
            f"{type(error).__name__}: {first_line(error)}",
            hint,
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    for answer, scale in zip(answers, scales, strict=False):
        expected = [shape[0], outputs, *(size // step for size, step in zip(shape[2:], scale, strict=True))]
        if list(answer.shape) != expected:
            raise PlanError(
                f"The network {name} answers a batch of {list(shape)} with {list(answer.shape)}; expected {expected} "
                "(batch, outputs, then the patch).",
                hint,
            )
