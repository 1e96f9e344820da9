"""Rules on the grids of a set: units, spacings and sizes far from the rest, axes in several orders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.checking.outliers import stand_alone, tolerance, usual
from medseg.core.case import Case
from medseg.core.wording import counted
from medseg.planning.findings import Finding, file_named
from medseg.planning.survey import CaseFacts

_FEW = 0.2
_FEWEST_ALIKE = 3
_AXES = ("z", "y", "x")
_HEADER_REMEDIES = {
    "two affines": "See which of the two a viewer agrees with; a program that uses the other sees the scan elsewhere.",
    "odd header": "Open it in a viewer: is left on the left, is the scan whole? If so, all is well.",
}
_SPACING_LIMITS = (log(1.5), log(3))
_SHAPE_LIMITS = (log(2), np.inf)


def check_grids(facts: Sequence[CaseFacts], cases: Mapping[str, Case], stored: bool) -> list[Finding]:
    """Findings on the grids of the cases that could be read.

    Args:
        facts: of these cases.
        cases: by id.
        stored: whether the axes are used as they are stored, so that their order matters.
    """
    found = _odd_spacing(facts, cases) + _odd_shape(facts, cases) + _odd_headers(facts, cases)
    return found + (_odd_axes(facts) if stored else [])


def odd_units(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Errors: the few cases whose files do not say how large a voxel is where the others' do, or the reverse."""
    known = [one for one in facts if one.spacing_known]
    unknown = [one for one in facts if not one.spacing_known]
    few, many = sorted((known, unknown), key=len)
    if len(few) > _FEW * len(facts):
        return []
    what = "says" if few is known else "does not say"
    remedy = "Bring it to the format of the others, so that sizes mean the same everywhere."
    return [
        Finding(
            "units",
            one.id,
            f"{cases[one.id].channels[0]} {what} how large a voxel is, unlike {counted(len(many), 'other case')}.",
            remedy,
            cases[one.id].channels[0],
        )
        for one in few
    ]


def _odd_spacing(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    known = [one for one in facts if one.spacing_known]
    spacings = np.array([one.spacing_mm for one in known]).reshape(-1, 3)
    used = [axis for axis in range(3) if any(one.shape_voxels[axis] > 1 for one in known)]
    remedy = (
        "Look at its header: units of cm or µm, or a spacing that was lost and replaced by 1, are common. If the scan "
        "is like that, keep it: it is resampled as the others are."
    )
    return [
        Finding("spacing", one.id, f"{cases[one.id].channels[0]} {text}.", remedy, cases[one.id].channels[0])
        for one, text in _far(known, spacings, used, _SPACING_LIMITS, ("has a spacing of", "mm"))
    ]


def _odd_shape(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    shapes = np.array([one.shape_voxels for one in facts], float).reshape(-1, 3)
    remedy = "Look whether it is a whole scan, and only one; a localizer or a part of a scan is of no use here."
    return [
        Finding("shape", one.id, f"{cases[one.id].channels[0]} {text}.", remedy, cases[one.id].channels[0])
        for one, text in _far(facts, shapes, [0, 1, 2], _SHAPE_LIMITS, ("has a size of", "voxels"))
    ]


def _far(
    facts: Sequence[CaseFacts],
    values: NDArray[np.float64],
    axes: Sequence[int],
    limits: tuple[float, float],
    words: tuple[str, str],
) -> list[tuple[CaseFacts, str]]:
    """The cases that stand alone along an axis, with their (n, 3) value and that of nine in ten cases in words."""
    reasons: dict[int, list[str]] = {}
    for axis in axes:
        logarithm = np.log(values[:, axis])
        odd = stand_alone(logarithm, tolerance(logarithm, *limits))
        for number in np.flatnonzero(odd).tolist():
            low, high = usual(values[:, axis], odd)
            shown = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            reasons.setdefault(number, []).append(f"{shown} along {_AXES[axis]}")
    return [(facts[number], _in_words(values[number], texts, *words)) for number, texts in sorted(reasons.items())]


def _in_words(value: NDArray[np.float64], usual_values: Sequence[str], what: str, unit: str) -> str:
    shown = " x ".join(f"{number:.4g}" for number in value.tolist())
    return f"{what} {shown} {unit} (z, y, x); others have {' and '.join(usual_values)}"


def _odd_headers(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """What headers say that leaves doubt: one finding a file, or one for all where many say the same."""
    alike: dict[str, list[tuple[str, Path | None, str]]] = {}
    for one in facts:
        for note in one.notes:
            path = file_named(note, cases[one.id])
            said = note if path is None else note.replace(str(path), "")
            alike.setdefault(re.sub(r"[0-9.e+-]*[0-9][0-9.e+-]*", "#", said), []).append((one.id, path, note))
    found = []
    for said, group in alike.items():
        kind = "two affines" if "qform and a sform" in said or "qform that is broken" in said else "odd header"
        of_cases = {id for id, _, _ in group}
        many = len(of_cases) > max(_FEWEST_ALIKE, _FEW * len(facts))
        others = f" So do those of {counted(len(of_cases) - 1, 'other case')}." if many else ""
        for id, path, note in group[:1] if many else group:
            found.append(Finding(kind, "" if many else id, f"{note}.{others}", _HEADER_REMEDIES[kind], path))
    return found


def _odd_axes(facts: Sequence[CaseFacts]) -> list[Finding]:
    """For axes used as stored: a data set that stores them in several orders."""
    counts = Counter(one.content.axes for one in facts if one.content.axes).most_common()
    if len(counts) < 2:
        return []
    few = {one.content.axes: one.id for one in reversed(facts)}
    shown = ", ".join(f"{axes} in {count} (such as {few[axes]})" for axes, count in counts[:6])
    message = f"The axes are stored in {len(counts)} different orders: {shown}."
    remedy = "Plan with --orientation canonical, which turns every scan to one frame."
    return [Finding("orientation", "", message, remedy)]
