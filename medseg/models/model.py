"""A trained model in memory, wherever it came from: its plan, and one network for each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medseg.core.errors import ModelError
from medseg.models.quantization import Quantization
from medseg.networks.table import BUILT_IN, NETWORKS, NetworkFactory, build_network
from medseg.plans.network_rules import UNETS
from medseg.plans.schema import Configuration, Network, Plan
from medseg.selection.record import Selection

_MOST_NAMES = 4


@dataclass(frozen=True)
class Model:
    """A trained model in memory: one network a fold, on one device.

    Attributes:
        plan: says what is done to a scan, and what the answer means.
        configuration_name: name of the plan's configuration that the networks were trained in.
        folds: names of the folds.
        networks: one for each fold; their answers are averaged.
        folder: file or folder that the model was read from.
        previous: model whose answer this one takes as further channels: the first stage of a cascade; or None.
        notes: what a user should know about how it was read, in sentences.
        files: files that the weights were read from: one for each fold, or one that holds all; none in training.
        others: models of other configurations that answer together with this one: the probabilities of all are averaged
            on the grid of the scan, with equal weights. They have no others themselves.
        selection: what is done to answers (postprocessing, thresholds); None for nothing.
        quantizations: how each fold is computed in 8 bits, None for one that was not quantized; empty where none was.
    """

    plan: Plan
    configuration_name: str
    folds: tuple[str, ...]
    networks: tuple[torch.nn.Module, ...]
    folder: Path
    previous: Model | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    others: tuple[Model, ...] = ()
    selection: Selection | None = None
    quantizations: tuple[Quantization | None, ...] = ()

    @property
    def together(self) -> tuple[Model, ...]:
        """Itself and the others that answer with it."""
        return (self, *self.others)

    @property
    def configuration(self) -> Configuration:
        """The configuration that it was trained in."""
        return self.plan.configuration(self.configuration_name)


def overrides_for(stage: str, overrides: Sequence[str] | None) -> list[str]:
    """Return the `dotted.key=value` strings that also concern an earlier stage: not those of other configurations.

    >>> overrides_for("3d_lowres", ["inference.mirror=false", "configurations.3d_fullres.batch_size=2"])
    ['inference.mirror=false']

    Args:
        stage: name of the earlier stage's configuration.
        overrides: strings that a user gave for the plan; None for none.
    """
    any_configuration, of_stage = "configurations.", f"configurations.{stage}."
    return [text for text in overrides or () if not text.startswith(any_configuration) or text.startswith(of_stage)]


def input_channels(plan: Plan, configuration: Configuration) -> int:
    """Return the number of channels that a network sees.

    These are the scan's and, in a cascade's second stage, one for each label value but the background.

    Args:
        plan: has the scan's channels and the labels.
        configuration: the configuration that the network belongs to.
    """
    cascaded = configuration.previous_stage is not None
    return len(plan.data.channels) + cascaded * (len(plan.labels.values) - 1)


def make_network(plan: Plan, configuration: Configuration, factory: NetworkFactory | None = None) -> torch.nn.Module:
    """Return an untrained network.

    Args:
        plan: has the channels and the labels.
        configuration: names the network.
        factory: makes the network instead of the one that the configuration names.

    Raises:
        PlanError: there is no such network, or its arguments do not fit it.
    """
    return build_network(configuration, input_channels(plan, configuration), plan.labels.outputs, factory)


def make_network_as_before(plan: Plan, configuration: Configuration) -> torch.nn.Module | None:
    """Return the network as versions made it that filled no arguments of MONAI's networks; None if it is the same now.

    Args:
        plan: has the channels and the labels.
        configuration: names the network.

    Raises:
        PlanError: as `make_network`.
    """
    make = NETWORKS[configuration.network.name].make_as_before
    return None if make is None else make_network(plan, configuration, make)


def filled_network(
    plan: Plan,
    configuration: Configuration,
    weights: Mapping[str, torch.Tensor],
    source: str,
    factory: NetworkFactory | None = None,
) -> torch.nn.Module:
    """Return a network with the given weights, ready to predict.

    Args:
        plan: has the channels and the labels.
        configuration: names the network.
        weights: tensors by name.
        source: name of the weights in messages.
        factory: makes the network instead of the one that the configuration names.

    Raises:
        ModelError: a weight is missing, has no place in the network, or has another shape; the message names it.
    """
    is_medseg_unet = factory is None and configuration.network.name in UNETS
    problem = _too_large(configuration.network, weights) if is_medseg_unet else None
    if problem:
        raise ModelError(f"The weights in {source} do not fit their plan: {problem}.")
    # medseg's own networks are made without memory and take the tensors as they are: no random weights are drawn
    with torch.device("meta") if is_medseg_unet else nullcontext():
        network = make_network(plan, configuration, factory)
    problem = _mismatch(network.state_dict(), weights)
    if problem and factory is None:
        before = make_network_as_before(plan, configuration)
        if before is not None and _mismatch(before.state_dict(), weights) is None:
            network, problem = before, None
    if problem is None and factory is None and not is_medseg_unet and configuration.network.name in BUILT_IN:
        problem = _other_indices(network.state_dict(), weights)
    if problem:
        raise ModelError(f"The weights in {source} do not fit their plan: {problem}.")
    check_finite_weights(weights, source)
    filled = {name: weights[name].to(value.dtype) for name, value in network.state_dict().items()}
    network.load_state_dict(filled, assign=is_medseg_unet)
    return network.eval()


def check_finite_weights(weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse weights that are not all finite: a network with one of them answers with background everywhere.

    Args:
        weights: by name.
        source: names them in messages.

    Raises:
        ModelError: a value is NaN or infinite; the message names the tensor.
    """
    for name, value in weights.items():
        if value.is_floating_point() and not _all_finite(value):
            count = int((~value.isfinite()).sum())
            raise ModelError(
                f"The weights in {source} are damaged: {name} has {count:,} of {value.numel():,} values "
                "that are NaN or infinite.",
                "Restore them from a copy, or train the model again.",
            )


def _all_finite(value: torch.Tensor) -> bool:
    """Return whether all values are finite; where numpy knows the type, in one thread.

    To start torch's threads takes longer than to look, and where OpenVINO predicts nothing else would start them.
    """
    if value.device.type == "cpu" and value.dtype in (torch.float32, torch.float16, torch.float64):
        return bool(np.isfinite(value.detach().numpy()).all())
    return bool(value.isfinite().all())


def _too_large(network: Network, weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return why a U-Net cannot have these weights, or None; before it is built, as a plan may name any size."""
    layers = sum(network.blocks) + sum(network.decoder_convolutions)
    if layers > len(weights):
        return f"the network has {layers} blocks, and there are {len(weights)} weights"
    widest = max((size for value in weights.values() for size in value.shape), default=0)
    sizes = [*network.features, *(size for axes in (*network.kernels, *network.strides) for size in axes)]
    if max(sizes) > widest:
        return f"the network has a layer of size {max(sizes)}, and the largest weight has {widest}"
    return None


def _mismatch(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return what is wrong with the weights, or None."""
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing:
        return f"the network also has {_names(missing)}"
    if unknown:
        return f"the network has no {_names(unknown)}"
    for name, value in expected.items():
        if value.shape != weights[name].shape:
            return f"{name} is {shape_text(weights[name])}, and the network's is {shape_text(value)}"
        if weights[name].is_floating_point() != value.is_floating_point():
            return f"{name} is {_type(weights[name])}, and the network's is {_type(value)}"
    return None


def _other_indices(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return what is wrong with tables of indices, which follow from the network's arguments; or None.

    Other numbers would point at other places, or outside of what they point into. Single numbers are counters.
    """
    for name, value in expected.items():
        if not value.is_floating_point() and value.ndim > 0 and not torch.equal(weights[name].to(value), value):
            return f"{name} holds other numbers than the network's"
    return None


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def shape_text(tensor: torch.Tensor) -> str:
    """Return the shape of a tensor for messages.

    >>> shape_text(torch.zeros(3, 1, 2)), shape_text(torch.tensor(1.0))
    ('3x1x2', 'a single number')
    """
    return "x".join(map(str, tensor.shape)) or "a single number"


def _names(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
