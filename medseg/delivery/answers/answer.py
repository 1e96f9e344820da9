"""Write the answer to a case: its path, its files, and the volumes that are measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.core.machine.host_memory import MEMORY_ADVICE
from medseg.delivery.answers.case_pages import CasePages
from medseg.delivery.answers.dicom_objects import Drawn, Writer
from medseg.delivery.answers.formats import AnswerFormat, answer_path, write_answer_labels
from medseg.delivery.answers.instances import Instances
from medseg.delivery.answers.judge import assessment_in
from medseg.delivery.answers.maps import map_files
from medseg.delivery.answers.options import Maps
from medseg.delivery.answers.pictures import Pictures
from medseg.inference.volumes import size_unit, structure_volumes
from medseg.plans.terminology import Coding


@dataclass(frozen=True)
class Forms:
    """In which forms answers are written.

    Attributes:
        maps: which maps are written beside the labels.
        writer: whether label maps, DICOM objects made from them, or both are written.
        pictures: which pictures are written.
        instances: whether instance maps are written.
        format: the format of the label maps; None for that of each scan.
        codes: {structure: its codes for DICOM}, of those that have any; formats with a place for them get them.
        pages: what is made of each case for the page of the folder; it is no part of an answer.
    """

    maps: Maps = field(default_factory=Maps)
    writer: Writer = field(default_factory=Writer)
    pictures: Pictures = field(default_factory=Pictures)
    instances: Instances = field(default_factory=Instances)
    format: AnswerFormat | None = None
    codes: Mapping[str, Coding] = field(default_factory=dict)
    pages: CasePages = field(default_factory=CasePages)

    def of(self, case: Case) -> Forms:
        """Return these forms reduced to one case, so that little is sent to a worker."""
        forms = {id: forms for id, forms in self.writer.forms.items() if id == case.id}
        return replace(self, writer=replace(self.writer, forms=forms, refused={}, notes=()))

    def files(self, case: Case, output: Path, labels: Labels) -> list[Path]:
        """Return the files that the answer to a case may have.

        Args:
            case: the case.
            output: folder for the answer.
            labels: its structures.
        """
        return [
            answer_path(case, output, self.format),
            *self.writer.paths(case, output).values(),
            *map_files(self.maps, case, output, labels),
            *self.pictures.files(case, output),
            *self.instances.files(case, output),
        ]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case: its answer, or why there is none.

    Attributes:
        case: the case.
        files: what was written, the labels first.
        volumes: {structure: volume} in `unit`; None where there is no answer.
        unit: "ml", "mm2" (pictures) or "pixels" (without a spacing).
        problem: why there is no answer; None where there is one.
        about: what the manifest says of how the answer was made: hashes of the scan, its grid, the network's, times.
        not_shown: why the page of the folder cannot show it; empty where it can, or there is none.
    """

    case: Case
    files: tuple[Path, ...] = ()
    volumes: dict[str, float] | None = None
    unit: str = ""
    problem: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    not_shown: str = ""


def write_answer(
    case: Case,
    answer: Image,
    output: Path,
    labels: Labels,
    forms: Forms,
    on_written: Callable[[Outcome], None],
    about: Mapping[str, Any],
    dimensions: int = 3,
    beside: Sequence[Path] = (),
) -> Outcome:
    """Write an answer and measure its structures; an answer that cannot be written is an outcome with a problem.

    Args:
        case: the case.
        answer: labels (1, z, y, x) on the scan's grid.
        output: folder for the answer.
        labels: its structures.
        forms: in which forms it is written.
        on_written: called with the outcome before this returns.
        about: passed on in the outcome.
        dimensions: of the model's data set.
        beside: files of the answer that are there already: its maps.

    Returns:
        What came of the case: its files and volumes, or why it could not be written.
    """
    try:
        volumes, unit = structure_volumes(answer, labels, dimensions), size_unit(answer, dimensions)
        files = [*beside]
        if forms.writer.with_labels(case):
            path = answer_path(case, output, forms.format)
            if forms.pictures.has_palette(path):
                forms.pictures.write_palette(path, answer, labels)
                written = [path]
            else:
                written = write_answer_labels(path, answer, case.channels[0], labels, forms.codes, forms.format)
            files = [*written, *files]
        files += forms.pictures.write(case, answer, output, labels)
        data = forms.pictures.data
        sheet = None if data is None else Drawn(labels, len(data.channels), data.reading)
        files += forms.writer.write(case, answer, output, volumes, assessment_in(about), sheet)
        outcome = Outcome(case, tuple(files), volumes, unit, about=about)
        on_written(outcome)
    except (MedsegError, OSError) as error:
        return Outcome(case, problem=str(error))
    except MemoryError:
        return Outcome(case, problem=f"There is not enough memory to write the answer.\n{MEMORY_ADVICE}")
    return replace(outcome, not_shown=forms.pages.write(case, answer, output, labels))
