"""DataSet: the cases of a folder with what it declares about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.dicom.geometry.options import DicomOptions
from medseg.io.images import AS_STORED
from medseg.plans.sections import Reading

Layout = Literal["msd", "nnunet", "pairs", "voc", "bids", "dicom", "folders", "files", "table", "patterns"]
"""How a data set lies; `LAYOUTS` says it in words."""

LAYOUTS: dict[str, str] = {
    "msd": "Medical Segmentation Decathlon",
    "nnunet": "nnU-Net",
    "pairs": "paired folders",
    "voc": "Pascal VOC",
    "bids": "BIDS",
    "dicom": "DICOM studies",
    "folders": "one folder per case",
    "files": "images and labels in one folder",
    "table": "a table of cases",
    "patterns": "file patterns",
}


@dataclass(frozen=True)
class Naming:
    """What a user says about which files are meant, where the folder alone leaves it open.

    Attributes:
        images: one entry a channel: patterns in which `*` is the case id (`*_flair.nii.gz`), or channels by name as
            the folder has them (`flair`).
        labels: likewise one pattern, or the name that label files have there (`seg`).
        table: a CSV that lists the files of each case.
        series: of DICOM studies, one rule for all or `CHANNEL:RULE`, one a channel; see `io.dicom.choose`.
        dicom: what is allowed to be done to series that are no regular volumes.
    """

    images: tuple[str, ...] = ()
    labels: str | None = None
    table: Path | None = None
    series: tuple[str, ...] = ()
    dicom: DicomOptions = field(default_factory=DicomOptions)


NOTHING_SAID = Naming()


@dataclass(frozen=True)
class DataSet:
    """A folder of cases with labels.

    Attributes:
        folder: where it lies.
        layout: how it is laid out there.
        channels: names of the channels, in order.
        labels: the structures; None where the layout does not declare them.
        cases: sorted by id, each with a label.
        problems: what was left out and why, one `LeftOut` each, and what else is worth a note.
        ignore: the value of voxels without annotation, where the layout fixes it and `labels` is None.
        ignore_assumed: whether only the layout says so, not whoever uses the data set.
        reading: what the values in its files mean, where the files alone do not say.
        series_rules: of DICOM studies, the rule by which the series of each channel was chosen, where one was given.
    """

    folder: Path
    layout: Layout
    channels: tuple[str, ...]
    labels: Labels | None
    cases: list[Case]
    problems: list[str]
    ignore: int | None = None
    ignore_assumed: bool = False
    reading: Reading = AS_STORED
    series_rules: tuple[str, ...] = ()


def pair_up(
    images: Mapping[str, tuple[Path, ...]],
    labels: Mapping[str, Path],
    folders: tuple[Path, Path],
    problems: dict[str, str],
) -> list[Case]:
    """Images with their labels by id; what has no counterpart is added to `problems` unless it is there already."""
    for folder, have, lack in ((folders[1], images, labels), (folders[0], labels, images)):
        what = "label" if lack is labels else "image"
        for id in have.keys() - lack.keys() - problems.keys():
            problems[id] = f"there is no {what} of this name in {folder}"
    return [Case(id, id, images[id], labels[id]) for id in images.keys() & labels.keys()]


class LeftOut(str):
    """A sentence about a case that was left out, with its parts: the case's `id`, and `why`."""

    id: str
    why: str

    def __new__(cls, id: str, why: str) -> LeftOut:
        """`id: why`."""
        sentence = super().__new__(cls, f"{id}: {why}")
        sentence.id, sentence.why = id, why
        return sentence


def sentences(problems: Mapping[str, str]) -> list[str]:
    """What was left out and why, by id, as sorted sentences."""
    return [LeftOut(id, why) for id, why in sorted(problems.items())]


def assign_patients(cases: list[Case], pattern: str) -> list[Case]:
    """Cases with the patient that `pattern` finds in their id: its group 1, else the whole match.

    Raises:
        DataError: the pattern is no regular expression, or does not match an id.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise DataError(
            f"The patient pattern {pattern!r} is not a regular expression: {error}.",
            "For ids such as P07-slice-012, '^(P[0-9]+)' finds the patient.",
        ) from None
    assigned = []
    for case in cases:
        match = search(case.id)
        patient = match[match.re.groups and 1] if match else None
        if not patient:
            raise DataError(
                f"The patient pattern {pattern!r} finds no patient in the case id {case.id!r}.",
                "It is searched anywhere in the id and must match each; group 1, if it has one, is the patient.",
            )
        assigned.append(replace(case, patient=patient))
    return assigned
