"""Find files by pattern: `*_flair.nii.gz`, `*/imaging.nii.gz` or `**/*.png`, where every `*` is the case id.

`**` stands for any number of folders, or none. They are not part of the id, unless the pattern has no other `*`: in
`**/scan.nii.gz` the folders are the id, joined by `_`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import Why
from medseg.io.layouts.studies import is_study
from medseg.io.layouts.unread_entries import why_unread
from medseg.io.layouts.used_paths import absolute, header_parts


def match_pattern(folder: Path, pattern: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the images, and the files, folders and zips of DICOM, that match a pattern.

    Args:
        folder: the pattern is relative to it.
        pattern: `*` stands for the case id, `**` for any folders.

    Returns:
        {case id: file}, and {case id: why it is left out} of the ids that two files match.

    Raises:
        DataError: the pattern has no `*`, or names files outside of the folder.
    """
    if "*" not in pattern:
        raise DataError(f"The pattern {pattern!r} has no *.", "* stands for the case id: '*_t1.nii.gz'.")
    if any("**" in part and part != "**" for part in pattern.split("/")) or pattern.endswith("**"):
        raise DataError(
            f"The pattern {pattern!r} has ** within a name; it stands for folders.", "Example: 'images/**/*.png'."
        )
    if pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
        raise DataError(
            f"The pattern {pattern!r} names files outside of {folder}.", "Patterns start at the data set's folder."
        )
    match = re.compile(_expression(pattern)).fullmatch
    parts = [part if part == "**" else "*" if "*" in part else _listed(part) for part in pattern.split("/")]
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for path in sorted(folder.glob("/".join(parts))):
        matched = match(path.relative_to(folder).as_posix())
        if not matched:
            continue
        id = matched["id"].strip("/").replace("/", "_")
        if not (is_image(path) or is_study(path)):
            if (why := why_unread(path)) is not None:
                problems[id] = why
            continue
        other = files.setdefault(id, path)
        if other != path:
            names = f"{other.relative_to(folder).as_posix()} and {path.relative_to(folder).as_posix()}"
            problems[id] = f"{names} both match {pattern}; keep one of them"
    unread = {id: absolute(why.file) for id, why in problems.items() if isinstance(why, Why) and why.file}
    used = header_parts(files.values()) if unread else set()
    return files, {id: why for id, why in problems.items() if id not in unread or unread[id] not in used}


def _listed(name: str) -> str:
    """Return the pattern of one name for which folders are listed: a name as it stands drops links to nowhere."""
    return f"[{name[0]}]{escape(name[1:])}" if name[:1].isalnum() else escape(name)


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern; its group `id` is the case.

    >>> re.fullmatch(_expression("**/*_img.png"), "a/b/c7_img.png")["id"]
    'c7'
    >>> re.fullmatch(_expression("**/img.png"), "a/b/img.png")["id"]
    'a/b/'
    """
    tokens = re.split(r"(\*\*/|\*)", pattern)
    ids = "*" if "*" in tokens else "**/"
    expression = ""
    for token in tokens:
        within = r"(?:[^/]+/)*" if token == "**/" else r"[^/]+"
        if token == ids:
            expression += "(?P=id)" if "(?P<id>" in expression else f"(?P<id>{within})"
        else:
            expression += within if token == "**/" else re.escape(token)
    return expression


def match_patterns(folder: Path, patterns: Sequence[str]) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """Find the files of each case that match every pattern.

    Args:
        folder: the patterns are relative to it.
        patterns: one for each file of a case.

    Returns:
        {case id: files in the order of the patterns}, and {case id: why it is left out}.

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
            kind = "missing label" if absent == [patterns[-1].replace("*", id)] else "missing image"
            incomplete[id] = Why(f"there is no {' and no '.join(absent)}", kind)
        elif id not in problems:
            complete[id] = tuple(group[number] for number in range(len(patterns)))
    return complete, incomplete | problems


def pattern_name(pattern: str) -> str:
    """Return a channel's name after its pattern: the part of a file's name that is not the case id.

    >>> pattern_name("*_flair.nii.gz"), pattern_name("*/t1.nii"), pattern_name("**/*.png")
    ('flair', 't1', 'image')
    """
    stem = split_suffix(Path(pattern))[0]
    rest = stem.replace("*", "").strip("_- .") or Path(pattern).parent.name.replace("*", "").strip("_- .")
    return rest or "image"
