"""Answers as files: where they go, writing them, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.case import Case
from medseg.errors import MedsegError
from medseg.image import Image
from medseg.io import answer_suffix, write_label
from medseg.labels import Labels


@dataclass(frozen=True)
class Outcome:
    """What came of a case: where its answer is and how large each structure is, or why there is none.

    Attributes:
        files: the labels first.
        volumes: {structure: volume} in `unit`, "ml" or "pixels".
        problem: why there is no answer; None where there is one.
    """

    case: Case
    files: tuple[Path, ...] = ()
    volumes: dict[str, float] | None = None
    unit: str = ""
    problem: str | None = None


def answer_path(case: Case, output: Path) -> Path:
    """Where the answer to a case goes: its id, in the format of its first file."""
    return output / f"{case.id}{answer_suffix(case.channels[0])}"


def write_answer(
    case: Case,
    answer: Image,
    output: Path,
    labels: Labels,
    others: Sequence[Path],
    written: Callable[[Outcome], None],
) -> Outcome:
    """Write an answer and measure its structures.

    Args:
        others: the case's other files, which are there already.
        written: told of the outcome before this returns.
    """
    path = answer_path(case, output)
    try:
        write_label(path, answer, like=case.channels[0])
        unit = "ml" if answer.spacing_known else "pixels"
        outcome = Outcome(case, (path, *others), structure_volumes(answer, labels), unit)
        written(outcome)
    except (MedsegError, OSError) as error:
        return Outcome(case, problem=str(error))
    return outcome


def structure_volumes(answer: Image, labels: Labels) -> dict[str, float]:
    """Volume of each structure of an answer: ml, or voxels (pixels) where the spacing is unknown."""
    counts = _count(answer.array)
    unit = answer.voxel_volume_ml or 1.0
    members = labels.members
    return {name: sum(counts.get(value, 0) for value in values) * unit for name, values in members.items()}


def _count(array: NDArray) -> dict[int, int]:
    """How often each value is there; plane by plane, as counting wants 64-bit numbers."""
    if array.dtype.itemsize > 2 or array.dtype.kind != "u":
        values, counts = np.unique(array, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    total = np.zeros(1 << 8 * array.dtype.itemsize, dtype=np.int64)
    for plane in array.reshape(-1, *array.shape[2:]):
        found = np.bincount(plane.ravel())
        total[: len(found)] += found
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}
