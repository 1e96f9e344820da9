"""Make a plan from facts about a data set: the proposals of the rules and their reasons, in the form of a plan file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medseg import __version__
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.core.sides import sided_pair
from medseg.planning.recipe import (
    CPU_MEMORY_GB,
    for_short_runs,
    inference_recipe,
    rotation_limits,
    training_recipe,
)
from medseg.planning.rules import ConfigurationProposal, DatasetFacts, Proposal, propose
from medseg.plans.file import validate_plan
from medseg.plans.problems import validation_message
from medseg.plans.schema import Plan
from medseg.plans.sections.data import Data, Request

_LARGEST_ROTATION_WITH_SIDES = 30.0
"""Limit in degrees if structures have sides: rotated further, a left one lies where a right one does."""
_RESAMPLING = {
    "resample_image": {"order": 3, "order_across": 0, "separate_axis": None},
    "resample_label": {"order": 1, "order_across": 0, "separate_axis": None},
    "resample_logits": {"order": 1, "order_across": 0, "separate_axis": None},
}
"""nnU-Net v2's: `determine_resampling` and `determine_segmentation_softmax_export_fn` of its default planner."""


def plan_from_fingerprint(
    fingerprint: DatasetFacts | Mapping[str, Any],
    planner: str = "default",
    memory_gb: float | None = None,
    preset: str = "gpu",
) -> Plan:
    """Return the plan for a data set that is described by facts alone, without any file.

    With the preset `gpu` its figures equal those of nnU-Net.

    Args:
        fingerprint: `DatasetFacts`, or a mapping with `spacings` (z, y, x; mm), `shapes_after_crop` (voxels), `cases`
            (a number), `structures` (a number, without background), `channels` (names) and, optionally,
            `median_relative_size_after_crop`.
        planner: `default`, `resenc-m`, `resenc-l` or `resenc-xl`.
        memory_gb: GPU memory to plan for, in GB; None for the planner's own.
        preset: `gpu` or `cpu`.

    Raises:
        PlanError: facts are missing, or no plan follows from the facts and the request.

    >>> plan = plan_from_fingerprint({"spacings": [(1.0, 1.0, 1.0)], "shapes_after_crop": [(40, 50, 35)],
    ...                               "cases": 1, "structures": 2, "channels": ["MRI"]})
    >>> plan.configuration("3d_fullres").patch_voxels
    [40, 56, 40]
    """
    facts = fingerprint if isinstance(fingerprint, DatasetFacts) else _facts(fingerprint)
    structures = facts.n_outputs - 1
    labels = Labels(structures={f"structure_{number}": number for number in range(1, structures + 1)})
    data = Data(
        folder=".",
        layout="pairs",
        dimensions=2 if all(1 in shape for shape in facts.shapes_voxels) else 3,
        channels=list(facts.channel_names),
        cases=facts.n_cases,
        patient_pattern=None,
        spacing_known=True,
        intensities=[],
        structure_cases={},
        structure_volume={},
    )
    try:
        request = Request(planner=planner, memory_gb=memory_gb, preset=preset)  # type: ignore[arg-type]
    except ValueError as error:
        raise PlanError(validation_message(error)) from None
    return make_plan("unnamed", facts, data, labels, request, "canonical")


def make_plan(name: str, facts: DatasetFacts, data: Data, labels: Labels, request: Request, orientation: str) -> Plan:
    """Return the plan that the rules make for a data set.

    Args:
        name: name of the plan.
        facts: the facts that the rules depend on.
        data: the plan's section on the data set.
        labels: the structures.
        request: planner, memory, preset and options.
        orientation: `canonical` or `stored`.

    Raises:
        PlanError: no plan follows from the facts and the request.
    """
    memory = request.memory_gb
    if memory is None and request.preset == "cpu":
        memory = CPU_MEMORY_GB
    try:
        proposal = propose(facts, request.planner, memory, bool(request.options.get("cascade")))
    except ValueError as error:
        raise PlanError(str(error)) from None
    reasons = {"request.preset": _preset_reason(request), "transpose_forward": proposal.reasons["transpose"]}
    known_frame = orientation == "canonical" or data.dimensions == 2  # the columns of 2D images run sideways
    training, training_reasons = training_recipe(request.preset, data.dimensions)
    configurations, configuration_reasons = _configurations(proposal, labels, known_frame, request)
    default = "3d_fullres" if "3d_fullres" in configurations else "2d"
    reasons |= {
        **training_reasons,
        **configuration_reasons,
        "orientation": _orientation_reason(orientation),
        "default_configuration": "volumes are segmented in 3D" if default != "2d" else "the images are 2D",
    }
    values = {
        "name": name,
        "made_by": f"medseg {__version__}",
        "request": request.model_dump(),
        "data": data.model_dump(),
        "labels": labels.model_dump(),
        "orientation": orientation,
        "transpose_forward": list(proposal.transpose),
        "default_configuration": default,
        "configurations": configurations,
        "training": training,
        "inference": inference_recipe(),
    }
    return validate_plan(values, reasons, f"the plan {name!r}")


def _configurations(
    proposal: Proposal, labels: Labels, known_frame: bool, request: Request
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the configurations as the plan has them, and dotted key -> reason."""
    configurations: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for name, proposed in proposal.configurations.items():
        if proposed.inherits is not None:
            configurations[name] = {"inherits": proposed.inherits, "previous_stage": proposed.previous_stage}
            reasons_by_key = proposed.reasons
        else:
            configurations[name], reasons_by_key = _configuration(
                proposed, proposal.transpose, labels, known_frame, request
            )
        reasons |= {f"configurations.{name}.{key}": text for key, text in reasons_by_key.items()}
    return configurations, reasons


def _configuration(
    proposed: ConfigurationProposal, transpose: tuple[int, ...], labels: Labels, known_frame: bool, request: Request
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one configuration as the plan has it, and its reasons by key."""
    if request.preset == "cpu":
        proposed = for_short_runs(proposed)
    reasons = dict(proposed.reasons)
    degrees, in_plane, reasons["rotation_degrees"] = rotation_limits(proposed.patch_voxels)
    mirror, reasons["mirror_axes"] = _mirror_axes(len(proposed.patch_voxels), transpose, labels, known_frame)
    if len(mirror) < len(proposed.patch_voxels) and max(degrees) > _LARGEST_ROTATION_WITH_SIDES:
        degrees = [_LARGEST_ROTATION_WITH_SIDES]
        reasons["rotation_degrees"] = "structures have sides: a half turn and a mirror image would exchange them"
    plan_keys = {  # fields of a proposal that have another name in the plan
        "network": "network.name",
        "features": "network.features",
        "kernels": "network.kernels",
        "strides": "network.strides",
        "convs_or_blocks_per_stage": "network.blocks",
        "convs_per_stage_decoder": "network.decoder_convolutions",
    }
    values = {
        "spacing_mm": list(proposed.spacing_mm),
        "median_shape_voxels": list(proposed.median_shape_voxels),
        "patch_voxels": list(proposed.patch_voxels),
        "batch_size": proposed.batch_size,
        "batch_dice": proposed.batch_dice,
        "normalization": [{"scheme": scheme, "nonzero_only": nonzero} for scheme, nonzero in proposed.normalization],
        **{key: dict(how) for key, how in _RESAMPLING.items()},
        "rotation_degrees": degrees,
        "in_plane_only": in_plane,
        "mirror_axes": mirror,
        "network": {
            "name": proposed.network,
            "features": list(proposed.features),
            "kernels": [list(kernel) for kernel in proposed.kernels],
            "strides": [list(stride) for stride in proposed.strides],
            "blocks": list(proposed.convs_or_blocks_per_stage),
            "decoder_convolutions": list(proposed.convs_per_stage_decoder),
        },
    }
    return values, {plan_keys.get(key, key): text for key, text in reasons.items()}


def _mirror_axes(
    dimensions: int, transpose: tuple[int, ...], labels: Labels, known_frame: bool
) -> tuple[list[int], str]:
    """Return the axes of the patch that may be mirrored, and why; `known_frame`: x is known to be left to right."""
    every = list(range(dimensions))
    pair = sided_pair(labels.names)
    if pair is None:
        return every, "no structure is named after a side of the body, so every axis may be mirrored"
    named = f"{pair[0]} and {pair[1]} are told apart by their side"
    if not known_frame:
        return [], f"{named}, and axes as stored may run anywhere: no mirroring"
    sideways = transpose.index(2) - (3 - dimensions)  # where x went; 2D patches leave the first axis out
    return [axis for axis in every if axis != sideways], f"{named}: no mirroring from left to right"


def _orientation_reason(orientation: str) -> str:
    """Return what an orientation means, as the reason for it."""
    if orientation == "canonical":
        return "every scan is brought to one frame (x to the right, y to the front, z up) and answered in its own"
    return "axes stay as the files store them, as in nnU-Net"


def _preset_reason(request: Request) -> str:
    """Return what a preset means, as the reason for it."""
    if request.preset == "gpu":
        return "nnU-Net's network and recipe"
    return "no GPU was found or cpu was asked for: a network of half the width, smaller patches, a short recipe"


def _facts(fingerprint: Mapping[str, Any]) -> DatasetFacts:
    """Return the facts in a mapping that a caller of `plan_from_fingerprint` made."""
    keys = ("spacings", "shapes_after_crop", "cases", "structures", "channels")
    missing = [key for key in keys if key not in fingerprint]
    if missing:
        raise PlanError(f"The fingerprint has no {', no '.join(missing)}; it has {', '.join(fingerprint)}.")
    facts = DatasetFacts(
        spacings_mm=fingerprint["spacings"],
        shapes_voxels=fingerprint["shapes_after_crop"],
        n_cases=fingerprint["cases"],
        n_outputs=fingerprint["structures"] + 1,
        channel_names=fingerprint["channels"],
    )
    size = fingerprint.get("median_relative_size_after_crop")
    return facts if size is None else replace(facts, relative_size_after_crop=size)
