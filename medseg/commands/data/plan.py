"""`medseg plan`: inspect a data set, decide, and write the plan with its table of cases and its folds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medseg.checking.check import check_set, refuse_findings, warnings_in_short
from medseg.commands.data.levels import check_levels
from medseg.commands.data.options import PlanOptions
from medseg.core.case import Case, write_cases
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.files import finish_replacing, remove_temporaries, replacing_together
from medseg.core.labels import Labels
from medseg.core.names import name_problem, shown_name
from medseg.core.progress import Callback, silent
from medseg.core.wording import counted, summary_line
from medseg.datasets.data_options import split_pair
from medseg.datasets.find_data import find_data
from medseg.datasets.label_options import annotated_from_values, labels_of, notes_on_values
from medseg.delivery.dicom.codes import read_codes
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.plan_to_edit import save_plan
from medseg.engines.open import open_engine
from medseg.io.layouts.dataset import DataSet
from medseg.models.workspace import Workspace, cases_path, splits_path
from medseg.networks.encoders.rows import ENCODER_ROWS, check_encoder
from medseg.networks.table import find_network
from medseg.planning.annotation import check_annotated, present_and_annotated
from medseg.planning.fingerprint import Fingerprint, fingerprint_of
from medseg.planning.memory import count_outputs
from medseg.planning.network_choice import choose_network
from medseg.planning.planner import make_plan
from medseg.planning.published import PublishedSplit, numbered_folds, published_folds, published_split
from medseg.planning.rules import DatasetFacts
from medseg.planning.scan_range import scan_range
from medseg.planning.splits import Fold, make_splits, nnunet_splits, share_split, unlearnable, write_splits
from medseg.planning.survey import survey
from medseg.plans.file import load_plan, validate_plan
from medseg.plans.network_rules import DEFAULT_ENCODER
from medseg.plans.schema import Plan
from medseg.plans.sections.data import Data, Request, ScanRange
from medseg.preprocessing.normalize import check_schemes
from medseg.training.losses.class_weights import class_weights
from medseg.training.losses.table import make_loss

_NO_EXAMPLES = ("spacing", "shape", "intensity", "saturation", "empty channel")
"""Findings on cases that are no example of what scans are like."""
_LIKE_CT = -50.0
"""A structure with values this low looks like CT: MR is not negative, fat in CT is around -100 HU."""


@dataclass(frozen=True)
class PlanResult:
    """A plan that was made.

    Attributes:
        plan: the plan.
        path: its file.
        cases_path: the table of its cases.
        splits_path: the folds of its cross-validation.
        notes: sentences for the user.
        failed: {case: why it is left out}.
    """

    plan: Plan
    path: Path
    cases_path: Path
    splits_path: Path
    notes: list[str]
    failed: dict[str, str]

    def __repr__(self) -> str:
        configurations = ", ".join(self.plan.configurations)
        return summary_line(
            self,
            self.path,
            counted(self.plan.data.cases, "case"),
            f"configurations {configurations}",
            failed=self.failed,
        )


def plan(
    data: str | Path,
    workspace: str | Path = ".",
    name: str | None = None,
    options: PlanOptions | None = None,
    callback: Callback = silent,
) -> PlanResult:
    """Inspect a data set and write `plans/NAME.yaml`, `.cases.csv` and `.splits.json`.

    Args:
        data: the folder of the data set.
        workspace: where `plans/` lies.
        name: the name of the plan; None for that of the folder.
        options: how to read the data set, and what to plan; None for the defaults.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        The plan, its files, notes, and {case: why it is left out}.

    Raises:
        MedsegError: the folder is not a data set, or no plan fits the options.
    """
    options = options or PlanOptions()
    _check_choices(options)
    folder, home = Path(data), Workspace(Path(workspace))
    path = home.plans / f"{_checked_name(name) if name else _name_of(folder)}.yaml"
    finish_replacing(home.plans)
    if path.exists() and not options.replace:
        raise PlanError(f"There is a plan {path} already.", "Choose another --name, or --force to replace it.")
    data_set = find_data(folder, options.data, cases_path(path), _left_out(path))
    data_set, published = _published(data_set, options.splits)
    orientation: Literal["canonical", "stored"] = "stored" if options.orientation == "stored" else "canonical"
    with open_engine(options.cluster, callback) as engine:
        surveyed = survey(data_set, orientation, callback, engine)
    findings = check_set(data_set, surveyed, orientation, options.data.annotated_from_values)
    if options.strict:
        refuse_findings(findings, folder)
    fingerprint = fingerprint_of(surveyed.without(findings), data_set, orientation)
    _check_units(fingerprint)
    labels = labels_of(data_set, fingerprint.values, options.data)
    if options.data.annotated_from_values:
        data_set = annotated_from_values(data_set, fingerprint, labels)
    odd = {finding.case for finding in findings if finding.kind in _NO_EXAMPLES}
    scans = scan_range(fingerprint.cases, odd)
    new_plan = _make_plan(path.stem, home, data_set, fingerprint, labels, options, scans)
    of_levels = check_levels(new_plan)
    readable = {facts.id for facts in fingerprint.cases}
    cases = [case for case in data_set.cases if case.id in readable]
    check_annotated(cases, labels)
    folds, folds_note = _folds(cases, fingerprint.structures_of(labels), options, published)
    if published:
        new_plan.reasons["data.cases"] = f"the data set's own split: {published.sentence}"
    _write(path, new_plan, cases, folds, data_set.folder)
    notes = [*data_set.problems, *surveyed.notes, *notes_on_values(data_set, labels, fingerprint.values), folds_note]
    notes += _notes_on_channels(new_plan)
    notes += of_levels
    notes += unlearnable(folds, cases, fingerprint.structures_of(labels))
    notes += warnings_in_short(findings, folder)
    return PlanResult(new_plan, path, cases_path(path), splits_path(path), notes, fingerprint.problems)


def _write(path: Path, plan: Plan, cases: list[Case], folds: Sequence[Fold], folder: Path) -> None:
    """Write a plan with its cases and folds, all of them or none."""
    remove_temporaries(path.parent)
    with replacing_together(path.parent, path.stem) as staging:
        write_cases(cases_path(staging / path.name), cases, folder)
        write_splits(splits_path(staging / path.name), folds)
        save_plan(plan, staging / path.name)
    write_readme(path.parent, "plans")


def _check_choices(options: PlanOptions) -> None:
    """Refuse a preset, kind of splits, share or orientation that does not exist.

    Raises:
        PlanError: an option has another value, or two options contradict each other.
    """
    choices = {
        "preset": ("auto", "gpu", "cpu"),
        "splits": ("auto", "grouped", "nnunet"),
        "orientation": ("canonical", "stored"),
    }
    for key, valid in choices.items():
        if getattr(options, key) not in valid:
            raise PlanError(f"{key} is {getattr(options, key)!r}; valid are {', '.join(valid)}.")
    if options.validation is None:
        return
    if not 0 < options.validation < 1:
        raise PlanError(f"--validation is {options.validation:g}; expected a share of the cases, such as 0.2.")
    if options.splits == "nnunet":
        raise PlanError("--validation makes one fold and --splits nnunet makes five.", "Leave one of them out.")


def _check_units(fingerprint: Fingerprint) -> None:
    """Refuse data sets with some cases of unknown spacing: millimetres and pixels cannot be planned together.

    Raises:
        DataError: some cases have a spacing, and others do not.
    """
    known = [case.id for case in fingerprint.cases if case.spacing_known]
    unknown = [case.id for case in fingerprint.cases if not case.spacing_known]
    if known and unknown:
        raise DataError(
            f"The size of a voxel is known in {counted(len(known), 'case')} (such as {known[0]}) and not known in "
            f"{len(unknown)} (such as {unknown[0]}).",
            "Convert them to one format, or leave one kind out with --exclude IDS.txt.",
        )


def _left_out(path: Path) -> list[str]:
    """Return the cases that an earlier plan of this name could not use: they are looked at again."""
    try:
        return load_plan(path).data.left_out if path.exists() else []
    except MedsegError:
        return []  # a plan that cannot be read is about to be replaced


def _checked_name(name: str) -> str:
    """Return the name of a plan.

    Raises:
        PlanError: it cannot be the name of a file.
    """
    problem = name_problem(name)
    if problem or not re.fullmatch(r"[\w][\w. -]*", name):
        why = f"it {problem}" if problem else "letters, digits, '-', '_' and '.' can"
        raise PlanError(f"{shown_name(name)} cannot be the name of a plan: {why}.")
    return name


def _name_of(folder: Path) -> str:
    """Return the name of a folder as the name of a plan, without nnU-Net's or the Decathlon's number."""
    name = re.sub(r"[^\w-]+", "_", folder.resolve().name)
    return re.sub(r"^(Dataset|Task)\d+_", "", name) or "dataset"


def _notes_on_channels(plan: Plan) -> list[str]:
    """Return a note on each channel that looks like CT but is not named CT: the name decides the normalization."""
    configuration = plan.configuration(plan.default_configuration)
    return [
        f"the channel {channel} reaches down to {intensity.min:g} in the structures, as CT does; if it is CT, plan "
        f"with --normalization {channel}=ct"
        for channel, intensity, how in zip(
            plan.data.channels, plan.data.intensities, configuration.normalization, strict=True
        )
        if how.scheme == "zscore" and intensity.min <= _LIKE_CT and not how.nonzero_only
    ]


def _make_plan(
    name: str,
    workspace: Workspace,
    data_set: DataSet,
    fingerprint: Fingerprint,
    labels: Labels,
    options: PlanOptions,
    scans: ScanRange,
) -> Plan:
    """Return the plan that the rules make of a data set, with what the user asks for in place of their decisions."""
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
        left_out=sorted(fingerprint.problems),
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
        configuration = changed.configuration(name)
        check_schemes(configuration, name)
        find_network(configuration)
        if configuration.network.name in ENCODER_ROWS:
            check_encoder(configuration.network.encoder or DEFAULT_ENCODER)
        make_loss(changed.training, changed.labels, configuration.batch_dice, class_weights=class_weights(changed))
    return changed


def _published(data_set: DataSet, kind: str) -> tuple[DataSet, PublishedSplit | None]:
    """Return the data set without the test cases of its own split, and that split; None if it has none.

    With `--splits grouped` the split is not used, and a note says so.
    """
    try:
        split = published_split(data_set.cases)
    except DataError:
        if kind != "grouped":
            raise
        split = None
    if split is None:
        return data_set, None
    if kind == "grouped":
        note = f"the data set's own split is not used, as asked for: {split.sentence.replace('kept out', 'trained on')}"
        return replace(data_set, problems=[*data_set.problems, note]), None
    cases = [case for case in data_set.cases if case.id not in split.test]
    note = f"the data set's own split: {split.sentence}; --splits grouped does not use it"
    return replace(data_set, cases=cases, problems=[*data_set.problems, note]), split


def _folds(
    cases: list[Case], structures: Mapping[str, Collection[str]], options: PlanOptions, published: PublishedSplit | None
) -> tuple[list[Fold], str]:
    """Return the folds (a share, nnU-Net's, as published, or grouped by patient) and a note on how they were made."""
    if options.validation is not None:
        return share_split(cases, structures, options.validation)
    if options.splits == "nnunet":
        return nnunet_splits([case.id for case in cases]), "nnU-Net's five folds"
    numbered = numbered_folds(cases) if published is None or not published.val else None
    if numbered is not None and options.splits != "grouped":
        return numbered
    if published is not None:
        return published_folds(published, cases, structures)
    folds, why = make_splits(cases, structures)
    return folds, f"{why}; the data set's own folds are not used, as asked for" if numbered else why


def _preset() -> str:
    """Return the preset for this machine."""
    import torch

    return "gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu"
