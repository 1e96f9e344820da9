"""Rules on cases that may be in both training and test: scans that also lie in a test folder, names of one patient."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.files import content_hash
from medseg.core.wording import first_few
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.file_names.names import split_channel
from medseg.planning.findings import Finding

PATIENT_PATTERN = "^(.*[0-9](?=[^0-9]+[0-9]+[^0-9]*$)|.*)"
"""Regular expression that finds in an id what precedes its last number, up to a digit; the id where that is nothing."""

_FEWEST_GROUPS = 3
"""With fewer groups of names, what precedes the last number is a name of the set, and not of patients."""
_FEW_GROUPED = 0.05
"""If no more than this share of the cases has a name in common with others, that is chance."""
_TEST_FOLDER = re.compile(r"(?:Ts|Val)$|^(?i:test|testing|val|valid|validation|holdout)(?i:[_-]?(?:set|images|data))?$")
_LABEL_FOLDER = re.compile(r"(?i)label|mask|seg|annot|derivatives")


def check_leaks(data: DataSet) -> list[Finding]:
    """Return findings on cases that may be in training and test, or on both sides of a split."""
    return _in_test_folders(data) + _grouped_names(data.cases)


def _in_test_folders(data: DataSet) -> list[Finding]:
    """Return findings on scans of the data set that also lie in a test folder, by content or by name."""
    test_files = _test_files(data.folder)
    if not test_files:
        return []
    ids = {case.id for case in data.cases}
    by_size: dict[int, list[tuple[Path, str]]] = defaultdict(list)  # only files of one size need to be hashed
    for case in data.cases:
        for path in case.channels:
            if path.is_file():
                by_size[path.stat().st_size].append((path, case.id))
    findings: list[Finding] = []
    same_names: dict[str, Path] = {}
    used = {path.absolute() for paths in by_size.values() for path, _ in paths}
    for path in test_files:
        if path.absolute() in used:
            continue
        candidates = by_size[path.stat().st_size]
        copy = next((pair for pair in candidates if content_hash(pair[0]) == content_hash(path)), None)
        name = split_channel(split_suffix(path)[0])[0]
        if copy is not None:
            message = f"{path} is the same file as {copy[0]}, a scan to train on."
            leave_out = f"leave {copy[1]} out with --exclude IDS.txt"
            remedy = f"Take it out of {path.parent}, or {leave_out}: a test on it means nothing."
            findings.append(Finding("two folders", copy[1], message, remedy, path))
        elif name in ids:
            same_names.setdefault(name, path)
    return findings + _same_names(same_names, {finding.case for finding in findings})


def _same_names(paths: Mapping[str, Path], reported: set[str]) -> list[Finding]:
    """Return one finding on names that also occur in a test folder; `paths` is name -> file there."""
    names = [name for name in paths if name not in reported]
    if not names:
        return []
    path = paths[names[0]]
    message = (
        f"Cases to train on have names that occur in {path.parent}, too: {first_few(names)} ({len(names)} in all)."
    )
    remedy = "If they are the same patients, leave them out on one side; if both folders count from 1, all is well."
    return [Finding("two folders", names[0] if len(names) == 1 else "", message, remedy, path)]


def _test_files(folder: Path) -> list[Path]:
    """Return the image files in folders below a data set's that are named after a test or validation set."""
    paths = []
    for current, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and not _LABEL_FOLDER.search(name)
        )
        parts = Path(current).relative_to(folder).parts
        if any(_TEST_FOLDER.search(part) for part in parts):
            paths += [Path(current) / name for name in sorted(files) if is_image(Path(name))]
    return paths


def _grouped_names(cases: Sequence[Case]) -> list[Finding]:
    """Return a finding on names such as P07-slice-012, which suggest that a patient has several cases.

    There is none if something else says which case is of which patient.
    """
    if any(case.patient != case.id for case in cases):
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        match = re.match(PATIENT_PATTERN, case.id)
        groups[match[1] if match and match[1] else case.id].append(case.id)
    several = {name: ids for name, ids in groups.items() if len(ids) > 1}
    if len(groups) < _FEWEST_GROUPS or sum(map(len, several.values())) <= _FEW_GROUPED * len(cases):
        return []
    name, ids = max(several.items(), key=lambda item: len(item[1]))
    message = (
        f"The names of the {len(cases)} cases fall into {len(groups)} groups by what precedes the last number: "
        f"{name} has {len(ids)} ({', '.join(ids[:2])}, ...)."
    )
    remedy = (
        "If a group is a patient, say so with a regular expression for the patient in the name, such as "
        f"--patient-pattern '{PATIENT_PATTERN}': else cases of one patient are on both sides of a split."
    )
    return [Finding("grouped names", "", message, remedy)]
