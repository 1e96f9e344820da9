"""Cases that may stand on both sides of a split: scans in a folder of held-back cases, names that share a patient."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.files import content_hash
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.names import split_channel
from medseg.planning.findings import Finding

PATIENT_PATTERN = "^(.*?)[^0-9]*[0-9]+[^0-9]*$"
"""Finds in an id what precedes its last number."""

_FEWEST_GROUPS, _GROUPED = 3, 0.05
_MOST_SHOWN = 5
_HELD_BACK = re.compile(r"(?:Ts|Val)$|^(?i:test|testing|val|valid|validation|holdout)(?i:[_-]?(?:set|images|data))?$")
_LABEL_FOLDER = re.compile(r"(?i)label|mask|seg|annot|derivatives")


def check_leaks(data: DataSet) -> list[Finding]:
    """Findings on cases that may stand on both sides of a split."""
    return _other_folders(data) + _grouped_names(data.cases)


def _other_folders(data: DataSet) -> list[Finding]:
    """Scans of the set that lie in a folder of held-back cases, too, by content or by name."""
    held_back = _held_back(data.folder)
    if not held_back:
        return []
    ids = {case.id for case in data.cases}
    sizes: dict[int, list[tuple[Path, str]]] = defaultdict(list)
    for case in data.cases:
        for path in case.channels:
            if path.is_file():
                sizes[path.stat().st_size].append((path, case.id))
    found: list[Finding] = []
    named: dict[str, Path] = {}
    used = {path.absolute() for paths in sizes.values() for path, _ in paths}
    for path in held_back:
        if path.absolute() in used:
            continue
        twin = next((pair for pair in sizes[path.stat().st_size] if content_hash(pair[0]) == content_hash(path)), None)
        name = split_channel(split_suffix(path)[0])[0]
        if twin is not None:
            message = f"{path} is the same file as {twin[0]}, a scan to train on."
            remedy = f"Take it out of {path.parent}, or leave {twin[1]} out with --exclude: a test on it means nothing."
            found.append(Finding("two folders", twin[1], message, remedy, path))
        elif name in ids:
            named.setdefault(name, path)
    return found + _same_names(named, {one.case for one in found})


def _same_names(named: Mapping[str, Path], found: set[str]) -> list[Finding]:
    names = [name for name in named if name not in found]
    if not names:
        return []
    path = named[names[0]]
    shown = ", ".join(names[:_MOST_SHOWN]) + ", ..." * (len(names) > _MOST_SHOWN)
    message = f"Cases to train on have names that stand in {path.parent}, too: {shown} ({len(names)} in all)."
    remedy = "If they are the same patients, leave them out on one side; if both folders count from 1, all is well."
    return [Finding("two folders", names[0] if len(names) == 1 else "", message, remedy, path)]


def _held_back(folder: Path) -> list[Path]:
    """Image files below a data set's folder, in folders that are called after a test or validation set."""
    found = []
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not _LABEL_FOLDER.search(name))
        parts = Path(place).relative_to(folder).parts
        if any(_HELD_BACK.search(part) for part in parts):
            found += [Path(place) / name for name in sorted(files) if is_image(Path(name))]
    return found


def _grouped_names(cases: Sequence[Case]) -> list[Finding]:
    """Names such as P07-slice-012, which say that a patient has several cases, where nothing else does."""
    if any(case.patient != case.id for case in cases):
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        match = re.match(PATIENT_PATTERN, case.id, re.DOTALL)
        groups[match[1] if match and re.search("[0-9]", match[1]) else case.id].append(case.id)
    several = {name: ids for name, ids in groups.items() if len(ids) > 1}
    if len(groups) < _FEWEST_GROUPS or sum(map(len, several.values())) <= _GROUPED * len(cases):
        return []
    name, ids = max(several.items(), key=lambda item: len(item[1]))
    message = (
        f"The names of the {len(cases)} cases fall into {len(groups)} groups by what precedes the last number: "
        f"{name} has {len(ids)} ({', '.join(ids[:2])}, ...)."
    )
    remedy = (
        "If a group is a patient, say so with a regular expression for the patient in the name, such as "
        f"--patient-pattern '{PATIENT_PATTERN}': else cases of one patient stand on both sides of a split."
    )
    return [Finding("grouped names", "", message, remedy)]
