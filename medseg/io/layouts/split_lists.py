"""Read the lists of a split that lie beside a data set: `train.txt`, `val.txt`, `test.txt`, or `.csv`, `.lst`.

Each line names a case, by its id or by its files (`images/a.png masks/a.png`). Layouts that have lists of their own
(Pascal VOC, pets) or folders for the parts read them themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.case import Case
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.split_folders import COLUMN

_LAYOUTS = ("pairs", "folders", "files", "patterns", "labelme")
_FOLDERS = ("", "splits", "split", "lists", "ImageSets")
_PARTS = {"train": "train", "trainval": "trainval", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SUFFIXES = (".txt", ".csv", ".lst")
_LARGEST_BYTES = 20_000_000
"""Larger files hold more than names, such as masks in text."""
_MOST_SHOWN = 3


def with_split_lists(data: DataSet) -> DataSet:
    """Return a data set whose cases have the attribute `split`, as the lists in its folder say.

    Args:
        data: as its layout was read.

    Returns:
        The same data set where there are no such lists for at least two parts. Cases in no list are left out, with a
        note; so is what names no case.
    """
    files = _lists(data.folder) if data.layout in _LAYOUTS else {}
    if len({*files.values()}) < 2 or any(COLUMN in case.attributes for case in data.cases):
        return data
    ids = _ids_by_name(data.cases)
    parts: dict[str, list[str]] = {}
    notes = []
    for path, part in files.items():
        lines = _lines(path)
        named = [_case_of(line, ids) for line in lines]
        unknown = [line for line, id in zip(lines, named, strict=True) if id is None]
        for id in named:
            if id is not None and part not in parts.setdefault(id, []):
                parts[id].append(part)
        if unknown[:1] == lines[:1] and path.suffix == ".csv":
            unknown = unknown[1:]  # its heading
        if unknown:
            shown = ", ".join(line[:40] for line in unknown[:_MOST_SHOWN])
            notes.append(f"{path.name}: {counted(len(unknown), 'line')} without a case of that name ({shown})")
    if len({part for of_case in parts.values() for part in of_case}) < 2:
        return data
    cases = [
        replace(case, attributes={**case.attributes, COLUMN: "+".join(parts[case.id])})
        for case in data.cases
        if case.id in parts
    ]
    names = ", ".join(sorted(path.name for path in files))
    notes.insert(0, f"the split is that of {names}")
    if len(cases) < len(data.cases):
        notes.append(f"{counted(len(data.cases) - len(cases), 'case')} in no list of {names}, left out")
    return replace(data, cases=cases, problems=[*data.problems, *notes])


def _lists(folder: Path) -> dict[Path, str]:
    """Return {list: the part of the split that its name says} of the first folder that has a list for training."""
    for name in _FOLDERS:
        inner = folder / name
        files = {
            path: _PARTS[path.stem.lower()]
            for path in (sorted(inner.iterdir()) if inner.is_dir() else ())
            if path.suffix.lower() in _SUFFIXES and path.stem.lower() in _PARTS and path.is_file()
        }
        if {"train", "trainval"} & {*files.values()}:
            return files
    return {}


def _ids_by_name(cases: Sequence[Case]) -> Mapping[str, str]:
    """Return {name: id} of the ids, and of the files' names where only one case has a file of that name."""
    stems = [(split_suffix(path)[0], case.id) for case in cases for path in (*case.channels, *_label(case))]
    owners = Counter(stem for stem, _ in {*stems})
    return {**{stem: id for stem, id in stems if owners[stem] == 1}, **{case.id: case.id for case in cases}}


def _label(case: Case) -> tuple[Path, ...]:
    return () if case.label is None else (case.label,)


def _lines(path: Path) -> list[str]:
    """Return the lines of a list that are neither empty nor comments; none of a file that is no list."""
    if path.stat().st_size > _LARGEST_BYTES:
        return []
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _case_of(line: str, ids: Mapping[str, str]) -> str | None:
    """Return the case that a line names; None where it names none, or several.

    Names of files count before other words, which may be numbers of rows.

    Args:
        line: of a list.
        ids: {name of a case or of one of its files, without suffix: id of the case}.

    >>> _case_of("/SegNet/train/a 1.png /SegNet/trainannot/a 1.png", {"a 1": "a 1"})
    'a 1'
    >>> _case_of("0,images/7.png,masks/7.png", {"0": "0", "7": "7"}), _case_of("0,7", {"0": "0", "7": "7"})
    ('7', None)
    """
    words = [line, *re.split(r"[,;\t]|\s+(?=\S*[/\\])", line), *re.split(r"[,;\s]+", line)]
    last_parts = [re.split(r"[/\\]", word.strip().strip("\"'"))[-1] for word in words if word.strip()]
    stems = {split_suffix(Path(part))[0] for part in last_parts if is_image(Path(part))}
    for names in (stems, {*last_parts}):
        named = {ids[name] for name in names if name in ids}
        if named:
            return named.pop() if len(named) == 1 else None
    return None
