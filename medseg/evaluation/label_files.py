"""Pairs of label files to scores, case by case and in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image, describe_grid_difference
from medseg.core.labels import Labels
from medseg.core.parallel import cpu_count, map_cases
from medseg.core.progress import Callback, track
from medseg.evaluation.empties import POLICIES
from medseg.evaluation.lesions import LesionRule
from medseg.evaluation.measures import TOLERANCE_MM, Grid, MeasureOptions, measure_case
from medseg.evaluation.summary import CaseScore, Summary, Unscored, summarize
from medseg.io.dicom.labels.frames_of_reference import check_frame_of_reference, check_same_frame
from medseg.io.dicom.pixels.stacks import series_at
from medseg.io.formats.table import is_dicom
from medseg.io.images import AS_STORED, read_label
from medseg.io.load import load_grid
from medseg.io.values.overlay import OUTSIDE
from medseg.io.values.regrid import resample_nearest
from medseg.plans.sections import Reading, Scoring


@dataclass(frozen=True)
class Pair:
    """The two label files of a case.

    Attributes:
        about: id, patient, annotated structures and attributes of the case.
        reading: what the values in the reference mean.
    """

    about: Case
    reference: Path
    prediction: Path
    reading: Reading = AS_STORED

    @property
    def case(self) -> str:
        """Its id."""
        return self.about.id

    def read(self, labels: Labels | None = None) -> tuple[Image, Image]:
        """Reference and prediction; a reference on another grid is brought to that of the prediction if so asked.

        DICOM objects are drawn on the grid of the other side or, if both are such, of their scan, where it is known;
        on both sides `reading` says which name is which value.

        Raises:
            DataError: one of them cannot be read.
        """
        names = Reading(segments=self.reading.segments, overlaps=self.reading.overlaps)
        of_dicom = is_dicom(self.reference), is_dicom(self.prediction)
        scan = load_grid(self.about, self.reading) if all(of_dicom) else None
        if all(of_dicom):
            self._check_frames()
        if of_dicom == (False, True):
            reference = read_label(self.reference, self.reading)
            prediction = read_label(self.prediction, names, reference)
        else:
            prediction = read_label(self.prediction, names, scan)
            reference = read_label(self.reference, self.reading, scan or prediction)
        if all(of_dicom) and scan is None and any(OUTSIDE in note for note in reference.notes):
            raise DataError(
                f"{self.reference} reaches beyond the slices that {self.prediction} has, and their scan is not known.",
                "Give the folder of the studies, or NIfTI answers.",
            )
        if self.reading.resample_labels and not reference.same_grid(prediction):
            outside = 0 if labels is None else labels.background if labels.ignore is None else labels.ignore
            reference = resample_nearest(reference, prediction, outside)
        return reference, prediction

    def _check_frames(self) -> None:
        """Refuse DICOM objects of another frame of reference than their scan's or, where it is not known, each other's.

        Raises:
            DataError: they lie in different ones.
        """
        if self.about.channels and is_dicom(self.about.channels[0]):
            series = series_at(self.about.channels[0])
            check_frame_of_reference(self.reference, series)
            check_frame_of_reference(self.prediction, series)
        else:
            check_same_frame(self.reference, self.prediction)


@dataclass(frozen=True)
class Scores:
    """What came of scoring.

    Attributes:
        cases: the score of each case that has one.
        confusion: (values, values), summed over the cases annotated in full.
        failed: case -> why it has none.
    """

    cases: list[CaseScore]
    confusion: NDArray[np.int64]
    failed: dict[str, str] = field(default_factory=dict)


def summarize_pairs(
    pairs: Sequence[Pair], labels: Labels, scoring: Scoring, unscored: Unscored, callback: Callback
) -> Summary:
    """Score every pair; those that cannot be scored join `unscored.failed` by name, sorted."""
    scores = score_pairs(pairs, labels, scoring, callback)
    unscored = replace(unscored, failed=dict(sorted({**unscored.failed, **scores.failed}.items())))
    policy = POLICIES[scoring.empty_policy]
    return summarize(labels, scores.cases, scores.confusion, unscored, policy, rules(labels, scoring))


def score_pairs(pairs: Sequence[Pair], labels: Labels, scoring: Scoring, callback: Callback) -> Scores:
    """Score every pair; a pair that cannot be scored is named in `failed`.

    Few cases are measured structure by structure in parallel, many case by case.
    """
    workers = min(cpu_count(), max(1, len(pairs)))
    options = _options(scoring, cpu_count() // workers)

    def score(pair: Pair) -> tuple[CaseScore, NDArray[np.int64]]:
        reference, prediction = pair.read(labels)
        _check_grids(pair, reference, prediction)
        indices = [
            labels.encode(image.array[0], str(path))
            for image, path in ((reference, pair.reference), (prediction, pair.prediction))
        ]
        grid = Grid(reference.spacing_mm, reference.spacing_known)
        measured = measure_case(indices[0], indices[1], labels, grid, options, pair.about.annotated)
        about = pair.about
        found = CaseScore(
            case=about.id,
            structures=measured.structures,
            spacing_known=reference.spacing_known,
            patient=about.patient,
            policy=POLICIES[scoring.empty_policy],
            attributes=about.attributes,
        )
        return found, measured.confusion

    scores = Scores([], np.zeros((len(labels.values),) * 2, dtype=np.int64))
    for pair, result in track(map_cases(score, pairs, workers), "evaluate", len(pairs), callback):
        if isinstance(result, MedsegError):
            scores.failed[pair.case] = str(result)
            continue
        scores.cases.append(result[0])
        if len(result[0].structures) == len(labels.names):
            scores.confusion[:] += result[1]
    return scores


_SURFACES = {
    "elements": "surfaces consist of the elements between voxels, which count by their area (Nikolov et al. 2018)",
    "voxels": "surfaces consist of voxels that have a face outside, which count alike, as in MONAI: area means their "
    "number, and HD95 interpolates",
}


def rules(labels: Labels, scoring: Scoring) -> list[str]:
    """Sentences on how was scored, for every output."""
    said = []
    if scoring.surface:
        said.append(_SURFACES[scoring.surface])
        own = [f"{name} {mm:g} mm" for name, mm in scoring.nsd_tolerance_mm.items() if name in labels.names]
        others = f"{TOLERANCE_MM:g} mm (pixels where the spacing is unknown)"
        said.append(f"NSD at a tolerance of {', '.join([*own, f'{others} for the others'] if own else [others])}")
    if scoring.lesions or scoring.instances:
        said.append(LesionRule().describe())
    return said


def _options(scoring: Scoring, workers: int) -> MeasureOptions:
    return MeasureOptions(
        surface=scoring.surface,
        tolerance_mm=scoring.nsd_tolerance_mm,
        lesions=LesionRule() if scoring.lesions else None,
        instances=scoring.instances,
        workers=max(1, workers),
    )


def _check_grids(pair: Pair, reference: Image, prediction: Image) -> None:
    if reference.same_grid(prediction):
        return
    difference = describe_grid_difference(reference, prediction)
    raise DataError(
        f"{pair.reference} and {pair.prediction} lie on different grids: {difference}.",
        "Predict on the scan that the reference was drawn on, or resample one onto the grid of the other.",
    )
