"""From a data set that was read, and what the user asks for, to a plan."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.commands.data.names_in_plan import check_names
from medseg.commands.data.options import PlanOptions
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.core.machine.gpu_drivers import can_have_gpu
from medseg.datasets.data_options import split_pair
from medseg.delivery.dicom.codes import read_codes
from medseg.io.layouts.dataset import DataSet, left_out_by_layout
from medseg.models.workspace import Workspace
from medseg.planning.annotation import present_and_annotated
from medseg.planning.fingerprint import Fingerprint
from medseg.planning.memory import count_outputs
from medseg.planning.network_choice import choose_network
from medseg.planning.planner import make_plan
from medseg.planning.rules import DatasetFacts
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan
from medseg.plans.sections.data import Data, Request, ScanRange
from medseg.preprocessing.normalize import check_schemes


def new_plan(
    name: str,
    workspace: Workspace,
    data_set: DataSet,
    fingerprint: Fingerprint,
    labels: Labels,
    options: PlanOptions,
    scans: ScanRange,
) -> Plan:
    """Return the plan that the rules make of a data set, with what the user asks for in place of their decisions.

    Args:
        name: the name of the plan.
        workspace: plans name the folder of the data set relative to it.
        data_set: the data set.
        fingerprint: the fingerprint of the data set.
        labels: the structures.
        options: what the user asks for.
        scans: what scans like those of the data set are like.

    Raises:
        PlanError: no plan fits the options.
    """
    preset: Any = _preset() if options.preset == "auto" else options.preset
    requested = options.data.given()
    requested |= {key: list(getattr(options, key)) for key in ("normalization", "overrides") if getattr(options, key)}
    network_keys = ("network", "encoder", "weights")
    requested |= {key: getattr(options, key) for key in network_keys if getattr(options, key) is not None}
    if options.splits != "auto":
        requested["splits"] = options.splits
    if options.validation is not None:
        requested["validation"] = options.validation
    if options.cascade:
        requested["cascade"] = True
    if options.default_configuration:
        requested["default_configuration"] = options.default_configuration
    request = Request(planner=options.planner, memory_gb=options.memory_gb, preset=preset, options=requested)
    facts = DatasetFacts(
        spacings_mm=[case.spacing_mm for case in fingerprint.cases],
        shapes_voxels=[case.cropped_voxels for case in fingerprint.cases],
        n_cases=len(fingerprint.cases),
        n_outputs=count_outputs(len(labels.structures), labels.ignore is not None),
        channel_names=data_set.channels,
        relative_size_after_crop=fingerprint.relative_size,
    )
    data = _data_section(workspace, data_set, fingerprint, labels, options)
    data.scans = scans
    made = make_plan(name, facts, data, labels, request, options.orientation)
    return _overridden(made, replace(options, weights=_weights(workspace, options.weights)))


def _weights(workspace: Workspace, weights: str | None) -> str | None:
    """Return `--weights` as plans name it: a file relative to the workspace, or the name of weights of the library.

    Raises:
        PlanError: it is a path, and no file is there.
    """
    if weights is None or re.fullmatch(r"[\w-]+", weights):
        return weights
    if not Path(weights).is_file():
        raise PlanError(f"--weights is {weights!r}, and there is no such file.", "Give the path of a file of weights.")
    return workspace.relative(Path(weights))


def _data_section(
    workspace: Workspace, data_set: DataSet, fingerprint: Fingerprint, labels: Labels, options: PlanOptions
) -> Data:
    """Return the plan's section `data`: what is known of the data set."""
    present = present_and_annotated(fingerprint.structures_of(labels), data_set.cases)
    cases_with = {name: [case for case in fingerprint.cases if name in present[case.id]] for name in labels.names}
    mean_volume = {  # in ml; in voxels where the spacing is unknown
        name: sum(case.voxels.get(value, 0) * (case.voxel_ml or 1) for case in cases for value in labels.members[name])
        / max(len(cases), 1)
        for name, cases in cases_with.items()
    }
    volumes = [
        sum(count for value, count in case.voxels.items() if value != labels.ignore) * (case.voxel_ml or 1)
        for case in fingerprint.cases
    ]
    return Data(
        folder=workspace.relative(data_set.folder),
        layout=data_set.layout,
        dimensions=2 if fingerprint.is_2d else 3,
        channels=list(data_set.channels),
        cases=len(fingerprint.cases),
        patient_pattern=options.data.patient_pattern,
        spacing_known=fingerprint.spacing_known,
        intensities=fingerprint.intensities,
        structure_cases={name: len(cases) for name, cases in cases_with.items()},
        structure_volume={name: float(f"{value:.6g}") for name, value in mean_volume.items()},
        scan_volume=float(f"{sum(volumes) / len(volumes):.6g}"),
        reading=data_set.reading,
        left_out=sorted({*fingerprint.problems, *left_out_by_layout(data_set.problems)}),
        series_rules=list(data_set.series_rules),
    )


def _overridden(plan: Plan, options: PlanOptions) -> Plan:
    """Return a plan with what the user asks for in place of what the rules say.

    Raises:
        PlanError: a channel or key does not exist, or a value is not valid.
    """
    values, reasons = plan.model_dump(mode="json"), dict(plan.reasons)
    if options.network is not None:
        choose_network(values, reasons, options.network, options.encoder, options.weights)
    elif options.encoder is not None or options.weights is not None:
        raise PlanError(
            "--encoder and --weights are about the network that --network names, and none was named.",
            "Name one that has an encoder: --network smp_unet.",
        )
    for text in options.normalization:
        channel, scheme = split_pair(text, "--normalization FLAIR=zscore")
        if channel not in plan.data.channels:
            raise PlanError(f"There is no channel {channel!r}; there are {', '.join(plan.data.channels)}.")
        for name, configuration in values["configurations"].items():
            if "normalization" in configuration:
                normalization = configuration["normalization"][plan.data.channels.index(channel)]
                normalization.update(scheme=scheme, nonzero_only=normalization["nonzero_only"] and scheme == "zscore")
                reasons[f"configurations.{name}.normalization"] = f"{channel}: {scheme}, as asked for"
    if options.cascade:
        values["default_configuration"] = "3d_cascade_fullres"
        reasons["default_configuration"] = "a cascade was asked for"
    if options.default_configuration:
        values["default_configuration"] = options.default_configuration
        reasons["default_configuration"] = "as asked for"
    if options.codes:
        values["codes"] = {name: coding.model_dump(mode="json") for name, coding in read_codes(options.codes).items()}
        reasons["codes"] = "as asked for"
    changed = validate_plan(values, reasons, f"the plan {plan.name!r}", options.overrides, "as asked for")
    for name in changed.configurations:
        check_schemes(changed.configuration(name), name)
    check_names(changed)
    return changed


def _preset() -> str:
    """Return the preset for this machine."""
    if not can_have_gpu():
        return "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu"
