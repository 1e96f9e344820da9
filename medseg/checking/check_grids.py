"""Rules on the grids of a data set: units, spacings and sizes far from the rest, odd headers, axes in mixed orders."""

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
"""Share of the cases up to which something is an exception."""
_MOST_NAMED_APART = 3
"""The same remark on more headers than this, and than a fifth of the cases, is one finding for all of them."""
_AXES = ("z", "y", "x")
_HEADER_REMEDIES = {
    "two affines": "See which of the two a viewer agrees with; a program that uses the other sees the scan elsewhere.",
    "nan outside": "If something was measured there, export the scan again; if not, all is well.",
    "odd header": "Open it in a viewer: is left on the left, is the scan whole? If so, all is well.",
}
_NOTES = {
    "qform and a sform": "two affines",
    "qform that is broken": "two affines",
    "are NaN, all at the edge": "nan outside",
}
"""Words of what readers note on a file -> kind of the finding."""
_SPACING_LIMITS = (log(1.5), log(3))
"""A spacing that differs by less than the first factor is never odd, by more than the second always."""
_OTHER_UNIT = log(9)
"""Along every axis by a factor of 9 or more from the median (cm for mm is 10, less how the cases differ) is another
unit, also where many cases agree in it; of two cases, both are named, as nothing says which one is right."""
_LARGEST_MM = 5000
"""No scanner's field of view is as large; a header in metres, or one without a size, makes such scans."""
_SHAPE_LIMITS = (log(2), np.inf)
"""A size that differs by less than a factor of 2 is never odd."""


def check_grids(facts: Sequence[CaseFacts], cases: Mapping[str, Case], stored: bool) -> list[Finding]:
    """Return findings on the grids of the cases that could be read.

    Args:
        facts: facts on these cases.
        cases: the cases by id.
        stored: whether the plan uses the axes as they are stored, so that their order matters.
    """
    findings = _odd_spacing(facts, cases) + _odd_shape(facts, cases) + _odd_headers(facts, cases)
    return findings + (_odd_axes(facts) if stored else [])


def odd_units(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return an error for each of the few cases that store no voxel size where most cases store one, or the reverse.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
    """
    known = [case for case in facts if case.spacing_known]
    unknown = [case for case in facts if not case.spacing_known]
    few, many = sorted((known, unknown), key=len)
    if len(few) > _FEW * len(facts):
        return []
    verb = "says" if few is known else "does not say"
    remedy = "Bring it to the format of the others, so that sizes mean the same everywhere."
    return [
        Finding(
            "units",
            case.id,
            f"{cases[case.id].channels[0]} {verb} how large a voxel is, unlike {counted(len(many), 'other case')}.",
            remedy,
            cases[case.id].channels[0],
        )
        for case in few
    ]


def _odd_spacing(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on spacings far from the rest."""
    known = [case for case in facts if case.spacing_known]
    spacings = np.array([case.spacing_mm for case in known]).reshape(-1, 3)
    used = [axis for axis in range(3) if any(case.shape_voxels[axis] > 1 for case in known)]
    remedy = (
        "Look at its header: units of cm or µm, or a spacing that was lost and replaced by 1, are common. If the scan "
        "is like that, keep it: it is resampled as the others are."
    )
    far = _far_cases(known, spacings, used, _SPACING_LIMITS, ("has a spacing of", "mm"))
    named = {case.id for case, _ in far}
    far += [(case, text) for case, text in _other_units(known, spacings, used) if case.id not in named]
    named |= {case.id for case, _ in far}
    far += [(case, text) for case, text in _too_large(known) if case.id not in named]
    return [
        Finding("spacing", case.id, f"{cases[case.id].channels[0]} {text}.", remedy, cases[case.id].channels[0])
        for case, text in far
    ]


def _other_units(
    facts: Sequence[CaseFacts], spacings: NDArray[np.float64], used: Sequence[int]
) -> list[tuple[CaseFacts, str]]:
    """Return the cases whose spacing is ten times or more from the median, as in another unit, even if many agree."""
    if len(facts) < 2 or not used:
        return []
    # one of the spacings, and not the mean of two that may be in different units
    median = np.quantile(spacings, 0.5, axis=0, method="lower")
    times = np.log(spacings / median)[:, used]
    odd = (times >= _OTHER_UNIT).all(axis=1) | (times <= -_OTHER_UNIT).all(axis=1)
    shown = [" x ".join(f"{number:.4g}" for number in spacing) for spacing in [*spacings.tolist(), median.tolist()]]
    far = np.flatnonzero(odd).tolist()
    if len(facts) == 2 and far:
        text = "has a spacing of {} mm (z, y, x), ten times or more from the {} of the other case; which unit is wrong"
        return [(case, text.format(*order)) for case, order in zip(facts, (shown[:2], shown[1::-1]), strict=True)]
    text = "has a spacing of {} mm (z, y, x), ten times or more from the median of {}; is its unit another one"
    return [(facts[index], text.format(shown[index], shown[-1])) for index in far]


def _too_large(facts: Sequence[CaseFacts]) -> list[tuple[CaseFacts, str]]:
    """Return the cases that are larger than any real scan can be, even if many cases agree."""
    large = []
    for case in facts:
        sizes_mm = [size * spacing for size, spacing in zip(case.shape_voxels, case.spacing_mm, strict=True)]
        if max(sizes_mm) > _LARGEST_MM:
            size = " x ".join(f"{number / 1000:.3g}" for number in sizes_mm)
            large.append((case, f"is {size} metres large (z, y, x); is its unit another one"))
    return large


def _odd_shape(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on sizes far from the rest."""
    shapes = np.array([case.shape_voxels for case in facts], float).reshape(-1, 3)
    remedy = "Look whether it is a whole scan, and only one; a localizer or a part of a scan is of no use here."
    return [
        Finding("shape", case.id, f"{cases[case.id].channels[0]} {text}.", remedy, cases[case.id].channels[0])
        for case, text in _far_cases(facts, shapes, [0, 1, 2], _SHAPE_LIMITS, ("has a size of", "voxels"))
    ]


def _far_cases(
    facts: Sequence[CaseFacts],
    values: NDArray[np.float64],
    axes: Sequence[int],
    limits: tuple[float, float],
    words: tuple[str, str],
) -> list[tuple[CaseFacts, str]]:
    """Return the cases that are far from the others along an axis, each with a phrase: its value and the usual ones.

    Args:
        facts: facts on the cases.
        values: (cases, 3) the spacings or sizes that are compared, along (z, y, x).
        axes: the axes that are compared.
        limits: the differences of the natural logarithm below which a value is never odd, and above which it always is;
            between them the spread of the values decides, see `tolerance`.
        words: the verb and the unit of the phrase, such as ("has a spacing of", "mm").
    """
    usual_values: dict[int, list[str]] = {}
    for axis in axes:
        logarithm = np.log(values[:, axis])  # so that half and double are equally far
        odd = stand_alone(logarithm, tolerance(logarithm, *limits))
        for index in np.flatnonzero(odd).tolist():
            low, high = usual(values[:, axis], odd)
            span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            usual_values.setdefault(index, []).append(f"{span} along {_AXES[axis]}")
    verb, unit = words
    far_cases = []
    for index, spans in sorted(usual_values.items()):
        value = " x ".join(f"{number:.4g}" for number in values[index].tolist())
        far_cases.append((facts[index], f"{verb} {value} {unit} (z, y, x); others have {' and '.join(spans)}"))
    return far_cases


def _odd_headers(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return findings on ambiguous headers: one for each file, or one for all if many have the same oddity."""
    similar: dict[str, list[tuple[str, Path | None, str]]] = {}
    for case in facts:
        for note in case.notes:
            path = file_named(note, cases[case.id])
            without_path = note if path is None else note.replace(str(path), "")
            pattern = re.sub(r"[0-9.e+-]*[0-9][0-9.e+-]*", "#", without_path)  # notes that differ only in numbers
            similar.setdefault(pattern, []).append((case.id, path, note))
    findings = []
    for pattern, group in similar.items():
        kind = next((kind for words, kind in _NOTES.items() if words in pattern), "odd header")
        ids = {id for id, _, _ in group}
        many = len(ids) > max(_MOST_NAMED_APART, _FEW * len(facts))
        others = f" So do those of {counted(len(ids) - 1, 'other case')}." if many else ""
        for id, path, note in group[:1] if many else group:
            findings.append(Finding(kind, "" if many else id, f"{note}.{others}", _HEADER_REMEDIES[kind], path))
    return findings


def _odd_axes(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Return a finding on a data set that stores the axes in several orders."""
    counts = Counter(case.content.axes for case in facts if case.content.axes).most_common()
    if len(counts) < 2:
        return []
    example = {case.content.axes: case.id for case in reversed(facts)}  # the first case of each order
    orders = ", ".join(f"{axes} in {count} (such as {example[axes]})" for axes, count in counts[:6])
    message = f"The axes are stored in {len(counts)} different orders: {orders}."
    remedy = "Plan with --orientation canonical, which brings every scan to one frame."
    return [Finding("orientation", "", message, remedy)]
