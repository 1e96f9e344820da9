"""Answers as files: where they go, writing them, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.dicom_objects import Writer
from medseg.delivery.answers.maps import map_files
from medseg.delivery.answers.options import Maps
from medseg.inference.volumes import structure_volumes
from medseg.io.formats.table import answer_suffix
from medseg.io.images import write_label


@dataclass(frozen=True)
class Forms:
    """As what answers are written: the label map or DICOM objects of it, and maps beside them."""

    maps: Maps = field(default_factory=Maps)
    writer: Writer = field(default_factory=Writer)


@dataclass(frozen=True)
class Outcome:
    """What came of a case: where its answer is and how large each structure is, or why there is none.

    Attributes:
        files: the labels first.
        volumes: {structure: volume} in `unit`, "ml" or "pixels".
        problem: why there is no answer; None where there is one.
        about: what the manifest says of how it was made: hashes of the scan, its grid, the network's, times.
    """

    case: Case
    files: tuple[Path, ...] = ()
    volumes: dict[str, float] | None = None
    unit: str = ""
    problem: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def answer_path(case: Case, output: Path) -> Path:
    """Where the answer to a case goes: its id, in the format of its first file."""
    return output / f"{case.id}{answer_suffix(case.channels[0])}"


def write_answer(
    case: Case,
    answer: Image,
    output: Path,
    labels: Labels,
    forms: Forms,
    written: Callable[[Outcome], None],
    about: Mapping[str, Any] | None = None,
) -> Outcome:
    """Write an answer and measure its structures.

    Args:
        forms: as what it is written; maps are there already.
        written: told of the outcome before this returns.
        about: passed on in the outcome.
    """
    path = answer_path(case, output)
    try:
        files, writer = map_files(forms.maps, case, output, labels), forms.writer
        volumes, unit = structure_volumes(answer, labels), "ml" if answer.spacing_known else "pixels"
        if writer.with_labels(case):
            write_label(path, answer, like=case.channels[0])
            files = [path, *files]
        files += writer.write(case, answer, output, volumes)
        outcome = Outcome(case, tuple(files), volumes, unit, about=about or {})
        written(outcome)
    except (MedsegError, OSError) as error:
        return Outcome(case, problem=str(error))
    return outcome
