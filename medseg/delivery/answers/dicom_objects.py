"""Decide in which forms scans are answered, before anything is computed, and write DICOM objects case by case.

What makes DICOM objects is imported where it is used: most predictions write none.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError, PlanError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.formats import AnswerFormat, answer_path
from medseg.delivery.answers.options import WriteOptions
from medseg.io.formats.table import is_dicom
from medseg.models.identity import identity
from medseg.models.model import Model
from medseg.plans.schema import Plan
from medseg.plans.sections.reading import Reading
from medseg.plans.terminology import Coding

if TYPE_CHECKING:
    from medseg.confidence.assessment import Assessment
    from medseg.delivery.dicom.write import Meaning
    from medseg.delivery.pictures.overlay import Overlay

LABELS = "labels"
"""The form of an answer that is a label map."""
_ALIASES = {"nifti": LABELS, "rt": "rtstruct", "sr": "report", "sc": "sheet"}
_NOT_DICOM = "DICOM objects need a DICOM scan, whose patient, study and slices they refer to; this scan is none."


@dataclass(frozen=True)
class Drawn:
    """Draws the picture of an answer over its scan that a sheet shows.

    Attributes:
        labels: the structures.
        channels: how many channels the scan has.
        reading: how it is read.
    """

    labels: Labels
    channels: int
    reading: Reading

    def picture(self, case: Case, answer: Image) -> Overlay:
        """Return the picture of an answer; the scan is read again.

        Args:
            case: the case.
            answer: (1, z, y, x) label values on the grid that the scan is read on.
        """
        from medseg.delivery.pictures.overlay import draw_overlay
        from medseg.io.load import load_case_image

        return draw_overlay(load_case_image(case, self.channels, self.reading), answer, self.labels)


@dataclass(frozen=True)
class Writer:
    """The forms in which each case is answered; made by `prepare_writer`.

    Attributes:
        forms: {case id: its forms}, of `labels` and those of `delivery.dicom.write.SUFFIXES`.
        meaning: the meaning of the label maps; None if no DICOM object is written.
        reading: how the scans are read, onto whose slices the labels go back.
        refused: {case id: why it gets no answer}.
        notes: for the user, in sentences.
    """

    forms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    meaning: Meaning | None = None
    reading: Reading = field(default_factory=Reading)
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_labels(self, case: Case) -> bool:
        """Return whether the label map itself is written."""
        return LABELS in self.forms.get(case.id, (LABELS,))

    def paths(self, case: Case, folder: Path) -> dict[str, Path]:
        """Return {form: file in `folder`} of a case's DICOM objects."""
        if self.meaning is None:
            return {}
        from medseg.delivery.dicom.write import object_paths

        return object_paths(folder, case.id, self.forms.get(case.id, ()))

    def write(
        self,
        case: Case,
        answer: Image,
        folder: Path,
        volumes: Mapping[str, float],
        assessment: Assessment | None = None,
        drawn: Drawn | None = None,
    ) -> list[Path]:
        """Write the case's DICOM objects, and return their paths.

        Args:
            case: the case, whose first channel names the series.
            answer: (1, z, y, x) label values on the grid that the series is read on.
            folder: where the objects go.
            volumes: {structure: volume in ml}.
            assessment: what is expected of the answer.
            drawn: what a sheet needs to know.

        Raises:
            MedsegError: an object cannot be made or written.
        """
        paths = self.paths(case, folder)
        if paths and self.meaning is not None:
            from medseg.delivery.dicom.write import write_objects
            from medseg.io.dicom.elements.options import DicomOptions
            from medseg.io.dicom.geometry.resampling import labels_on_slices
            from medseg.io.dicom.listing.locate import series_at

            series = series_at(case.channels[0])
            labels = labels_on_slices(answer.array[0], series, DicomOptions.of(self.reading))
            picture = drawn.picture(case, answer) if "sheet" in paths and drawn is not None else None
            write_objects(labels, series, self.meaning, paths, volumes, assessment, picture)
        return [*paths.values()]

    @property
    def record(self) -> dict[str, Any]:
        """Everything that the objects depend on, for records in JSON; empty if none are written."""
        if self.meaning is None:
            return {}
        codes = {name: coding.model_dump(mode="json") for name, coding in self.meaning.codes.items()}
        forms = sorted({form for forms in self.forms.values() for form in forms})
        return {"written as": forms, "codes": codes, "labelmap": self.meaning.labelmap}


def known_codes(plan: Plan) -> dict[str, Coding]:
    """Return {structure: codes} of a plan: those that it says, and those of the built-in table by the names alone."""
    from medseg.delivery.dicom.codes import look_up

    coded = {name: plan.codes.get(name) or look_up(name) for name in plan.labels.names}
    return {name: coding for name, coding in coded.items() if coding is not None}


def prepare_writer(
    options: WriteOptions,
    cases: Sequence[Case],
    model: Model,
    output: Path = Path("OUTPUT"),
    form: AnswerFormat | None = None,
) -> Writer:
    """Decide in which forms each case is answered, and check all that can be checked before anything is computed.

    What no object can be made of, a series without identifiers or a model whose structures have no codes, is refused
    if the user asked for objects; if not, it gets its label map, and a note.

    Args:
        options: the forms that the user asked for.
        cases: the scans.
        model: makes the answers; its plan says which structures there are, their codes, and how scans are read.
        output: folder of the answers, for notes.
        form: the format of the label maps; None for that of each scan.

    Returns:
        What writes the objects, with the forms of each case and {case: why it gets no answer}.

    Raises:
        PlanError: a form or code is not valid, the user asked for objects and a structure has no codes, or for a format
            of label maps and for none.
        DataError: the user asked for DICOM objects and no scan is DICOM, or for a LABELMAP of structures that overlap.
    """
    plan, reading = model.plan, model.plan.data.reading
    forms_wanted = wanted_forms(options)
    if form is not None and forms_wanted and LABELS not in forms_wanted:
        written = ",".join(sorted(forms_wanted))
        raise PlanError(
            f"--format names a format of label maps ({form.suffix}), and --write {written} writes no label maps.",
            f"--write nifti,{written} writes both; or leave --format out.",
        )
    dicom_cases = {case.id for case in cases if is_dicom(case.channels[0])}
    objects = frozenset(forms_wanted or {"seg"}) - {LABELS}
    if objects and not dicom_cases:
        if forms_wanted:
            raise DataError(
                f"--write {','.join(sorted(objects))} needs DICOM scans, whose patient, study and slices it refers to; "
                "none of these scans is DICOM.",
                "Leave it out: label maps are written in the format of the scans.",
            )
        return Writer(reading=reading, notes=_unused(options, "none of the scans is DICOM"))
    if not objects:
        return Writer(reading=reading, notes=_unused(options, "--write asks for label maps only"))
    from medseg.delivery.dicom.codes import codes_of, read_codes
    from medseg.delivery.dicom.common import Maker
    from medseg.delivery.dicom.write import Meaning

    given = read_codes(options.codes) if options.codes else {}
    try:
        codes = codes_of(plan.labels.names, plan.codes, given, options.generic_codes)
    except PlanError as error:
        if forms_wanted or given:
            raise PlanError(error.message, f"{error.hint} --write nifti leaves DICOM objects out.") from None
        scans = [case for case in cases if case.id in dicom_cases]
        case = next((case for case in scans if _problem(case, objects) is None), scans[0])
        return Writer(reading=reading, notes=(_without_codes(error, case, answer_path(case, output, form), reading),))
    maker = Maker("AUTOMATIC", f"medseg {plan.name}", __version__, identity(model))
    meaning = Meaning(plan.labels.members, codes, maker, options.labelmap)
    problems = {case.id: _problem(case, objects) if case.id in dicom_cases else _NOT_DICOM for case in cases}
    whole, odd = (
        forms_wanted or frozenset({LABELS, "seg"}),
        {id: why for id, why in problems.items() if why is not None},
    )
    if forms_wanted:
        return Writer({id: whole for id in problems if id not in odd}, meaning, reading, odd)
    forms = {id: frozenset({LABELS}) if id in odd else whole for id in problems}
    notes = tuple(f"{id}: no DICOM SEG: {why}" for id, why in odd.items() if id in dicom_cases)
    return Writer(forms, meaning, reading, notes=notes)


def wanted_forms(options: WriteOptions) -> frozenset[str]:
    """Return the forms that the user asked for: `labels` for `nifti`, and a `seg` with every `report`.

    Raises:
        PlanError: one of them is unknown.
    """
    if not options.forms:
        return frozenset()
    from medseg.delivery.dicom.write import SUFFIXES

    named = [_ALIASES.get(form.strip().lower(), form.strip().lower()) for form in options.forms]
    unknown = [form for form in named if form not in (LABELS, *SUFFIXES)]
    if unknown:
        raise PlanError(
            f"Answers are not written as {unknown[0]!r}; valid are {LABELS} (or nifti), {', '.join(SUFFIXES)}.",
            "Example: --write seg,nifti,rtstruct,report",
        )
    return frozenset([*named, "seg"] if "report" in named else named)


def _without_codes(error: PlanError, case: Case, answer: Path, reading: Reading) -> str:
    """Return the note that no DICOM object is written for want of codes, with the command that writes one later."""
    command = [
        "medseg", "dicom", str(answer), str(case.channels[0]), str(answer.parent), "--generic-codes",
        *["--resample-tilt"] * reading.resample_tilt, *["--allow-gaps"] * reading.allow_gaps,
    ]  # fmt: skip
    return (
        f"No DICOM SEG is written, only label maps. {error.message} This writes the SEG of {case.id} with "
        f"'Tissue' and the names of the structures: {shlex.join(command)}"
    )


def _unused(options: WriteOptions, why: str) -> tuple[str, ...]:
    """Return a note on options that only DICOM objects need, where none is written."""
    given = {"--codes": options.codes, "--labelmap": options.labelmap, "--generic-codes": options.generic_codes}
    named = " and ".join(name for name, value in given.items() if value)
    return (f"{named}: without effect, because no DICOM object is written: {why}.",) if named else ()


def _problem(case: Case, objects: frozenset[str]) -> str | None:
    """Return why one of these DICOM objects cannot refer to a case's series; None if all can."""
    from medseg.delivery.dicom.source import check_source
    from medseg.io.dicom.listing.locate import series_at

    try:
        series = series_at(case.channels[0])
        check_source(series.slices, series.title, objects)
    except MedsegError as error:
        return str(error)
    return None
