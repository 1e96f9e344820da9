"""`medseg plan`: look at a data set, decide, and write the plan with its table of cases and its folds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.checking.check import check_set, refuse_findings, warnings_in_short
from medseg.commands.data.options import PlanOptions
from medseg.core.case import Case, write_cases
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.labels import Labels
from medseg.core.progress import Callback, silent
from medseg.core.wording import counted
from medseg.datasets.data_options import split_pair
from medseg.datasets.find_data import find_data
from medseg.datasets.label_options import annotated_from_values, settle_labels
from medseg.delivery.dicom.codes import read_codes
from medseg.io.layouts.dataset import DataSet
from medseg.models.workspace import Workspace, cases_path, splits_path
from medseg.planning.annotation import check_annotated, present_and_annotated
from medseg.planning.fingerprint import Fingerprint, fingerprint_of
from medseg.planning.memory import count_outputs
from medseg.planning.planner import make_plan
from medseg.planning.rules import DatasetFacts
from medseg.planning.splits import Fold, make_splits, nnunet_splits, write_splits
from medseg.planning.survey import survey
from medseg.plans.file import load_plan, save_plan, validate_plan
from medseg.plans.schema import Plan
from medseg.plans.sections import Data, Request

_LIKE_CT = -50.0
"""MR is not negative, fat in CT is around -100."""


@dataclass(frozen=True)
class PlanResult:
    """The plan, where it and what belongs to it lie, what is worth a note, and the cases left out with why."""

    plan: Plan
    path: Path
    cases_path: Path
    splits_path: Path
    notes: list[str]
    failed: dict[str, str]


def plan(
    data: str | Path,
    workspace: str | Path = ".",
    name: str | None = None,
    options: PlanOptions | None = None,
    callback: Callback = silent,
) -> PlanResult:
    """Inspect the data set in `data` and write `plans/<name>.yaml`, `.cases.csv` and `.splits.json`.

    Raises:
        MedsegError: the folder is no data set, or the request makes no plan.
    """
    options = options or PlanOptions()
    _check(options)
    place = Workspace(Path(workspace))
    path = place.plans / f"{_checked_name(name) if name else _name_of(Path(data))}.yaml"
    if path.exists() and not options.replace:
        raise PlanError(f"There is a plan {path} already.", "Choose another --name, or --force to replace it.")
    found = find_data(Path(data), options.data, cases_path(path), _left_out(path))
    orientation = _orientation(options)
    seen = survey(found, orientation, callback)
    findings = check_set(found, seen, orientation, options.data.annotated_from_values)
    if options.strict:
        refuse_findings(findings, Path(data))
    fingerprint = fingerprint_of(seen.without(findings), found, orientation)
    _check_units(fingerprint)
    labels = settle_labels(found, fingerprint.values, options.data)
    if options.data.annotated_from_values:
        found = annotated_from_values(found, fingerprint, labels)
    made = _make(path.stem, place, found, fingerprint, labels, options)
    readable = {facts.id for facts in fingerprint.cases}
    cases = [case for case in found.cases if case.id in readable]
    check_annotated(cases, labels)
    folds, why = _folds(cases, fingerprint, labels, options.splits)
    write_cases(cases_path(path), cases, found.folder)
    write_splits(splits_path(path), folds)
    save_plan(made, path)
    notes = [*found.problems, *seen.notes, why, *_names_that_mislead(made), *warnings_in_short(findings, Path(data))]
    return PlanResult(made, path, cases_path(path), splits_path(path), notes, fingerprint.problems)


def _check(options: PlanOptions) -> None:
    choices = {
        "preset": ("auto", "gpu", "cpu"),
        "splits": ("grouped", "nnunet"),
        "orientation": ("canonical", "stored"),
    }
    for key, valid in choices.items():
        if getattr(options, key) not in valid:
            raise PlanError(f"{key} is {getattr(options, key)!r}; valid are {', '.join(valid)}.")


def _check_units(fingerprint: Fingerprint) -> None:
    known = [case.id for case in fingerprint.cases if case.spacing_known]
    unknown = [case.id for case in fingerprint.cases if not case.spacing_known]
    if known and unknown:
        raise DataError(
            f"How large a voxel is stands in {counted(len(known), 'case')} (such as {known[0]}) and not in "
            f"{len(unknown)} (such as {unknown[0]}).",
            "Bring them to one format, or leave one kind out with --exclude.",
        )


def _left_out(path: Path) -> list[str]:
    """The cases that an earlier plan of this name could not use."""
    try:
        return load_plan(path).data.left_out if path.exists() else []
    except MedsegError:
        return []  # a plan that cannot be read is about to be replaced


def _orientation(options: PlanOptions) -> Literal["canonical", "stored"]:
    return "stored" if options.orientation == "stored" else "canonical"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w][\w. -]*", name):
        raise PlanError(f"{name!r} cannot be the name of a plan: letters, digits, '-', '_' and '.' can.")
    return name


def _name_of(folder: Path) -> str:
    name = re.sub(r"[^\w-]+", "_", folder.resolve().name)
    return re.sub(r"^(Dataset|Task)\d+_", "", name) or "dataset"


def _names_that_mislead(made: Plan) -> list[str]:
    """A note on channels that look like CT and are not called so, as the name decides how they are normalized."""
    configuration = made.configuration(made.default_configuration)
    return [
        f"the channel {channel} reaches down to {intensity.min:g} in the structures, as CT does; if it is CT, plan "
        f"with --normalization {channel}=ct"
        for channel, intensity, how in zip(
            made.data.channels, made.data.intensities, configuration.normalization, strict=True
        )
        if how.scheme == "zscore" and intensity.min <= _LIKE_CT and not how.nonzero_only
    ]


def _make(
    name: str, place: Workspace, found: DataSet, fingerprint: Fingerprint, labels: Labels, options: PlanOptions
) -> Plan:
    preset: Any = _preset() if options.preset == "auto" else options.preset
    asked = options.data.asked()
    asked |= {key: list(getattr(options, key)) for key in ("normalization", "overrides") if getattr(options, key)}
    if options.splits != "grouped":
        asked["splits"] = options.splits
    if options.cascade:
        asked["cascade"] = True
    if options.default_configuration:
        asked["default_configuration"] = options.default_configuration
    request = Request(planner=options.planner, memory_gb=options.memory_gb, preset=preset, options=asked)
    facts = DatasetFacts(
        spacings_mm=[case.spacing_mm for case in fingerprint.cases],
        shapes_voxels=[case.cropped_voxels for case in fingerprint.cases],
        n_cases=len(fingerprint.cases),
        n_outputs=count_outputs(len(labels.structures), labels.ignore is not None),
        channel_names=found.channels,
        relative_size_after_crop=fingerprint.relative_size,
    )
    made = make_plan(
        name, facts, _data(place, found, fingerprint, labels, options), labels, request, options.orientation
    )
    return _overridden(made, options)


def _data(place: Workspace, found: DataSet, fingerprint: Fingerprint, labels: Labels, options: PlanOptions) -> Data:
    present = present_and_annotated(fingerprint.structures_of(labels), found.cases)
    having = {name: [case for case in fingerprint.cases if name in present[case.id]] for name in labels.names}
    volume = {
        name: sum(case.voxels.get(value, 0) * (case.voxel_ml or 1) for case in cases for value in labels.members[name])
        / max(len(cases), 1)
        for name, cases in having.items()
    }
    return Data(
        folder=place.relative(found.folder),
        layout=found.layout,
        dimensions=2 if fingerprint.is_2d else 3,
        channels=list(found.channels),
        cases=len(fingerprint.cases),
        patient_pattern=options.data.patient_pattern,
        spacing_known=fingerprint.spacing_known,
        intensities=fingerprint.intensities,
        structure_cases={name: len(cases) for name, cases in having.items()},
        structure_volume={name: float(f"{value:.6g}") for name, value in volume.items()},
        reading=found.reading,
        left_out=sorted(fingerprint.problems),
        series_rules=list(found.series_rules),
    )


def _overridden(made: Plan, options: PlanOptions) -> Plan:
    """The plan with what the user asked for instead of what the rules say."""
    values, reasons = made.model_dump(mode="json"), dict(made.reasons)
    for text in options.normalization:
        channel, scheme = split_pair(text, "--normalization FLAIR=zscore")
        if channel not in made.data.channels:
            raise PlanError(f"There is no channel {channel!r}; there are {', '.join(made.data.channels)}.")
        for name, configuration in values["configurations"].items():
            if "normalization" in configuration:
                how = configuration["normalization"][made.data.channels.index(channel)]
                how.update(scheme=scheme, nonzero_only=how["nonzero_only"] and scheme == "zscore")
                reasons[f"configurations.{name}.normalization"] = f"{channel}: {scheme}, as asked for"
    if options.cascade:
        values["default_configuration"] = "3d_cascade_fullres"
        reasons["default_configuration"] = "a cascade was asked for"
    if options.default_configuration:
        values["default_configuration"] = options.default_configuration
        reasons["default_configuration"] = "as asked for"
    if options.codes:
        values["codes"] = {name: one.model_dump(mode="json") for name, one in read_codes(options.codes).items()}
        reasons["codes"] = "as asked for"
    return validate_plan(values, reasons, f"the plan {made.name!r}", options.overrides, "as asked for")


def _folds(cases: list[Case], fingerprint: Fingerprint, labels: Labels, kind: str) -> tuple[list[Fold], str]:
    if kind == "nnunet":
        return nnunet_splits([case.id for case in cases]), "nnU-Net's five folds"
    return make_splits(cases, fingerprint.structures_of(labels))


def _preset() -> str:
    import torch

    return "gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu"
