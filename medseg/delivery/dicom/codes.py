"""Find the DICOM codes that say what a structure is: the user's, the plan's, or those of the built-in table.

`codes.csv` holds names (aliases joined by `|`) and their codes. Each row names its source: a context group of PS3.16;
dcmqi's segmentation contexts (BSD-3), from which most colours are as well; TotalSegmentator's table of structures
(Apache-2.0); SNOMED CT's own name for the code. `sides` says what left and right modify: the type, or the region.
Nothing is guessed: a name that is not in the table, with or without its side, has no code.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from medseg.core.errors import PlanError
from medseg.plans.problems import validation_message
from medseg.plans.terminology import Coding

SIDES = {"left": "SCT 7771000 Left", "right": "SCT 24028007 Right"}
COLUMNS = ("category", "type", "modifiers", "region", "region_modifiers", "colour")
_SHORT_SIDES = {"l": "left", "r": "right"}
TABLE_HINT = "`medseg codes` prints the table; `medseg codes kidney` what it has of a word"
_TISSUE = Coding(category="SCT 85756007 Tissue", type="SCT 85756007 Tissue")
_MAX_NAMES = 12


@dataclass(frozen=True)
class Entry:
    """A row of the built-in table.

    Attributes:
        names: of one structure; the first is the one to use.
        coding: its codes.
        sides: what left and right modify, `type` or `region`; empty for what is not one of a pair.
        source: where the codes come from.
    """

    names: tuple[str, ...]
    coding: Coding
    sides: str
    source: str

    def sided(self) -> dict[str, Coding]:
        """Return {name: codes} by its first name, alone and with each side."""
        alone = {self.names[0]: self.coding}
        sides = {f"{side} {self.names[0]}": _sided(self.coding, self.sides, side) for side in SIDES if self.sides}
        return alone | sides


def look_up(name: str) -> Coding | None:
    """Return the codes of a structure by its name; None if the table does not have it.

    Case and the ` `, `_` or `-` between words do not matter. `left` or `right` may stand anywhere in a name, `l` or `r`
    at its end, if the structure is one of a pair.

    >>> look_up("Kidney_L").modifiers
    ('SCT 7771000 Left',)
    >>> look_up("label_1") is None
    True
    """
    table = _table()
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())  # KidneyLeft: two words
    for spelled in (words, re.findall(r"[a-z0-9]+", name.lower())):
        if (entry := table.get(" ".join(spelled))) is not None:
            return entry[0]
        side, rest = _side(spelled)
        entry = table.get(" ".join(rest)) if side else None
        if side and entry is not None and entry[1]:
            return _sided(*entry, side)
    return None


def read_codes(source: str) -> dict[str, Coding]:
    """Read the codes that a user gives: the path of a CSV, or `NAME=NAME IN THE TABLE` pairs joined by commas.

    The CSV has the columns `structure`, `category`, `type` and optionally `modifiers`, `region`, `region_modifiers`,
    `colour`; codes are `SCHEME VALUE MEANING`, several modifiers are joined by `|`. Instead of codes, a column `as` may
    name an entry of the table.

    Returns:
        {structure: its codes}.

    Raises:
        PlanError: it cannot be read, or a name or code is not valid.
    """
    path = Path(source)
    if path.is_file():
        return _unique(_parse_row(row, f"{path}, line {line}") for line, row in _read_rows(path))
    pairs = [pair.partition("=") for pair in source.split(",")]
    if not all(name.strip() and equals and entry.strip() for name, equals, entry in pairs):
        raise PlanError(
            f"--codes {source!r} is neither a file nor pairs of names.",
            "Examples: --codes codes.csv, --codes 'Anterior=anterior hippocampus,GTV-1=gtv'",
        )
    return _unique((name.strip(), _table_entry(entry.strip(), f"--codes {name.strip()}")) for name, _, entry in pairs)


def codes_of(
    names: Iterable[str], plan: Mapping[str, Coding], user_codes: Mapping[str, Coding], generic: bool = False
) -> dict[str, Coding]:
    """Return {structure: its codes}: the user's, else the plan's, else the table's, else, if allowed, "Tissue".

    Args:
        names: the structures, as the plan or labels.json calls them.
        plan: {structure: codes} of the plan.
        user_codes: {structure: codes} that the user gives with this command.
        generic: whether a structure without codes is "Tissue"; its name then stands only in the segment's label.

    Raises:
        PlanError: a structure has no codes, or codes are given for what is not a structure.
    """
    names = list(names)
    unknown = [name for name in user_codes if name not in names]
    if unknown:
        raise PlanError(f"--codes names {unknown[0]!r}; the structures are {_list(names)}.")
    coding_of = {name: user_codes.get(name) or plan.get(name) or look_up(name) for name in names}
    uncoded = [name for name, coding in coding_of.items() if coding is None]
    if uncoded and not generic:
        similar = {name: nearest(name) for name in uncoded}
        example = next((f"{name}={similar[name][0]}" for name in uncoded if similar[name]), f"{uncoded[0]}=liver")
        raise PlanError(
            f"No DICOM codes are known for {_list(uncoded)}; a segmentation object needs them for every structure.",
            f"--codes '{example}' takes a name of the table, --codes FILE.csv gives codes of your own, --generic-codes "
            f"writes 'Tissue' and the name. {TABLE_HINT}.",
        )
    return {name: coding or _TISSUE for name, coding in coding_of.items()}


def nearest(name: str, most: int = 3) -> list[str]:
    """Return up to `most` names of the table that resemble a name: those that hold all its words first."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    holding = [entry for entry in _table() if words and {*words} <= {*entry.split()}]
    return (holding + difflib.get_close_matches(" ".join(words), list(_table()), most))[:most]


def _unique(pairs: Iterable[tuple[str, Coding]]) -> dict[str, Coding]:
    """Return {structure: codes} of pairs, of which no two may have one name."""
    codings: dict[str, Coding] = {}
    for name, coding in pairs:
        if name in codings:
            raise PlanError(f"--codes gives codes of {name!r} twice; expected one entry per structure.")
        codings[name] = coding
    return codings


def _side(words: list[str]) -> tuple[str | None, list[str]]:
    """Return left or right, and the other words; None if the words name neither, or both."""
    sides = [word for word in words if word in SIDES]
    if len(sides) == 1:
        return sides[0], [word for word in words if word not in SIDES]
    if not sides and len(words) > 1 and words[-1] in _SHORT_SIDES:
        return _SHORT_SIDES[words[-1]], words[:-1]
    return None, words


def _sided(coding: Coding, modified: str, side: str) -> Coding:
    key = "modifiers" if modified == "type" else "region_modifiers"
    return coding.model_copy(update={key: (*getattr(coding, key), SIDES[side])})


@lru_cache(maxsize=1)
def table_entries() -> tuple[Entry, ...]:
    """Return the rows of the built-in table, in its order."""
    text = resources.files(__package__).joinpath("codes.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Entry(tuple(row["names"].split("|")), _coding(row), row["sides"], row["source"]) for row in rows)


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[Coding, str]]:
    """Return {name: (codes, what its side modifies: `type`, `region` or nothing)} of the built-in table."""
    return {name: (entry.coding, entry.sides) for entry in table_entries() for name in entry.names}


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise PlanError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}.") from None
    valid = ("structure", "as", *COLUMNS)
    unknown = [name for name in reader.fieldnames or () if name not in valid]
    if "structure" not in (reader.fieldnames or ()) or unknown:
        raise PlanError(f"{path} has the columns {_list(reader.fieldnames or ['none'])}; valid are {', '.join(valid)}.")
    return rows


def _parse_row(row: dict[str, str], source: str) -> tuple[str, Coding]:
    name = (row["structure"] or "").strip()
    if not name:
        raise PlanError(f"{source}: no structure is named.")
    if row.get("as"):
        return name, _table_entry(row["as"].strip(), source)
    try:
        return name, _coding({key: (row.get(key) or "").strip() for key in COLUMNS})
    except ValidationError as error:
        raise PlanError(f"{source}, {name}: {validation_message(error)}.") from None


def _table_entry(name: str, source: str) -> Coding:
    coding = look_up(name)
    if coding is None:
        similar = nearest(name)
        raise PlanError(
            f"{source}: {name!r} is not in the table of codes.",
            f"Did you mean {', '.join(similar)}? {TABLE_HINT}."
            if similar
            else f"A CSV file can give codes of your own. {TABLE_HINT}.",
        )
    return coding


def _coding(row: Mapping[str, str]) -> Coding:
    lists = {key: tuple(filter(None, row[key].split("|"))) for key in ("modifiers", "region_modifiers")}
    optional = {key: row[key] or None for key in ("region", "colour")}
    return Coding.model_validate({"category": row["category"], "type": row["type"], **lists, **optional})


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    rest = f" and {len(shown) - _MAX_NAMES} more" if len(shown) > _MAX_NAMES else ""
    return ", ".join(shown[:_MAX_NAMES]) + rest
