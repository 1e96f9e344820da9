"""Which coded words say what a structure is: from the plan, from a file of the user's, or from the table shipped here.

`codes.csv` holds names (aliases joined by `|`) and their codes. Its sources, one a row: the context groups of DICOM
PS3.16; dcmqi's segmentation contexts (BSD-3), which most colours are from as well; TotalSegmentator's table of
structures (Apache-2.0); SNOMED CT's own name for the code. `sides` says what left and right go with: the type, or the
region. Nothing is guessed: a name that does not stand there, with or without its side, has no code.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
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
_GENERIC = Coding(category="SCT 85756007 Tissue", type="SCT 85756007 Tissue")
_MOST_NAMES = 12


def look_up(name: str) -> Coding | None:
    """The codes of a structure by its name, in any case and with any of ` `, `_`, `-` between words; None if unknown.

    `left` or `right` may stand anywhere in a name, `l` or `r` at its end, where the structure is one of a pair.
    """
    table = _table()
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    for spelled in (words, re.findall(r"[a-z0-9]+", name.lower())):
        if (found := table.get(" ".join(spelled))) is not None:
            return found[0]
        side, rest = _side(spelled)
        found = table.get(" ".join(rest)) if side else None
        if side and found is not None and found[1]:
            return _sided(*found, side)
    return None


def read_codes(source: str) -> dict[str, Coding]:
    """What a user says of codes: the path of a CSV, or `NAME=NAME IN THE TABLE` pairs joined by commas.

    The CSV has the columns `structure`, `category`, `type` and, where wanted, `modifiers`, `region`,
    `region_modifiers`, `colour`; codes are `SCHEME VALUE MEANING`, several modifiers are joined by `|`. Instead of
    codes, a column `as` may name an entry of the table.

    Raises:
        PlanError: it cannot be read, or a name or code is not valid.
    """
    path = Path(source)
    if path.is_file():
        return _once(_row(row, f"{path}, line {line}") for line, row in _rows(path))
    pairs = [pair.partition("=") for pair in source.split(",")]
    if not all(name.strip() and equals and known.strip() for name, equals, known in pairs):
        raise PlanError(
            f"--codes {source!r} is neither a file nor pairs of names.",
            "Examples: --codes codes.csv, --codes 'Anterior=anterior hippocampus,GTV-1=gtv'",
        )
    return _once((name.strip(), _known(known.strip(), f"--codes {name.strip()}")) for name, _, known in pairs)


def codes_of(
    names: Iterable[str], plan: Mapping[str, Coding], given: Mapping[str, Coding], generic: bool = False
) -> dict[str, Coding]:
    """The codes of each structure: as given now, as the plan says, as the table says, or, if allowed, generic ones.

    Args:
        names: the structures, as the plan or labels.json calls them.
        plan: the plan's codes.
        given: what the user says with this command, which goes before.
        generic: take "Tissue" for what has no code; the name then stands only in the segment's label.

    Raises:
        PlanError: a structure has no codes, or codes are given for what is no structure.
    """
    names = list(names)
    strangers = [name for name in given if name not in names]
    if strangers:
        raise PlanError(f"--codes names {strangers[0]!r}; the structures are {_list(names)}.")
    found = {name: given.get(name) or plan.get(name) or look_up(name) for name in names}
    uncoded = [name for name, coding in found.items() if coding is None]
    if uncoded and not generic:
        near = {name: nearest(name) for name in uncoded}
        example = next((f"{name}={near[name][0]}" for name in uncoded if near[name]), f"{uncoded[0]}=liver")
        raise PlanError(
            f"No DICOM codes are known for {_list(uncoded)}; a segmentation object needs them for every structure.",
            f"--codes '{example}' takes a name of the table (medseg/delivery/dicom/codes.csv), --codes FILE.csv gives "
            "codes of your own, --generic-codes writes 'Tissue' and the name.",
        )
    return {name: coding or _GENERIC for name, coding in found.items()}


def nearest(name: str, most: int = 3) -> list[str]:
    """Names of the table that look like a name."""
    plain = " ".join(re.findall(r"[a-z0-9]+", name.lower()))
    holding = [known for known in _table() if plain and set(plain.split()) <= set(known.split())]
    return (holding + difflib.get_close_matches(plain, list(_table()), most))[:most]


def _once(pairs: Iterable[tuple[str, Coding]]) -> dict[str, Coding]:
    """A structure's codes by its name, which no two may share."""
    found: dict[str, Coding] = {}
    for name, coding in pairs:
        if name in found:
            raise PlanError(f"--codes gives codes of {name!r} twice; expected one entry a structure.")
        found[name] = coding
    return found


def _side(words: list[str]) -> tuple[str | None, list[str]]:
    """left or right, and the other words; None where neither is said, or both."""
    sides = [word for word in words if word in SIDES]
    if len(sides) == 1:
        return sides[0], [word for word in words if word not in SIDES]
    if not sides and len(words) > 1 and words[-1] in _SHORT_SIDES:
        return _SHORT_SIDES[words[-1]], words[:-1]
    return None, words


def _sided(coding: Coding, goes_with: str, side: str) -> Coding:
    key = "modifiers" if goes_with == "type" else "region_modifiers"
    return coding.model_copy(update={key: (*getattr(coding, key), SIDES[side])})


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[Coding, str]]:
    """{name: (codes, what its side goes with)} of the shipped table."""
    text = resources.files(__package__).joinpath("codes.csv").read_text(encoding="utf-8")
    table: dict[str, tuple[Coding, str]] = {}
    for row in csv.DictReader(text.splitlines()):
        coding = _coding(row)
        table.update(dict.fromkeys(row["names"].split("|"), (coding, row["sides"])))
    return table


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise PlanError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}.") from None
    valid = ("structure", "as", *COLUMNS)
    odd = [name for name in reader.fieldnames or () if name not in valid]
    if "structure" not in (reader.fieldnames or ()) or odd:
        raise PlanError(f"{path} has the columns {_list(reader.fieldnames or ['none'])}; valid are {', '.join(valid)}.")
    return rows


def _row(row: dict[str, str], place: str) -> tuple[str, Coding]:
    name = (row["structure"] or "").strip()
    if not name:
        raise PlanError(f"{place}: no structure is named.")
    if row.get("as"):
        return name, _known(row["as"].strip(), place)
    try:
        return name, _coding({key: (row.get(key) or "").strip() for key in COLUMNS})
    except ValidationError as error:
        raise PlanError(f"{place}, {name}: {validation_message(error)}.") from None


def _known(name: str, place: str) -> Coding:
    coding = look_up(name)
    if coding is None:
        near = nearest(name)
        raise PlanError(
            f"{place}: {name!r} is not in the table of codes.",
            f"Did you mean {', '.join(near)}?" if near else "A CSV file can give codes of your own.",
        )
    return coding


def _coding(row: Mapping[str, str]) -> Coding:
    many = {key: tuple(filter(None, row[key].split("|"))) for key in ("modifiers", "region_modifiers")}
    one = {key: row[key] or None for key in ("region", "colour")}
    return Coding.model_validate({"category": row["category"], "type": row["type"], **many, **one})


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    rest = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + rest
