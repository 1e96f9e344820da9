"""DataSet: the cases of a folder with what it declares about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.case import Case
from medseg.errors import DataError
from medseg.labels import Labels

Layout = Literal["msd", "nnunet", "pairs"]


@dataclass(frozen=True)
class DataSet:
    """A folder of cases with labels.

    Attributes:
        folder: where it lies.
        layout: how it is laid out there.
        channels: names of the channels, in order.
        labels: the structures; None where the layout does not declare them.
        cases: sorted by id, each with a label.
        problems: what was left out and why, one sentence each.
    """

    folder: Path
    layout: Layout
    channels: tuple[str, ...]
    labels: Labels | None
    cases: list[Case]
    problems: list[str]


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


def sentences(problems: Mapping[str, str]) -> list[str]:
    """What was left out and why, by id, as sorted sentences."""
    return [f"{id}: {why}" for id, why in sorted(problems.items())]


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
