"""Files by pattern: `*_flair.nii.gz` or `*/imaging.nii.gz`, where `*` is the case id, the same wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.table import is_image, split_suffix


def match_pattern(folder: Path, pattern: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The images below `folder` that match, by case id, and the ids left out because two files match.

    Raises:
        DataError: the pattern has no `*`, or leads out of the folder.
    """
    if "*" not in pattern:
        raise DataError(f"The pattern {pattern!r} has no *.", "* stands for the case id: '*_t1.nii.gz'.")
    if pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise DataError(f"The pattern {pattern!r} leads out of {folder}.", "Patterns start at the data set's folder.")
    start, *rest = map(re.escape, pattern.split("*"))
    match = re.compile(start + "(?P<id>[^/]+)" + "(?P=id)".join(rest)).fullmatch
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for path in sorted(folder.glob("/".join("*" if "*" in part else escape(part) for part in pattern.split("/")))):
        found = match(path.relative_to(folder).as_posix())
        if not found or not is_image(path):
            continue
        other = files.setdefault(found["id"], path)
        if other != path:
            problems[found["id"]] = f"{other.name} and {path.name} both match {pattern}; keep one of them"
    return files, problems


def match_patterns(folder: Path, patterns: Sequence[str]) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """The files of each case that matches every pattern, in their order, and why other cases are left out.

    Raises:
        DataError: as `match_pattern`.
    """
    groups: dict[str, dict[int, Path]] = {}
    problems: dict[str, str] = {}
    for number, pattern in enumerate(patterns):
        files, doubtful = match_pattern(folder, pattern)
        problems |= doubtful
        for id, path in files.items():
            groups.setdefault(id, {})[number] = path
    complete, incomplete = {}, {}
    for id, group in groups.items():
        absent = [pattern.replace("*", id) for number, pattern in enumerate(patterns) if number not in group]
        if absent:
            incomplete[id] = f"there is no {' and no '.join(absent)}"
        elif id not in problems:
            complete[id] = tuple(group[number] for number in range(len(patterns)))
    return complete, incomplete | problems


def pattern_name(pattern: str) -> str:
    """A channel's name after its pattern: what a file's name has beside the case id, `flair` for `*_flair.nii`."""
    stem = split_suffix(Path(pattern))[0]
    rest = stem.replace("*", "").strip("_- .") or Path(pattern).parent.name.replace("*", "").strip("_- .")
    return rest or "image"
