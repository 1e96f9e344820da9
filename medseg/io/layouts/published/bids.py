"""Read BIDS: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, labels in `derivatives/PIPELINE/` as `_dseg` or `_mask`.

Names follow the Brain Imaging Data Structure 1.10: entities `key-value` in a fixed order, then a suffix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.file_names.roles import Files, Further, Roles, cases_of, left_aside, settle_roles, unclear_cases
from medseg.io.layouts.file_names.words import names_labels
from medseg.io.values.class_names import read_index_table

_DERIVATIVES = "derivatives"
_OTHER_DATA = frozenset(("func", "fmap", "eeg", "meg", "ieeg", "beh"))
_CASE_KEYS = ("sub", "ses")
_UNNAMED = ("sub", "ses", "space", "desc", "res", "den")
"""Entities that are left out of a role, unless they tell two files of a case apart."""


@dataclass(frozen=True)
class BidsFile:
    """An image named as BIDS asks for.

    Attributes:
        path: where it lies.
        pipeline: the folder in `derivatives/` that holds it; empty for raw data.
        entities: {key: value} of its name, in order.
        suffix: the last part of its name, such as `T1w`.
    """

    path: Path
    pipeline: str
    entities: dict[str, str]
    suffix: str

    @property
    def case(self) -> str:
        """Id of the case, such as `sub-01_ses-1`."""
        return "_".join(f"{key}-{self.entities[key]}" for key in _CASE_KEYS if key in self.entities)

    @property
    def is_label(self) -> bool:
        """Whether the name says that the file is a label."""
        return "label" in self.entities or names_labels(self.suffix)

    def role(self, full: bool) -> str:
        """Return what the file is, as its name says: `mask` for `sub-01_desc-brain_mask.nii.gz`.

        Args:
            full: whether to keep entities such as `desc` and `space`, which may be what tells two files of a case
                apart (`desc-brain_mask`). Those that name the case are always left out.
        """
        unnamed = _CASE_KEYS if full else _UNNAMED
        entities = [f"{key}-{value}" for key, value in self.entities.items() if key not in unnamed or key == "label"]
        return "_".join([*entities, self.suffix])


def read_bids(folder: Path, naming: Naming) -> DataSet | None:
    """Read a BIDS data set whose derivatives hold label files.

    A case is a subject, or a session of one; the subject is the patient. Structures are named by `dseg.tsv`.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Returns:
        The data set; None where no file is named as BIDS asks for.

    Raises:
        DataError: several images or labels of a case may be meant, or none is a label.
    """
    files = bids_files(folder)
    if not files:
        return None
    labels = [file for file in files if file.is_label]
    images = _raw_or_derived([file for file in files if not file.is_label])
    by_case, further = _first_and_further(_by_role(images))
    label_roles, further_labels = _first_and_further(_by_role(labels))
    for case, by_role in label_roles.items():
        by_case.setdefault(case, {}).update(by_role)
    if not labels:
        raise DataError(
            f"{folder} is laid out as BIDS, but holds no label file.",
            "Expected derivatives/PIPELINE/sub-X/anat/sub-X_dseg.nii.gz, or _mask.nii.gz.",
        )
    roles = settle_roles(by_case, naming, folder)
    if roles is None:
        return None
    if not naming.images:
        _refuse_runs(roles, folder)
    cases, problems = cases_of(by_case, roles)
    unclear = unclear_cases(by_case, further | further_labels, roles)
    cases, problems = [case for case in cases if case.id not in unclear], problems | unclear
    subjects = {file.case: f"sub-{file.entities['sub']}" for file in files}
    cases = [replace(case, patient=subjects[case.id]) for case in cases]
    notes = [*sentences(problems), *left_aside(by_case, roles)]
    if len(roles.channels) > 1:
        first = roles.channels[0]
        notes.append(f"{len(roles.channels)} channels; --images {first} takes one alone, if they are not on one grid")
    return DataSet(folder, "bids", roles.channels, _declared(folder, by_case, roles), cases, notes)


def _refuse_runs(roles: Roles, folder: Path) -> None:
    """Refuse channels that are the same scan, made several times: runs are no channels.

    Raises:
        DataError: two channels differ in nothing but the run.
    """
    by_kind: dict[str, list[str]] = {}
    for channel in roles.channels:
        by_kind.setdefault(re.sub(r"(^|_)run-[^_]+_?", r"\1", channel), []).append(channel)
    for runs in by_kind.values():
        if len(runs) > 1:
            raise DataError(
                f"The cases of {folder} have several runs of one scan ({', '.join(runs)}), which are no channels.",
                f"Choose one: --images {runs[0]}.",
            )


def bids_files(folder: Path) -> list[BidsFile]:
    """Return the images named as BIDS asks for, in the folder and in its derivatives, sorted by path."""
    roots = [("", folder)]
    if (folder / _DERIVATIVES).is_dir():
        roots.append((_DERIVATIVES, folder / _DERIVATIVES))
        roots += [(path.name, path) for path in sorted((folder / _DERIVATIVES).iterdir()) if path.is_dir()]
    files = []
    for pipeline, root in roots:
        for path in sorted(path for subject in sorted(root.glob("sub-*")) for path in subject.rglob("*")):
            if is_image(path) and _OTHER_DATA.isdisjoint(path.relative_to(root).parts[:-1]) and not path.is_dir():
                parsed = _parse(split_suffix(path)[0])
                if parsed is not None:
                    files.append(BidsFile(path, pipeline, *parsed))
    return files


def scans_of_bids(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """Return the images of each case that are not labels, with their roles; a role may stand there twice."""
    return _by_role(_raw_or_derived([file for file in bids_files(folder) if not file.is_label]))


def _parse(stem: str) -> tuple[dict[str, str], str] | None:
    """Return entities and suffix of a name; None where it is not valid BIDS."""
    parts = stem.split("_")
    start = next((number for number, part in enumerate(parts) if "-" not in part), len(parts) - 1)
    pairs, suffix = parts[:start], "_".join(parts[start:])
    entities = dict(pair.partition("-")[::2] for pair in pairs)
    valid = "sub" in entities and all(entities.values()) and len(entities) == len(pairs)
    # labels of derivatives are also called `_T1w_seg-manual` or `_T1w_label-SC_seg`
    valid = valid and (names_labels(suffix) or not {"-", "_"} & {*suffix})
    return (entities, suffix) if valid else None


def _raw_or_derived(images: list[BidsFile]) -> list[BidsFile]:
    """Return the raw images where there are any, else those of the derivatives."""
    return [file for file in images if not file.pipeline] or images


def _by_role(files: list[BidsFile]) -> dict[str, list[tuple[str, Path]]]:
    """Return the files by case with their roles, in the shortest form that gives most of them one of their own.

    A role stands there twice where no form does: `sub-01_T1w.nii` beside `sub-01_T1w.nii.gz`.
    """
    role_forms: tuple[Callable[[BidsFile], str], ...] = (
        lambda file: file.role(full=False),
        lambda file: file.role(full=True),
        lambda file: f"{file.pipeline}/{file.role(full=True)}",
    )
    role_of = max(role_forms, key=lambda form: len({(file.case, form(file)) for file in files}))  # the first of equals
    by_case: dict[str, list[tuple[str, Path]]] = {}
    for file in files:
        by_case.setdefault(file.case, []).append((role_of(file), file.path))
    return by_case


def _first_and_further(by_case: dict[str, list[tuple[str, Path]]]) -> tuple[Files, Further]:
    """Return the first file of each case and role, and those beyond it."""
    files: Files = {}
    further: Further = {}
    for case, pairs in by_case.items():
        for role, path in pairs:
            if files.setdefault(case, {}).setdefault(role, path) != path:
                further.setdefault((case, role), []).append(path)
    return files, further


def _declared(folder: Path, files: Files, roles: Roles) -> Labels | None:
    """Return the structures of the `dseg.tsv` nearest to the label files: beside one, else in a folder above it."""
    label = next((by_role[roles.label] for by_role in files.values() if roles.label in by_role), None)
    if label is None:
        return None
    for parent in label.parents:
        tables = sorted(parent.glob("*dseg.tsv"))
        if len(tables) > 1:
            same_stem = [path for path in tables if path.stem == split_suffix(label)[0]]
            tables = same_stem or [path for path in tables if path.name == "dseg.tsv"]
        if len(tables) == 1:
            return Labels(structures=dict(read_index_table(tables[0])))
        if parent == folder:
            break
    return None
