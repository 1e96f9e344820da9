"""How large the voxels of a TIFF are: from a file beside it, OME's or ImageJ's description, or the resolution tags."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from medseg.core.errors import DataError
from medseg.io.formats.stack import mm_in

Spacing = tuple[float, float, float]

_SUFFIX = re.compile(r"(\.ome)?\.tiff?$", re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}$")
_INCH, _CENTIMETRE = 2, 3
_MM_OF = {_INCH: 25.4, _CENTIMETRE: 10.0}
_OF_PRINTERS = (72, 96, 100, 120, 150, 180, 200, 240, 254, 300, 350, 360, 400, 600, 720, 1200, 2400)
"""Dots per inch that programs write where they know nothing of the object."""


def spacing_zyx(tiff: Any, slices: int, path: Path) -> Spacing | None:
    """Distance of voxels in mm along z, y and x; None where it is not known.

    Args:
        tiff: tifffile's open file.
        slices: how many there are; for a single one, the distance of slices does not matter.
        path: the file. `{"spacing": [z, y, x]}` in CASE.json beside it goes before everything else, for CASE_0000.tif
            as well (nnU-Net's convention).

    Raises:
        DataError: the file beside it is not understood.
    """
    beside = _from_side_file(path)
    if beside is not None:
        return beside
    if tiff.is_ome:
        found = _from_ome(tiff.ome_metadata or "")
    elif tiff.is_imagej:
        found = _from_imagej(tiff)
    else:
        found = _from_tags(tiff)
    if found is None or not all(0 < size < float("inf") for size in found[1:]):
        return None
    if not 0 < found[0] < float("inf"):
        return None if slices > 1 else (1.0, found[1], found[2])
    return found


def side_file(path: Path) -> Path | None:
    """The file beside a TIFF that may hold its spacing."""
    stem = _SUFFIX.sub("", path.name)
    names = (f"{stem}.json", f"{_CHANNEL.sub('', stem)}.json")
    return next((found for name in names if (found := path.with_name(name)).is_file()), None)


def _from_side_file(path: Path) -> Spacing | None:
    place = side_file(path)
    if place is None:
        return None
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{place} is not JSON: {error}.", 'Expected {"spacing": [z, y, x]} in millimetres.') from None
    if not isinstance(values, dict) or "spacing" not in values:
        return None  # it is about something else
    given = values["spacing"]
    if (
        not isinstance(given, list)
        or not 2 <= len(given) <= 3
        or not all(isinstance(size, int | float) and 0 < size < float("inf") for size in given)
    ):
        raise DataError(f"{place}: spacing is {given!r}; expected two or three numbers: [z, y, x] in millimetres.")
    z, y, x = given if len(given) == 3 else (1.0, *given)
    return float(z), float(y), float(x)


def _from_ome(text: str) -> Spacing | None:
    """OME's PhysicalSizeX, -Y and -Z, in micrometres unless they say otherwise."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    values = dict(re.findall(r'(\w+)="([^"]*)"', pixels[0])) if pixels else {}
    sizes = []
    for axis in "ZYX":
        unit = html.unescape(values.get(f"PhysicalSize{axis}Unit", "um"))
        size = _number(values.get(f"PhysicalSize{axis}", "0")) * (mm_in(unit) or 0.0)
        sizes.append(size)
    return sizes[0], sizes[1], sizes[2]


def _from_imagej(tiff: Any) -> Spacing | None:
    """ImageJ's distance of slices and pixels per unit."""
    description = tiff.imagej_metadata or {}
    unit = mm_in(str(description.get("unit", "")))
    per_unit = _per_unit(tiff)
    if unit is None or per_unit is None:
        return None
    return _number(description.get("spacing", 0)) * unit, unit / per_unit[0], unit / per_unit[1]


def _from_tags(tiff: Any) -> Spacing | None:
    """Pixels per centimetre or inch, unless it is what programs write by habit; it says nothing of slices."""
    page = tiff.pages[0]
    unit, per_unit = page.tags.get("ResolutionUnit"), _per_unit(tiff)
    mm = _MM_OF.get(int(unit.value)) if unit is not None and isinstance(unit.value, int) else None
    if mm is None or per_unit is None:
        return None
    if all(any(abs(count * 25.4 / mm - dpi) < 0.01 * dpi for dpi in _OF_PRINTERS) for count in per_unit):
        return None
    return 0.0, mm / per_unit[0], mm / per_unit[1]


def _per_unit(tiff: Any) -> tuple[float, float] | None:
    """Pixels per unit of length along y and x."""
    tags = [tiff.pages[0].tags.get(name) for name in ("YResolution", "XResolution")]
    found = []
    for tag in tags:
        if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or 0 in tag.value:
            return None
        found.append(tag.value[0] / tag.value[1])
    return found[0], found[1]


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return 0.0
