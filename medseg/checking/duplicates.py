"""Rules on scans and labels that a data set holds twice, under two names.

Only cases whose figures (`planning.content`) agree are read a second time and compared voxel by voxel.
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
"""Digits of a mean that are compared: two orders of summation round differently."""
_MANY = 0.2
"""More shared labels than this share of the cases are one finding for all of them."""


def check_duplicates(facts: Sequence[CaseFacts], data: DataSet) -> list[Finding]:
    """Return findings on scans and labels that a data set holds twice.

    Args:
        facts: facts on the cases that could be read.
        data: the data set.
    """
    cases = {case.id: case for case in data.cases}
    images = _copies(facts, _image_key, lambda case: _image_digest(cases[case.id], data))
    labels = _copies(facts, _label_key, lambda case: _label_digest(cases[case.id], data))
    findings = [
        _own_label(cases[case.id]) for case in facts if _may_be_own_label(case) and _is_own_label(cases[case.id], data)
    ]
    findings += [
        _same_image(cases[copy], cases[first], _label_digest(cases[copy], data) == _label_digest(cases[first], data))
        for copy, first in images.items()
    ]
    # a copy of a label beside a copy of its scan has been named already
    only_labels = {copy: first for copy, first in labels.items() if images.get(copy, copy) != images.get(first, first)}
    if len(only_labels) > _MANY * len(facts):
        return [*findings, _same_labels(only_labels)]
    return findings + [_same_label(cases[copy], cases[first]) for copy, first in only_labels.items()]


def _may_be_own_label(facts: CaseFacts) -> bool:
    """Return whether a scan may be its own label, as both have the same minimum, maximum and mean; no file is read."""
    count = sum(facts.voxels.values())
    mean = sum(value * voxels for value, voxels in facts.voxels.items()) / count
    return len(facts.voxels) > 1 and any(
        (channel.low, channel.high) == (min(facts.voxels), max(facts.voxels)) and np.isclose(channel.mean, mean)
        for channel in facts.content.channels
    )


def _is_own_label(case: Case, data: DataSet) -> bool:
    """Return whether a channel of a scan has the values of its label, voxel by voxel."""
    try:
        loaded = load_case(case, len(data.channels), data.reading, data.labels)
    except MedsegError:  # the file changed or vanished after the pass
        return False
    return any(np.array_equal(channel, loaded.label.array[0]) for channel in loaded.image.array)


def _own_label(case: Case) -> Finding:
    """Return the finding on a scan that is its own label."""
    message = f"{case.channels[0]} holds the same values as its label {case.label}."
    remedy = "The label was probably saved over the scan: copy the scan again, or leave the case out."
    return Finding("own label", case.id, message, remedy, case.channels[0])


def _copies(
    facts: Sequence[CaseFacts], key: Callable[[CaseFacts], Hashable | None], digest: Callable[[CaseFacts], str]
) -> dict[str, str]:
    """Return id of each copy -> id of the first case with the same content.

    Args:
        facts: facts on the cases.
        key: what copies agree in, from the facts alone; None for a case that is not compared.
        digest: hash of the content, for which the case is read again.
    """
    groups: dict[Hashable, list[CaseFacts]] = defaultdict(list)
    for case in facts:
        case_key = key(case)
        if case_key is not None:
            groups[case_key].append(case)
    copies: dict[str, str] = {}
    for group in groups.values():
        if len(group) < 2:
            continue
        first_ids: dict[str, str] = {}
        for case in group:
            first = first_ids.setdefault(digest(case), case.id)
            if first != case.id:
                copies[case.id] = first
    return copies


def _image_key(facts: CaseFacts) -> Hashable:
    """Return figures on a scan that do not depend on its orientation; scans that are copies have equal ones."""
    channels = facts.content.channels
    figures = tuple((channel.low, channel.high, float(f"{channel.mean:.{_MEAN_DIGITS}g}")) for channel in channels)
    return tuple(sorted(facts.shape_voxels)), figures


def _label_key(facts: CaseFacts) -> Hashable | None:
    """Return figures on a label; None for one with a single value, as many labels may be empty with good reason."""
    if len(facts.voxels) < 2:
        return None
    return facts.shape_voxels, tuple(sorted(facts.voxels.items())), facts.content.foreground_checksum


def _image_digest(case: Case, data: DataSet) -> str:
    """Return the hash of a case's image."""
    try:
        return _digest(load_case_image(case, len(data.channels), data.reading))
    except MedsegError:  # the file changed or vanished after the pass
        return f"no image of {case.id}"


def _label_digest(case: Case, data: DataSet) -> str:
    """Return the hash of a case's label map."""
    try:
        return _digest(load_case(case, len(data.channels), data.reading, data.labels).label)
    except MedsegError:  # the file changed or vanished after the pass
        return f"no label of {case.id}"


def _digest(image: Image) -> str:
    """Return the hash of the values in the canonical frame, whatever type they are stored in."""
    array = Orientation.of(image).apply(image.array) if image.spacing_known else image.array
    digest = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    for channel in array:
        for plane in channel:
            digest.update(np.ascontiguousarray(plane, dtype=np.float64).data)
    return digest.hexdigest()


def _same_image(copy: Case, first: Case, same_label: bool) -> Finding:
    """Return the finding on a copy of a scan."""
    label = "the same label" if same_label else "another label"
    message = f"{copy.channels[0]} holds the same scan as {first.channels[0]}, with {label}."
    remedy = (
        "Leave one of them out with --exclude IDS.txt; or, if both are wanted, give them one patient in the table of "
        "cases, so that they never stand on both sides of a split."
    )
    return Finding("duplicate image", copy.id, message, remedy, copy.channels[0])


def _same_label(copy: Case, first: Case) -> Finding:
    """Return the finding on a copy of a label beside another scan."""
    message = f"{copy.label} holds the same label as {first.label}, but their scans differ."
    remedy = (
        "One of the two was probably saved over the other: look at both. If they are scans of one patient, give them "
        "one patient in the table of cases."
    )
    return Finding("duplicate label", copy.id, message, remedy, copy.label)


def _same_labels(copies: Mapping[str, str]) -> Finding:
    """Return the one finding on many copies of labels."""
    copy, first = next(iter(copies.items()))
    message = f"{len(copies)} cases have the same label as another one, but other scans (such as {copy} and {first})."
    remedy = (
        "Cases that share a label are scans of one patient, or an atlas: give them one patient in the table of cases."
    )
    return Finding("duplicate label", "", message, remedy)
