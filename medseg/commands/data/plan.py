"""`medseg plan`: inspect a data set, decide, and write the plan with its table of cases and its folds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.checking.check import check_set, refuse_findings, warnings_in_short
from medseg.commands.data.new_plan import new_plan
from medseg.commands.data.options import PlanOptions
from medseg.commands.data.planned_networks import check_networks
from medseg.core.case import Case, write_cases
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.files import check_folder, earlier_path, remove_temporaries, write_text
from medseg.core.names import name_problem, shown_name
from medseg.core.progress import Callback, silent
from medseg.core.replacing import finish_replacing, replacing_together
from medseg.core.wording import counted, summary_line
from medseg.datasets.find_data import find_data, named_as_before
from medseg.datasets.label_options import annotated_from_values, labels_of, notes_on_values
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.plan_to_edit import save_plan
from medseg.engines.open import open_engine
from medseg.io.layouts.dataset import DataSet, left_out_by_layout
from medseg.models.workspace import Workspace, cases_path, splits_path
from medseg.planning.annotation import check_annotated
from medseg.planning.fingerprint import Fingerprint, fingerprint_of
from medseg.planning.published import PublishedSplit, numbered_folds, published_folds, published_split
from medseg.planning.recipe import note_on_rate
from medseg.planning.scan_range import scan_range
from medseg.planning.splits import Fold, make_splits, nnunet_splits, share_split, unlearnable, write_splits
from medseg.planning.survey import survey
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan

_NO_EXAMPLES = ("spacing", "shape", "intensity", "saturation", "empty channel")
"""Findings on cases that are no example of what scans are like."""
_NO_FAILURES = ("missing label", "ambiguous")
"""Kinds of cases left out that stay notes: scans that nobody annotated, and what a folder leaves open."""
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
    check_folder(home.plans)
    path = home.plans / f"{_checked_name(name) if name else _name_of(folder)}.yaml"
    finish_replacing(home.plans)
    if path.exists() and not options.replace:
        raise PlanError(f"There is a plan {path} already.", "Choose another --name, or --force to replace it.")
    earlier, table = _earlier(path), cases_path(path)
    named, same_names = named_as_before(options.data, earlier.request.options if earlier else {}, folder)
    options = replace(options, data=named)
    tried_again = earlier.data.left_out if earlier else ()
    data_set = find_data(folder, options.data, table if same_names else None, tried_again)
    data_set, published = _published(data_set, options.splits)
    if _may_number_folds(options, published):
        numbered_folds(data_set.cases)  # refuses a column that numbers no folds: before all scans are read
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
    made = new_plan(path.stem, home, data_set, fingerprint, labels, options, scans)
    of_networks = check_networks(made)
    readable = {facts.id for facts in fingerprint.cases}
    cases = [case for case in data_set.cases if case.id in readable]
    check_annotated(cases, labels)
    folds, folds_note = _folds(cases, fingerprint.structures_of(labels), options, published)
    if published:
        made.reasons["data.cases"] = f"the data set's own split: {published.sentence}"
    kept = [] if same_names else _keep_table(table)
    _write(path, made, cases, folds, data_set.folder)
    notes = [
        *kept,
        *data_set.problems,
        *surveyed.notes,
        *notes_on_values(data_set, labels, fingerprint.values),
        folds_note,
    ]
    notes += _notes_on_channels(made)
    notes += [*of_networks, *note_on_rate(made.training)]
    notes += unlearnable(folds, cases, fingerprint.structures_of(labels))
    notes += warnings_in_short(findings, folder)
    lost = {id: left for id, left in left_out_by_layout(notes).items() if left.kind not in _NO_FAILURES}
    failed = {id: left.why for id, left in lost.items()} | fingerprint.problems
    notes = [note for note in notes if note not in lost.values()]
    return PlanResult(made, path, cases_path(path), splits_path(path), notes, failed)


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


def _earlier(path: Path) -> Plan | None:
    """Return the plan of this name that is about to be replaced; None where there is none that can be read."""
    try:
        return load_plan(path) if path.exists() else None
    except MedsegError:
        return None


def _keep_table(table: Path) -> list[str]:
    """Keep the table of the earlier plan under another name, as people fill in patients there, and return a note."""
    if not table.exists():
        return []
    kept = earlier_path(table.parent, f"{table.stem}.", table.suffix)
    write_text(kept, table.read_text(encoding="utf-8"))
    return [f"other options name the files than for the earlier plan: its table is not used, and kept as {kept}"]


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


def _may_number_folds(options: PlanOptions, published: PublishedSplit | None) -> bool:
    """Return whether a column of numbers decides the folds: no option does, and no published part for validation."""
    return options.splits == "auto" and options.validation is None and (published is None or not published.val)


def _folds(
    cases: list[Case], structures: Mapping[str, Collection[str]], options: PlanOptions, published: PublishedSplit | None
) -> tuple[list[Fold], str]:
    """Return the folds (a share, nnU-Net's, as published, or grouped by patient) and a note on how they were made."""
    if options.validation is not None:
        return share_split(cases, structures, options.validation)
    if options.splits == "nnunet":
        return nnunet_splits([case.id for case in cases]), "nnU-Net's five folds"
    if _may_number_folds(options, published) and (own := numbered_folds(cases)):
        return own
    if published is not None:
        return published_folds(published, cases, structures)
    folds, why = make_splits(cases, structures)
    unused = options.splits == "grouped" and len({case.attributes.get("fold", "") for case in cases} - {""}) > 1
    return folds, f"{why}; the data set's own folds are not used, as asked for" if unused else why
