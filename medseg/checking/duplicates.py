"""Scans and labels that a set holds twice, under two names.

Twins are looked for among the figures of `planning.content`; only cases that agree in them are read a second time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.image import Image, Orientation
from medseg.io.layouts.dataset import DataSet
from medseg.io.load import load_case, load_case_image
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_MEAN_DIGITS = 9
_MANY = 0.2


def check_twins(facts: Sequence[CaseFacts], data: DataSet) -> list[Finding]:
    """Findings on scans and labels that the set holds twice; `facts` are those of the cases that could be read."""
    cases = {case.id: case for case in data.cases}
    images = _twins(facts, _image_key, lambda one: _image_digest(cases[one.id], data))
    labels = _twins(facts, _label_key, lambda one: _label_digest(cases[one.id], data))
    found = [
        _same_image(cases[twin], cases[first], _label_digest(cases[twin], data) == _label_digest(cases[first], data))
        for twin, first in images.items()
    ]
    copies = {twin: first for twin, first in labels.items() if images.get(twin, twin) != images.get(first, first)}
    if len(copies) > _MANY * len(facts):
        return [*found, _same_labels(copies)]
    return found + [_same_label(cases[twin], cases[first]) for twin, first in copies.items()]


def _twins(
    facts: Sequence[CaseFacts], key: Callable[[CaseFacts], Hashable | None], digest: Callable[[CaseFacts], str]
) -> dict[str, str]:
    """The id of each twin -> that of the first case with the same content."""
    alike: dict[Hashable, list[CaseFacts]] = defaultdict(list)
    for one in facts:
        own = key(one)
        if own is not None:
            alike[own].append(one)
    twins: dict[str, str] = {}
    for group in alike.values():
        if len(group) < 2:
            continue
        first: dict[str, str] = {}
        for one in group:
            seen = first.setdefault(digest(one), one.id)
            if seen != one.id:
                twins[one.id] = seen
    return twins


def _image_key(facts: CaseFacts) -> Hashable:
    """The same for one scan in two orientations."""
    figures = tuple((one.low, one.high, float(f"{one.mean:.{_MEAN_DIGITS}g}")) for one in facts.content.channels)
    return tuple(sorted(facts.shape_voxels)), figures


def _label_key(facts: CaseFacts) -> Hashable | None:
    """None for a label that is the same everywhere, which others may be with good reason."""
    if len(facts.voxels) < 2:
        return None
    return facts.shape_voxels, tuple(sorted(facts.voxels.items())), facts.content.foreground_checksum


def _image_digest(case: Case, data: DataSet) -> str:
    try:
        return _digest(load_case_image(case, len(data.channels), data.reading))
    except MedsegError:  # gone since it was read
        return f"no image of {case.id}"


def _label_digest(case: Case, data: DataSet) -> str:
    try:
        return _digest(load_case(case, len(data.channels), data.reading, data.labels).label)
    except MedsegError:
        return f"no label of {case.id}"


def _digest(image: Image) -> str:
    """Hash of the values in the canonical frame, whatever type they are stored in."""
    array = Orientation.of(image).apply(image.array) if image.spacing_known else image.array
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    for channel in array:
        for plane in channel:
            digest.update(np.ascontiguousarray(plane, dtype=np.float64).data)
    return digest.hexdigest()


def _same_image(twin: Case, first: Case, same_label: bool) -> Finding:
    label = "the same label" if same_label else "another label"
    message = f"{twin.channels[0]} holds the same scan as {first.channels[0]}, with {label}."
    remedy = (
        "Leave one of them out with --exclude; or, if both are wanted, give them one patient in the table of cases, so "
        "that they never stand on both sides of a split."
    )
    return Finding("duplicate image", twin.id, message, remedy, twin.channels[0])


def _same_label(twin: Case, first: Case) -> Finding:
    message = f"{twin.label} holds the same label as {first.label}, but their scans differ."
    remedy = (
        "One of the two was probably saved over the other: look at both. If they are scans of one patient, give them "
        "one patient in the table of cases."
    )
    return Finding("duplicate label", twin.id, message, remedy, twin.label)


def _same_labels(copies: Mapping[str, str]) -> Finding:
    twin, first = next(iter(copies.items()))
    message = f"{len(copies)} cases have the same label as another one, but other scans (such as {twin} and {first})."
    remedy = (
        "Cases that share a label are scans of one patient, or an atlas: give them one patient in the table of cases."
    )
    return Finding("duplicate label", "", message, remedy)
