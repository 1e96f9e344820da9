"""Read the lists of a split that lie beside a data set: `train.txt`, `val_list.csv`, `splits.json`, `split.csv`.

A list names the cases of one part, by its own name; a table those of all, by a column or by keys. Each line names a
case, by its id or by its files (`images/a.png masks/a.png`). Layouts that have lists of their own (Pascal VOC, pets) or
folders for the parts read them themselves.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from medseg.core.case import Case
from medseg.core.wording import counted
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.layouts.dataset import DataSet
from medseg.io.layouts.file_names.split_words import COLUMNS, part_named, words_for_parts
from medseg.io.layouts.file_names.words import words
from medseg.io.layouts.split_folders import COLUMN

_OF_LISTS = ("table", "nnunet", "msd", "bids", "dicom")
"""Layouts that say themselves which cases there are to train on: only lists of all parts divide them."""
_LAYOUTS = ("pairs", "folders", "files", "patterns", "labelme", "voc", *_OF_LISTS)
_FOLDERS = ("", "splits", "split", "lists", "ImageSets")
_SUFFIXES = (".txt", ".csv", ".lst")
_TABLE_WORDS = frozenset(("split", "splits", "partition", "partitions"))
_LARGEST_BYTES = 20_000_000
"""Larger files hold more than names, such as masks in text."""
_MOST_SHOWN = 3


class _Entry(NamedTuple):
    """What a list says of a case.

    Attributes:
        source: the name of the file.
        part: of the split; or what stands in a table in the place of one.
        line: names the case.
        may_be_heading: whether it is the first line of a list in CSV.
    """

    source: str
    part: str
    line: str
    may_be_heading: bool = False


def with_split_lists(data: DataSet) -> DataSet:
    """Return a data set whose cases have the attribute `split`, as the lists in its folder say.

    Args:
        data: as its layout was read.

    Returns:
        The same data set where no list divides it. Cases in no list are left out where there is one for training, and
        are trained on where there is none; a note says so, and what names no case.
    """
    entries = _entries(data.folder) if data.layout in _LAYOUTS and not _has_split(data.cases) else []
    ids = _ids_by_name(data.cases)
    parts: dict[str, list[str]] = {}
    unknown: dict[str, dict[str, None]] = {}  # {source: lines}
    for entry in entries:
        id = case_named(entry.line, ids)
        if id is None:
            if not entry.may_be_heading:
                unknown.setdefault(entry.source, {})[entry.line] = None
        elif entry.part not in parts.setdefault(id, []):
            parts[id].append(entry.part)
    names = ", ".join(dict.fromkeys(entry.source for entry in entries))
    said = {part for of_case in parts.values() for part in of_case}
    foreign = sorted(word for word in said if part_named(word) is None)
    if foreign and len(said) - len(foreign) < 2:
        shown = ", ".join(repr(word) for word in foreign[:_MOST_SHOWN])
        note = f"{names} is not used as a split, and no case is kept out: {shown} is none of train, val, test, trainval"
        return replace(data, problems=[*data.problems, note])
    unlisted = [case.id for case in data.cases if case.id not in parts]
    if said <= {"train", "trainval"}:
        note = f"{names} is not used as a split: it names {len(parts)} of {len(data.cases)} cases, and no list the rest"
        return replace(data, problems=[*data.problems, note]) if parts and unlisted else data
    if data.layout in _OF_LISTS and (_numbers_folds(data.cases) or not said & {"train", "trainval"}):
        note = f"{names} is not used as a split: the data set says itself which cases are trained on"
        return replace(data, problems=[*data.problems, note]) if parts else data
    if not said & {"train", "trainval"}:  # a list of what to validate or to test on, and nothing else
        if len(parts) < sum(map(len, unknown.values())) or not unlisted:
            return data
        parts |= {id: ["train"] for id in unlisted}
    cases = [
        replace(case, attributes={**case.attributes, COLUMN: "+".join(parts[case.id])})
        for case in data.cases
        if case.id in parts
    ]
    notes = [f"the split is that of {names}", *notes_on_unknown(unknown)]
    if len(cases) < len(data.cases):
        notes.append(f"{counted(len(data.cases) - len(cases), 'case')} in no list of {names}, left out")
    elif unlisted:
        notes.append(f"{counted(len(unlisted), 'case')} in no list of {names}, to train on")
    return replace(data, cases=cases, problems=[*data.problems, *notes])


def with_split_of(listed: Sequence[Case], data: DataSet) -> list[Case]:
    """Return the cases of a table with the parts that they have in the split of a data set.

    Cases that are in no list of it are left out, as `with_split_lists` does.

    Args:
        listed: the cases of the table of an earlier plan.
        data: the data set, as it was found.
    """
    parts = {case.id: case.attributes[COLUMN] for case in data.cases if COLUMN in case.attributes}
    if not parts or _has_split(listed):
        return [*listed]
    divided = [case for case in listed if case.id in parts or data.layout not in _LAYOUTS]
    return [
        replace(case, attributes={**case.attributes, COLUMN: parts[case.id]}) if case.id in parts else case
        for case in divided
    ]


def _has_split(cases: Sequence[Case]) -> bool:
    """Return whether an attribute of a case names a part of a split already."""
    return any(
        name.lower() in COLUMNS and part_named(value) for case in cases for name, value in case.attributes.items()
    )


def is_test_case(case: Case) -> bool:
    """Return whether an attribute of a case says that it is for testing.

    Args:
        case: the case.
    """
    return any(name.lower() in COLUMNS and part_named(value) == "test" for name, value in case.attributes.items())


def _numbers_folds(cases: Sequence[Case]) -> bool:
    """Return whether a table numbers the folds of its cases."""
    return any(case.attributes.get("fold", "").strip() for case in cases)


def notes_on_unknown(unknown: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield notes on the lines of each file that name no case."""
    for source, lines in unknown.items():
        shown = ", ".join(line[:40] for line in [*lines][:_MOST_SHOWN])
        yield f"{source}: {counted(len(lines), 'line')} without a case of that name ({shown})"


def _entries(folder: Path) -> list[_Entry]:
    """Return the entries of the first folder that has lists, or a table, of a split."""
    for name in _FOLDERS:
        inner = folder / name
        files = [path for path in (sorted(inner.iterdir()) if inner.is_dir() else ()) if path.is_file()]
        small = [path for path in files if path.stat().st_size <= _LARGEST_BYTES]
        lists = [path for path in small if path.suffix.lower() in _SUFFIXES and part_named(path.stem)]
        tables = [path for path in small if not lists and not _TABLE_WORDS.isdisjoint(words(path.stem))]
        entries = [entry for path in lists for entry in _of_list(path)]
        entries += [entry for path in tables for entry in _of_table(path)]
        if entries:
            return entries
    return []


def _of_list(path: Path) -> list[_Entry]:
    """Return the entries of a list whose name says a part; lines that are empty, or comments, are none."""
    part = part_named(path.stem)
    assert part is not None
    lines = [line.strip() for line in _text(path).splitlines() if line.strip() and not line.startswith("#")]
    is_csv = path.suffix.lower() == ".csv"
    return [_Entry(path.name, part, line, is_csv and number == 0) for number, line in enumerate(lines)]


def _of_table(path: Path) -> list[_Entry]:
    """Return the entries of a table with a column for the split, or of JSON with a list for each part."""
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(_text(path))
        except ValueError:
            return []
        return [*_of_keys(path, content)] if isinstance(content, dict) else []
    if path.suffix.lower() not in (".csv", ".tsv"):
        return []
    rows = csv.DictReader(io.StringIO(_text(path)), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    columns = [name for name in rows.fieldnames or () if name and name.strip().lower() in COLUMNS]
    if not columns:
        return []
    return [
        _Entry(path.name, part_named(word) or word, ",".join(_texts(row, columns[0])))
        for row in rows
        for word in words_for_parts(row[columns[0]] or "")
    ]


def _of_keys(path: Path, content: Mapping[str, Any]) -> Iterator[_Entry]:
    """Yield the entries of JSON such as `{"train": ["a", "b"], "test": [{"image": "c.png"}]}`."""
    for key, values in content.items():
        part = part_named(key)
        if part is not None and isinstance(values, list):
            for value in values:
                texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
                yield _Entry(path.name, part, ",".join(str(text) for text in texts))


def _texts(row: Mapping[str, Any], column: str) -> list[str]:
    """Return what stands in the other columns of a row."""
    return [value for name, value in row.items() if name != column and isinstance(value, str)]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig", errors="replace")


def _ids_by_name(cases: Sequence[Case]) -> Mapping[str, str]:
    """Return {name: id} of the ids, and of the files' names where only one case has a file of that name."""
    stems = [(split_suffix(path)[0], case.id) for case in cases for path in (*case.channels, *_label(case))]
    owners = Counter(stem for stem, _ in {*stems})
    return {**{stem: id for stem, id in stems if owners[stem] == 1}, **{case.id: case.id for case in cases}}


def _label(case: Case) -> tuple[Path, ...]:
    return () if case.label is None else (case.label,)


def case_named(line: str, ids: Mapping[str, str]) -> str | None:
    """Return the case that a line names; None where it names none, or several.

    Names of files count before other words, which may be numbers of rows.

    Args:
        line: of a list.
        ids: {name of a case or of one of its files, without suffix: id of the case}.

    >>> case_named("/SegNet/train/a 1.png /SegNet/trainannot/a 1.png", {"a 1": "a 1"})
    'a 1'
    >>> case_named("0,images/7.png,masks/7.png", {"0": "0", "7": "7"}), case_named("0,7", {"0": "0", "7": "7"})
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
