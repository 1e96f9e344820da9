"""One configuration of an nnU-Net plan to ours, and back."""

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
_PREPROCESSOR = "DefaultPreprocessor"
_ACROSS = {"nearest-exact": 0, "linear": 1}


def from_nnunet(theirs: Mapping[str, Mapping[str, Any]], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration in our form, and what has no meaning here.

    Args:
        theirs: all configurations of the plan, as one may inherit from another.
        name: which of them.

    Raises:
        ModelError: something has no counterpart here; the message names it.
        KeyError: something is missing.
    """
    left = dict(theirs[name])
    where = f"Configuration {name}"
    values = {ours: left.pop(key) for key, ours in _PLAIN_KEYS.items() if key in left}
    if "inherits_from" in left:
        values["inherits"] = left.pop("inherits_from")
    if left.get("preprocessor_name", _PREPROCESSOR) != _PREPROCESSOR:
        raise ModelError(f"{where}: the preprocessor {left['preprocessor_name']!r} is not nnU-Net's {_PREPROCESSOR}.")
    if "normalization_schemes" in left:
        values["normalization"] = _normalization(left.pop("normalization_schemes"), left.pop("use_mask_for_norm"), name)
    for ours, role in _ROLES.items():
        if f"resampling_fn_{role}" in left:
            function, how = left.pop(f"resampling_fn_{role}"), dict(left.pop(f"resampling_fn_{role}_kwargs"))
            values[ours] = _resampling(function, how, role, where)
            if function != _RESAMPLE:  # kept, as ours would be written as nnU-Net's usual function
                left |= {f"resampling_fn_{role}": function, f"resampling_fn_{role}_kwargs": how}
    architecture = _architecture(theirs, name, left, where)
    if architecture is not None:
        dimensions = len(_inherited(theirs, name)["patch_size"])
        values["network"] = network_section(architecture, dimensions, where)
    if "patch_voxels" in values:
        patch = values["patch_voxels"]
        values["rotation_degrees"], values["in_plane_only"], _ = rotation_limits(patch)
        values["mirror_axes"] = list(range(len(patch)))
    return values, left


def to_nnunet(own: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of ours, inherited keys not filled in, in nnU-Net's form.

    Raises:
        ModelError: the network or a normalization is none of nnU-Net's.
    """
    values = {theirs: own[ours] for theirs, ours in _PLAIN_KEYS.items() if own.get(ours) is not None}
    if "inherits" in own:
        values["inherits_from"] = own["inherits"]
    if "normalization" in own:
        theirs_of = {ours: theirs for theirs, ours in _SCHEMES.items()}
        channels = [Normalization.model_validate(how) for how in own["normalization"]]
        unknown = [how.scheme for how in channels if how.scheme not in theirs_of]
        if unknown:
            raise ModelError(f"The normalization {unknown[0]!r} has no counterpart in nnU-Net.")
        values["normalization_schemes"] = [theirs_of[how.scheme] for how in channels]
        values["use_mask_for_norm"] = [how.nonzero_only for how in channels]
    for ours, role in _ROLES.items():
        if ours in own:
            how = Resampling.model_validate(own[ours])
            values[f"resampling_fn_{role}"] = _RESAMPLE
            values[f"resampling_fn_{role}_kwargs"] = {
                "is_seg": role == "seg",
                "order": how.order,
                "order_z": how.order_across,
                "force_separate_z": how.separate_axis,
            }
    if "network" in own:
        values["architecture"] = architecture_of(Network.model_validate(own["network"]))
    return values


def _normalization(schemes: list[str], masks: list[bool], name: str) -> list[dict[str, Any]]:
    """One a channel; only z-scores look at the mask."""
    channels = []
    for scheme, masked in zip(schemes, masks, strict=True):
        if scheme not in _SCHEMES:
            raise ModelError(
                f"Configuration {name}: the normalization {scheme!r} has no counterpart in medseg; "
                f"known are {', '.join(_SCHEMES)}."
            )
        ours = _SCHEMES[scheme]
        channels.append({"scheme": ours, "nonzero_only": bool(masked) and ours == "zscore"})
    return channels


def _resampling(function: str, how: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
    """What a resampling function of nnU-Net does, in our terms; what is not said is its own default.

    nnU-Net's torch function interpolates linearly as the usual one of order 1 does; label maps, which only training
    and cascades resample, get the label of the largest share where the usual one asks for at least one half.
    """
    seg = role == "seg"
    if bool(how.get("is_seg", False)) != seg:
        raise ModelError(f"{where}: resampling_fn_{role}_kwargs has is_seg: {how.get('is_seg', False)}.")
    if how.get("separate_z_anisotropy_threshold", 3) != 3:
        raise ModelError(f"{where}: resampling_fn_{role}_kwargs has a separate_z_anisotropy_threshold that is not 3.")
    if function == _RESAMPLE:
        return {
            "order": how.get("order", 3),
            "order_across": how.get("order_z", 0),
            "separate_axis": how.get("force_separate_z", False),
        }
    across = how.get("aniso_axis_mode", "nearest-exact")
    if function == _RESAMPLE_TORCH and how.get("mode", "linear") == "linear" and across in _ACROSS:
        return {"order": 1, "order_across": _ACROSS[across], "separate_axis": how.get("force_separate_z")}
    raise ModelError(
        f"{where}: the resampling {function!r} ({dict(how)}) has no counterpart in medseg; "
        f"known are {_RESAMPLE} and linear {_RESAMPLE_TORCH}."
    )


def _architecture(
    theirs: Mapping[str, Mapping[str, Any]], name: str, left: dict[str, Any], where: str
) -> Mapping[str, Any] | None:
    """The configuration's own network, taken out of `left`; None where it inherits all of it."""
    own: Mapping[str, Any] | None = left.pop("architecture", None)
    old = {key: left.pop(key) for key in OLD_KEYS if key in left}
    inherited = _inherited(theirs, name)
    if own is not None or not old or "architecture" in inherited:
        return own
    return modern_architecture(inherited, len(inherited["patch_size"]), where)


def _inherited(theirs: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A configuration with everything that it inherits filled in, as nnU-Net does."""
    merged: dict[str, Any] = {}
    current: Any = name
    seen = []
    while current is not None:
        if current in seen:
            raise ModelError(f"Configuration {name} of the nnU-Net plan inherits in a circle.")
        if current not in theirs:
            raise ModelError(f"Configuration {name} inherits from {current!r}, which the nnU-Net plan does not have.")
        seen.append(current)
        merged = {**theirs[current], **merged}
        current = theirs[current].get("inherits_from")
    return merged
