"""Translate one configuration of an nnU-Net plan to medseg's, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.core.errors import ModelError
from medseg.models.nnunet.network import OLD_KEYS, architecture_of, modern_architecture, network_section
from medseg.planning.recipe import rotation_limits
from medseg.plans.schema import Network, Normalization, Resampling

_PLAIN_KEYS = {
    "spacing": "spacing_mm",
    "median_image_size_in_voxels": "median_shape_voxels",
    "patch_size": "patch_voxels",
    "batch_size": "batch_size",
    "batch_dice": "batch_dice",
    "previous_stage": "previous_stage",
}
_SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale_0_1",
    "RGBTo01Normalization": "rgb_0_1",
    "NoNormalization": "none",
}
_ROLES = {"resample_image": "data", "resample_label": "seg", "resample_logits": "probabilities"}
_RESAMPLE = "resample_data_or_seg_to_shape"
_RESAMPLE_TORCH = "resample_torch_fornnunet"
_PAIRS = (
    ("normalization_schemes", "use_mask_for_norm"),
    *((f"resampling_fn_{role}", f"resampling_fn_{role}_kwargs") for role in _ROLES.values()),
)
"""Keys that say one thing together, though a configuration may inherit one of them."""
_PREPROCESSOR = "DefaultPreprocessor"
_ACROSS = {"nearest-exact": 0, "linear": 1}
"""Order of the interpolation between slices, by nnU-Net's name for it."""


def from_nnunet(configurations: Mapping[str, Mapping[str, Any]], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a configuration in medseg's form, and the values that have no meaning in medseg.

    Args:
        configurations: all of the nnU-Net plan, as one may inherit from another.
        name: which of them.

    Raises:
        ModelError: something has no counterpart in medseg; the message names it.
        KeyError: something is missing.
    """
    rest = dict(configurations[name])
    where = f"Configuration {name}"
    values = {medseg_key: rest.pop(key) for key, medseg_key in _PLAIN_KEYS.items() if key in rest}
    if "inherits_from" in rest:
        values["inherits"] = rest.pop("inherits_from")
    if rest.get("preprocessor_name", _PREPROCESSOR) != _PREPROCESSOR:
        raise ModelError(f"{where}: the preprocessor {rest['preprocessor_name']!r} is not nnU-Net's {_PREPROCESSOR}.")
    # half of a pair may be inherited
    inherited = _inherited(configurations, name)
    for pair in _PAIRS:
        if any(key in rest for key in pair):
            rest |= {key: inherited[key] for key in pair if key in inherited}
    if "normalization_schemes" in rest:
        values["normalization"] = _normalization(rest.pop("normalization_schemes"), rest.pop("use_mask_for_norm"), name)
    for medseg_key, role in _ROLES.items():
        if f"resampling_fn_{role}" in rest:
            function, arguments = rest.pop(f"resampling_fn_{role}"), dict(rest.pop(f"resampling_fn_{role}_kwargs"))
            values[medseg_key] = _resampling(function, arguments, role, where)
            if function != _RESAMPLE:  # kept, because `to_nnunet` writes nnU-Net's usual function
                rest |= {f"resampling_fn_{role}": function, f"resampling_fn_{role}_kwargs": arguments}
    architecture = _architecture(configurations, name, rest, where)
    if architecture is not None:
        values["network"] = network_section(architecture, len(inherited["patch_size"]), where)
    if "patch_voxels" in values:
        patch = values["patch_voxels"]
        values["rotation_degrees"], values["in_plane_only"], _ = rotation_limits(patch)
        values["mirror_axes"] = list(range(len(patch)))
    return values, rest


def to_nnunet(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of medseg's in nnU-Net's form; keys that it inherits are not filled in.

    Raises:
        ModelError: nnU-Net does not have the network or a normalization.
    """
    values = {
        nnunet: configuration[medseg_key]
        for nnunet, medseg_key in _PLAIN_KEYS.items()
        if configuration.get(medseg_key) is not None
    }
    if "inherits" in configuration:
        values["inherits_from"] = configuration["inherits"]
    if "normalization" in configuration:
        nnunet_name = {scheme: nnunet for nnunet, scheme in _SCHEMES.items()}
        channels = [Normalization.model_validate(section) for section in configuration["normalization"]]
        unknown = [channel.scheme for channel in channels if channel.scheme not in nnunet_name]
        if unknown:
            raise ModelError(f"The normalization {unknown[0]!r} has no counterpart in nnU-Net.")
        values["normalization_schemes"] = [nnunet_name[channel.scheme] for channel in channels]
        values["use_mask_for_norm"] = [channel.nonzero_only for channel in channels]
    for medseg_key, role in _ROLES.items():
        if medseg_key in configuration:
            resampling = Resampling.model_validate(configuration[medseg_key])
            values[f"resampling_fn_{role}"] = _RESAMPLE
            values[f"resampling_fn_{role}_kwargs"] = {
                "is_seg": role == "seg",
                "order": resampling.order,
                "order_z": resampling.order_across,
                "force_separate_z": resampling.separate_axis,
            }
    if "network" in configuration:
        values["architecture"] = architecture_of(Network.model_validate(configuration["network"]))
    return values


def _normalization(schemes: list[str], masks: list[bool], name: str) -> list[dict[str, Any]]:
    """Return one normalization per channel; in nnU-Net only z-scores look at the mask."""
    channels = []
    for scheme, masked in zip(schemes, masks, strict=True):
        if scheme not in _SCHEMES:
            raise ModelError(
                f"Configuration {name}: the normalization {scheme!r} has no counterpart in medseg; "
                f"known are {', '.join(_SCHEMES)}."
            )
        name_here = _SCHEMES[scheme]
        channels.append({"scheme": name_here, "nonzero_only": bool(masked) and name_here == "zscore"})
    return channels


def _resampling(function: str, arguments: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
    """Return a resampling function of nnU-Net in medseg's terms, with nnU-Net's defaults filled in.

    nnU-Net's torch function interpolates linearly as the usual one of order 1 does; label maps, which only training
    and cascades resample, get the label of the largest share where the usual one asks for at least one half.
    """
    seg = role == "seg"
    if bool(arguments.get("is_seg", False)) != seg:
        raise ModelError(f"{where}: resampling_fn_{role}_kwargs has is_seg: {arguments.get('is_seg', False)}.")
    if arguments.get("separate_z_anisotropy_threshold", 3) != 3:
        raise ModelError(f"{where}: resampling_fn_{role}_kwargs has a separate_z_anisotropy_threshold that is not 3.")
    if function == _RESAMPLE:
        return {
            "order": arguments.get("order", 3),
            "order_across": arguments.get("order_z", 0),
            "separate_axis": arguments.get("force_separate_z", False),
        }
    across = arguments.get("aniso_axis_mode", "nearest-exact")
    if function == _RESAMPLE_TORCH and arguments.get("mode", "linear") == "linear" and across in _ACROSS:
        return {"order": 1, "order_across": _ACROSS[across], "separate_axis": arguments.get("force_separate_z")}
    raise ModelError(
        f"{where}: the resampling {function!r} ({dict(arguments)}) has no counterpart in medseg; "
        f"known are {_RESAMPLE} and linear {_RESAMPLE_TORCH}."
    )


def _architecture(
    configurations: Mapping[str, Mapping[str, Any]], name: str, rest: dict[str, Any], where: str
) -> Mapping[str, Any] | None:
    """Take the configuration's own network out of `rest`, and return it; None if it inherits all of it."""
    architecture: Mapping[str, Any] | None = rest.pop("architecture", None)
    old = {key: rest.pop(key) for key in OLD_KEYS if key in rest}
    inherited = _inherited(configurations, name)
    if architecture is not None or not old or "architecture" in inherited:
        return architecture
    return modern_architecture(inherited, len(inherited["patch_size"]), where)


def _inherited(configurations: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return a configuration with everything that it inherits filled in, as in nnU-Net."""
    merged: dict[str, Any] = {}
    current: Any = name
    visited = []
    while current is not None:
        if current in visited:
            raise ModelError(f"Configuration {name} of the nnU-Net plan inherits in a circle.")
        if current not in configurations:
            raise ModelError(f"Configuration {name} inherits from {current!r}, which the nnU-Net plan does not have.")
        visited.append(current)
        merged = {**configurations[current], **merged}
        current = configurations[current].get("inherits_from")
    return merged
