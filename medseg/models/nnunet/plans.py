"""Translate nnU-Net v2's plans.json and dataset.json to a plan, and back, without loss.

Values of an nnU-Net plan that have no meaning in medseg (class names, identifiers) are kept in `Plan.nnunet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from medseg import __version__
from medseg.core.errors import ModelError
from medseg.io.layouts.published.dataset_json import declared_channels, declared_labels
from medseg.models.nnunet.configuration import from_nnunet, to_nnunet
from medseg.planning.recipe import inference_recipe, training_recipe
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan

_PLANS_NAME = "medsegPlans"
_LABEL_MANAGER = "LabelManager"
_PICTURES = "NaturalImage2DIO"  # nnU-Net's reader of formats that store no spacing
_AS_STORED = "SimpleITKIO"
_REORIENTED = "NibabelIOWithReorient"
_READERS = {
    _AS_STORED: "stored",
    "NibabelIO": "stored",
    _PICTURES: "stored",
    "Tiff3DIO": "stored",
    _REORIENTED: "canonical",
    "SimpleITKIOWithReorient": "canonical",
}
"""nnU-Net's readers, and the axis order that they return; two of them bring every scan to R, A, S, as medseg does."""
_SPACING_RULES = {_PICTURES: "one", "Tiff3DIO": "nnunet", "NibabelIO": "nnunet", _REORIENTED: "nnunet"}
"""`data.spacing_rule` of plans with these readers (nnunetv2/imageio): NaturalImage2DIO always says 1, Tiff3DIO takes
CASE.json beside the scan, else 1, and the NIfTI readers take the header's numbers, whatever their unit; SimpleITK turns
them into mm."""
_DATASET_KEYS = ("channel_names", "modality", "labels", "regions_class_order", "numTraining")


def plan_from_nnunet(plans: Mapping[str, Any], dataset: Mapping[str, Any], only: str | None = None) -> Plan:
    """Return the plan that means the same as an nnU-Net v2 plans.json and dataset.json.

    Args:
        plans: the content of plans.json, of any release of v2.
        dataset: the content of dataset.json.
        only: leave out all configurations but this one and those that it needs.

    Returns:
        The plan; its axis order is that of the nnU-Net plan's reader.

    Raises:
        ModelError: something is missing in plans.json, or has no counterpart in medseg; the message names it.
        DataError: dataset.json does not declare channels or labels.
    """
    with _complete("The nnU-Net plan"):
        values = _plan_values(plans, dataset, only)
    return validate_plan(values, {}, "the nnU-Net plan")


def needed_configurations(configurations: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return a configuration and those that it inherits from or whose answer it takes, itself first.

    Args:
        configurations: all of the nnU-Net plan.
        name: the configuration.

    Raises:
        ModelError: the nnU-Net plan lacks one of them.
    """
    needed = [name]
    for current in needed:  # grows while it is read
        if current not in configurations:
            names = ", ".join(configurations)
            raise ModelError(f"The nnU-Net plan has no configuration {current!r}; it has {names}.")
        others = (configurations[current].get(key) for key in ("inherits_from", "previous_stage"))
        needed.extend(other for other in others if other is not None and other not in needed)
    return needed


def _plan_values(plans: Mapping[str, Any], dataset: Mapping[str, Any], only: str | None) -> dict[str, Any]:
    rest = deepcopy(dict(plans))
    nnunet_configurations = rest.pop("configurations")
    if not isinstance(nnunet_configurations, dict) or not nnunet_configurations:
        raise ModelError(
            f"The nnU-Net plan's configurations are {nnunet_configurations!r}.", "Expected names with their values."
        )
    configurations, unused = {}, {}
    names = list(nnunet_configurations)
    if only is not None:
        names = sorted(needed_configurations(nnunet_configurations, only), key=names.index)
    for name in names:
        with _complete(f"The configuration {name} of the nnU-Net plan"):
            configurations[name], unused[name] = from_nnunet(nnunet_configurations, name)
    if "foreground_intensity_properties_by_modality" in rest:  # its name in the first releases
        older = rest.pop("foreground_intensity_properties_by_modality")
        rest.setdefault("foreground_intensity_properties_per_channel", older)
    intensities = rest.pop("foreground_intensity_properties_per_channel")
    patches = [values["patch_voxels"] for values in configurations.values() if "patch_voxels" in values]
    flat = all(len(patch) == 2 for patch in patches) and rest["original_median_shape_after_transp"][0] == 1
    _check_transpositions(rest)
    training, _ = training_recipe("gpu", 3)
    default = only or ("3d_fullres" if "3d_fullres" in configurations else next(iter(configurations)))
    return {
        "name": str(rest.pop("dataset_name")),
        "made_by": f"medseg {__version__}, from nnU-Net v2 plans",
        "request": {"planner": "default", "memory_gb": None, "preset": "gpu"},
        "data": {
            "folder": ".",
            "layout": "nnunet",
            "dimensions": 2 if flat else 3,
            "channels": list(declared_channels(dataset, "the nnU-Net dataset.json")),
            "cases": dataset.get("numTraining", 0),
            "patient_pattern": None,
            "spacing_known": rest.get("image_reader_writer") != _PICTURES,
            "spacing_rule": _SPACING_RULES.get(rest.get("image_reader_writer", _AS_STORED), "files"),
            "intensities": [dict(intensities[str(number)]) for number in range(len(intensities))],
            "structure_cases": {},
            "structure_volume": {},
        },
        "labels": declared_labels(dataset, "the nnU-Net dataset.json", trained=True).model_dump(),
        "orientation": _orientation(rest),
        "transpose_forward": rest.pop("transpose_forward"),
        "default_configuration": default,
        "configurations": configurations,
        "training": training,
        "inference": inference_recipe(),
        "nnunet": {
            "plans": rest,
            "configurations": unused,
            "dataset": {key: value for key, value in dataset.items() if key not in _DATASET_KEYS},
        },
    }


def _check_transpositions(plans: Mapping[str, Any]) -> None:
    """Refuse a plan whose answers would not come back in the order of axes that scans have.

    Raises:
        ModelError: `transpose_backward` does not undo `transpose_forward`.
    """
    there, back = plans["transpose_forward"], plans.get("transpose_backward")
    if back is not None and [there[axis] for axis in back] != sorted(there):
        raise ModelError(
            f"The nnU-Net plan's transpose_backward {back} does not undo its transpose_forward {there}.",
            "Copy plans.json again from where the model was trained.",
        )


def _orientation(plans: Mapping[str, Any]) -> str:
    """Return the axis order that the network saw: that of the plan's reader."""
    reader, manager = plans.get("image_reader_writer", _AS_STORED), plans.get("label_manager", _LABEL_MANAGER)
    if reader not in _READERS:
        raise ModelError(
            f"The nnU-Net plan's image_reader_writer {reader!r} is not one of nnU-Net's own: {', '.join(_READERS)}.",
            "The axis order that it returns is not known. Name in plans.json the one that does the same.",
        )
    if manager != _LABEL_MANAGER:
        raise ModelError(f"The nnU-Net plan's label_manager {manager!r} is not nnU-Net's own {_LABEL_MANAGER}.")
    return _READERS[reader]


def plan_to_nnunet(plan: Plan) -> dict[str, Any]:
    """Return the plans.json of a plan, with the values that were kept of the nnU-Net plan that it came from.

    Raises:
        ModelError: nnU-Net does not have a network.
    """
    original = plan.nnunet
    configurations = {}
    for name, configuration in plan.configurations.items():
        identity = (
            {}
            if "inherits" in configuration
            else {"data_identifier": f"{_PLANS_NAME}_{name}", "preprocessor_name": "DefaultPreprocessor"}
        )
        kept_here = original.get("configurations", {}).get(name)
        configurations[name] = {**to_nnunet(configuration), **(identity if kept_here is None else deepcopy(kept_here))}
    order = plan.transpose_forward
    intensities = {str(number): channel.model_dump() for number, channel in enumerate(plan.data.intensities)}
    finest = plan.configuration(plan.default_configuration)
    missing = [1.0] * (3 - finest.dimensions)
    reader = _REORIENTED if plan.orientation == "canonical" else _AS_STORED
    usual = {
        "plans_name": _PLANS_NAME,
        "original_median_spacing_after_transp": [*missing, *finest.spacing_mm],
        "original_median_shape_after_transp": [*missing, *finest.median_shape_voxels],
        "image_reader_writer": reader if plan.data.spacing_known else _PICTURES,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": _LABEL_MANAGER,
    }
    return {
        **({} if "plans" in original else usual),
        "dataset_name": plan.name,
        "transpose_forward": order,
        "transpose_backward": [order.index(axis) for axis in range(len(order))],
        "configurations": configurations,
        "foreground_intensity_properties_per_channel": intensities,
        **deepcopy(original.get("plans", {})),
    }


@contextmanager
def _complete(what: str) -> Iterator[None]:
    """Turn a missing key, or a value of an unexpected kind, into an error that names it."""
    try:
        yield
    except KeyError as error:
        raise ModelError(f"{what} has no key {error}.", "Expected plans.json as nnU-Net v2 writes it.") from None
    except (TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        raise ModelError(f"{what} is not valid: {error}.", "Expected plans.json as nnU-Net v2 writes it.") from None
