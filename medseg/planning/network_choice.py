"""Put the network that a user names in place of the one that the rules chose: its section, its patch, its colours."""

from __future__ import annotations

from typing import Any

from medseg.core.errors import PlanError
from medseg.plans.network_rules import DEFAULT_ENCODER, ENCODER_CLASSES, ONLY_2D, colour_schemes, patch_rule
from medseg.plans.schema import Configuration, Network

_COLOURS = ("red", "green", "blue")
_LARGEST_COLOUR = 255


def choose_network(
    values: dict[str, Any], reasons: dict[str, str], name: str, encoder: str | None = None, weights: str | None = None
) -> None:
    """Change the values of a plan, in place, so that its configurations have a network.

    A network that takes no volumes takes the place of the U-Net in the 2D configuration, which becomes the default.
    Networks on an encoder by name have no stages; others keep those that the rules chose. The patch becomes the nearest
    that the network can take. Colours are normalized as they were when the weights of the encoder were trained; other
    channels stay as the rules say, with mean 0 and deviation 1, which is what the encoder saw on average.

    Args:
        values: the plan's content.
        reasons: dotted key -> reason; further ones are added.
        name: name of the network, or its class.
        encoder: name of its encoder.
        weights: a file with weights of the encoder.

    Raises:
        PlanError: the network is 2D, and the plan has no 2D configuration.
    """
    name = ENCODER_CLASSES.get(name, name)
    on_encoder, flat = name in ENCODER_CLASSES.values(), name in ONLY_2D
    configurations = {
        key: configuration
        for key, configuration in values["configurations"].items()
        if "network" in configuration and (not flat or len(configuration["patch_voxels"]) == 2)
    }
    if not configurations:
        raise PlanError(f"The network {name} takes 2D images, and this plan has no 2D configuration.")
    for key, configuration in configurations.items():
        stages = {} if on_encoder else configuration["network"]
        named = {option: value for option, value in (("encoder", encoder), ("weights", weights)) if value is not None}
        configuration["network"] = {**stages, "name": name, **named}
        reasons_of = {part: text for part, text in reasons.items() if part.startswith(f"configurations.{key}.network.")}
        for part in reasons_of if on_encoder else ():
            del reasons[part]  # of stages that are no longer there
        reasons[f"configurations.{key}.network.name"] = "as asked for"
        _fit_patch(configuration, reasons, key)
        if weights is not None:
            _fit_colours(configuration, reasons, key, values["data"], encoder or DEFAULT_ENCODER)
    if flat and values["default_configuration"] not in configurations:
        values["default_configuration"] = next(iter(configurations))
        reasons["default_configuration"] = f"{name} is a 2D network"


def _fit_patch(configuration: dict[str, Any], reasons: dict[str, str], key: str) -> None:
    """Make the patch one that the network can take."""
    patch, network = configuration["patch_voxels"], Network.model_validate(configuration["network"])
    loose = Configuration.model_construct(
        network=network,
        patch_voxels=patch,
        batch_size=configuration["batch_size"],
        spacing_mm=configuration["spacing_mm"],
    )
    rule = patch_rule(loose)
    nearest = rule.nearest(patch)
    if nearest != patch:
        configuration["patch_voxels"] = nearest
        reasons[f"configurations.{key}.patch_voxels"] = f"{patch} by the rules; {network.name} needs {rule.words}"


def _fit_colours(
    configuration: dict[str, Any], reasons: dict[str, str], key: str, data: dict[str, Any], encoder: str
) -> None:
    """Normalize red, green and blue of 0 to 255 as the encoder's training did."""
    if [channel.casefold() for channel in data["channels"]] != [*_COLOURS]:
        return
    reason = f"configurations.{key}.normalization"
    if any(channel["min"] < 0 or channel["max"] > _LARGEST_COLOUR for channel in data["intensities"]):
        reasons[reason] = f"{reasons.get(reason, '')}; colours beyond 0 to 255 are not what the encoder was trained on"
        return
    schemes = colour_schemes(encoder)
    configuration["normalization"] = [{"scheme": scheme, "nonzero_only": False} for scheme in schemes]
    reasons[reason] = f"colours as {encoder} was trained with"
