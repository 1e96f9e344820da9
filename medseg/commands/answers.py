"""Answers as files: where they go, writing them, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Case
from medseg.errors import MedsegError
from medseg.image import Image
from medseg.inference.volumes import structure_volumes
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
