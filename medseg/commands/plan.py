"""`medseg plan`: look at a data set, decide, and write the plan with its table of cases and its folds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from medseg.case import Case, read_cases, write_cases
from medseg.commands.workspace import Workspace, cases_path, splits_path
from medseg.errors import DataError, PlanError
from medseg.io.dataset import DataSet, assign_patients
from medseg.io.layouts import find_cases, infer_labels
from medseg.labels import Labels
from medseg.plan_file import last_line, override, save_plan, validate_plan
from medseg.planning.fingerprint import Fingerprint, take_fingerprint
from medseg.planning.memory import count_outputs
from medseg.planning.planner import make_plan
from medseg.planning.rules import DatasetFacts
from medseg.planning.splits import Fold, make_splits, nnunet_splits, write_splits
from medseg.progress import Callback, silent
from medseg.schema import Plan
from medseg.sections import Data, Request


@dataclass(frozen=True)
class PlanOptions:
    """What may be asked of a plan.

    Attributes:
        planner: `default` (plain U-Net), `resenc-m`, `resenc-l` or `resenc-xl`.
        memory_gb: GPU memory to plan for; None for the planner's own, or the preset's.
        preset: `gpu`, `cpu`, or `auto`: cpu where there is no GPU.
        default_configuration: None for 3d_fullres, or 2d for images.
        structures: `name=value` strings, where the data set does not declare them.
        normalization: `channel=scheme` strings.
        patient_pattern: regular expression that finds the patient in a case's id.
        splits: `grouped` or `nnunet`.
        orientation: `canonical` or `stored`.
        exclude: text file of case ids to leave out, one a line.
        overrides: `dotted.key=value` strings for the plan.
        replace: overwrite a plan of the same name.
    """

    planner: str = "default"
    memory_gb: float | None = None
    preset: str = "auto"
    default_configuration: str | None = None
    structures: Sequence[str] = ()
    normalization: Sequence[str] = ()
    patient_pattern: str | None = None
    splits: str = "grouped"
    orientation: str = "canonical"
    exclude: Path | None = None
    overrides: list[str] = field(default_factory=list)
    replace: bool = False


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
    found = _find(Path(data), options, cases_path(path))
    fingerprint = take_fingerprint(found, _orientation(options), callback)
    _check_units(fingerprint)
    labels = found.labels or infer_labels(fingerprint.values)
    made = _make(path.stem, place, found, fingerprint, labels, options)
    readable = {facts.id for facts in fingerprint.cases}
    cases = [case for case in found.cases if case.id in readable]
    folds, why = _folds(cases, fingerprint, labels, options.splits)
    write_cases(cases_path(path), cases, found.folder)
    write_splits(splits_path(path), folds)
    save_plan(made, path)
    notes = [*found.problems, why]
    return PlanResult(made, path, cases_path(path), splits_path(path), notes, fingerprint.problems)


def parse_memory(text: str | None) -> float | None:
    """`24GB`, `24 GiB` or `24` to 24.0.

    Raises:
        PlanError: it is not an amount of memory.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:g|gb|gib)?", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise PlanError(f"{text!r} is not an amount of memory.", "Write it as --memory 24GB.")
    return float(match[1])


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
            f"{len(known)} cases say how large a voxel is ({known[0]}, ...), "
            f"{len(unknown)} do not ({unknown[0]}, ...).",
            "Bring them to one format, or leave one kind out with --exclude.",
        )


def _orientation(options: PlanOptions) -> Literal["canonical", "stored"]:
    return "stored" if options.orientation == "stored" else "canonical"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w][\w. -]*", name):
        raise PlanError(f"{name!r} cannot be the name of a plan: letters, digits, '-', '_' and '.' can.")
    return name


def _name_of(folder: Path) -> str:
    name = re.sub(r"[^\w-]+", "_", folder.resolve().name)
    return re.sub(r"^(Dataset|Task)\d+_", "", name) or "dataset"


def _find(folder: Path, options: PlanOptions, table: Path) -> DataSet:
    """The data set, less what the user excludes, with the structures and patients that the user names.

    A table of cases from an earlier plan of this name, which the user may have edited, says which cases there are.
    """
    found = find_cases(folder)
    cases, problems = found.cases, found.problems
    if options.exclude is not None:
        excluded = _excluded(options.exclude, {case.id for case in cases})
    if table.exists():
        cases = read_cases(table, found.folder.absolute())
        problems = [*problems, f"the cases are those of {table}; delete it to have the folder looked through anew"]
    if options.exclude is not None:
        cases = [case for case in cases if case.id not in excluded]
    if options.patient_pattern:
        cases = assign_patients(cases, options.patient_pattern)
    labels = found.labels
    if options.structures:
        pairs = [_split(text, "--structures liver=1") for text in options.structures]
        if not all(value.lstrip("-").isdigit() for _, value in pairs):
            raise PlanError(f"structures are {', '.join(options.structures)}; expected NAME=VALUE with whole values.")
        labels = Labels(structures={name: int(value) for name, value in pairs})
    return replace(found, cases=cases, labels=labels, problems=problems)


def _excluded(listing: Path, known: set[str]) -> set[str]:
    """The ids in a text file, one a line."""
    try:
        ids = {line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()}
    except FileNotFoundError:
        raise DataError(f"There is no file {listing} with the ids to leave out.") from None
    except UnicodeDecodeError:
        raise DataError(f"{listing} is not a text file; expected case ids, one a line.") from None
    unknown = sorted(ids - known)
    if unknown:
        raise DataError(f"{listing} names {', '.join(unknown[:5])}, which the data set does not have.")
    return ids


def _declared(structures: Sequence[str]) -> Labels:
    """`name=value` strings to labels."""
    pairs = [_split(text, "--structures liver=1") for text in structures]
    wrong = [f"{name}={value}" for name, value in pairs if not re.fullmatch(r"-?[0-9]+", value)]
    if wrong or len({name for name, _ in pairs}) < len(pairs):
        raise PlanError(
            f"structures are {', '.join(structures)}; expected NAME=VALUE with whole values, each name once.",
            "Example: --structures liver=1 --structures spleen=3",
        )
    try:
        return Labels(structures={name: int(value) for name, value in pairs})
    except ValueError as error:  # pydantic's ValidationError is a ValueError
        raise PlanError(f"structures are {', '.join(structures)}: {last_line(error)}") from None


def _split(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise PlanError(f"{text!r} is not of the form NAME=VALUE.", f"Example: {example}")
    return name.strip(), value.strip()


def _make(
    name: str, place: Workspace, found: DataSet, fingerprint: Fingerprint, labels: Labels, options: PlanOptions
) -> Plan:
    preset: Any = _preset() if options.preset == "auto" else options.preset
    asked: dict[str, Any] = {
        key: list(getattr(options, key))
        for key in ("structures", "normalization", "overrides")
        if getattr(options, key)
    }
    if options.splits != "grouped":
        asked["splits"] = options.splits
    if options.default_configuration:
        asked["default_configuration"] = options.default_configuration
    if options.exclude is not None:
        asked["exclude"] = options.exclude.name
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
    present = fingerprint.structures_of(labels)
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
        patient_pattern=options.patient_pattern,
        spacing_known=fingerprint.spacing_known,
        intensities=fingerprint.intensities,
        structure_cases={name: len(cases) for name, cases in having.items()},
        structure_volume={name: float(f"{value:.6g}") for name, value in volume.items()},
    )


def _overridden(made: Plan, options: PlanOptions) -> Plan:
    """The plan with what the user asked for instead of what the rules say."""
    values, reasons = made.model_dump(mode="json"), dict(made.reasons)
    for text in options.normalization:
        channel, scheme = _split(text, "--normalization FLAIR=zscore")
        if channel not in made.data.channels:
            raise PlanError(f"There is no channel {channel!r}; there are {', '.join(made.data.channels)}.")
        for name, configuration in values["configurations"].items():
            if "normalization" in configuration:
                how = configuration["normalization"][made.data.channels.index(channel)]
                how.update(scheme=scheme, nonzero_only=how["nonzero_only"] and scheme == "zscore")
                reasons[f"configurations.{name}.normalization"] = f"{channel}: {scheme}, as asked for"
    if options.default_configuration:
        values["default_configuration"] = options.default_configuration
        reasons["default_configuration"] = "as asked for"
    for text in options.overrides:
        reasons[override(values, text)] = "as asked for"
    return validate_plan(values, reasons, f"the plan {made.name!r}")


def _folds(cases: list[Case], fingerprint: Fingerprint, labels: Labels, kind: str) -> tuple[list[Fold], str]:
    if kind == "nnunet":
        return nnunet_splits([case.id for case in cases]), "nnU-Net's five folds"
    return make_splits(cases, fingerprint.structures_of(labels))


def _preset() -> str:
    import torch

    return "gpu" if torch.cuda.is_available() or torch.backends.mps.is_available() else "cpu"
