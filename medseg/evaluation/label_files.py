"""Score pairs of label files, case by case and side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image, describe_grid_difference
from medseg.core.labels import Labels, many_values, soft_mask_hint
from medseg.core.machine.parallel import cpu_count
from medseg.core.numbered_objects import number_objects
from medseg.core.outside import refuse_nan_as_structure
from medseg.core.progress import Callback, track
from medseg.engines.engine import HERE, Engine
from medseg.evaluation.empties import POLICIES
from medseg.evaluation.extra_measures import EXTRA_MEASURES, check_registered
from medseg.evaluation.lesions import LesionRule
from medseg.evaluation.measures import TOLERANCE_MM, Grid, MeasureOptions, Objects, measure_case
from medseg.evaluation.object_maps import as_structure, numbers_objects, read_numbers
from medseg.evaluation.summary import CaseScore, Summary, Unscored, summarize
from medseg.io.annotations.coco import split_reference
from medseg.io.formats.table import is_dicom
from medseg.io.images import AS_STORED, read_label, read_objects
from medseg.io.load import load_grid
from medseg.io.values.objects import OBJECT_FOLDERS, tells_objects_apart
from medseg.io.values.overlay import OUTSIDE
from medseg.io.values.regrid import resample_nearest, stored_like
from medseg.plans.sections.reading import Reading
from medseg.plans.sections.scoring import Scoring

_IN_PREDICTIONS = "--prediction-"
"""With which the options for values in predictions begin; those for references begin with `--`."""
_OF_PLANS = ("--structures", "--colours")
"""Options of which hints on label files speak, and which `evaluate` does not have."""
_ONE_VALUE_EACH = "Save the masks with a whole number for each structure."


@dataclass(frozen=True)
class Pair:
    """The two label files of a case.

    Attributes:
        about: id, patient, annotated structures and attributes of the case.
        reference: the label file of the reference.
        prediction: the label file of the prediction.
        reading: what the values in the reference mean.
        prediction_reading: what the values in the prediction mean: threshold and map, for those of another program.
        object_maps: whether files in folders that are called as those of maps of objects hold numbers of objects
            (`evaluation.object_maps`). The label files of a plan never do: what they hold was planned.
    """

    about: Case
    reference: Path
    prediction: Path
    reading: Reading = AS_STORED
    prediction_reading: Reading = AS_STORED
    object_maps: bool = False

    @property
    def case(self) -> str:
        """The id of the case."""
        return self.about.id

    def read(self, labels: Labels | None = None) -> tuple[Image, Image]:
        """Read reference and prediction.

        A DICOM object is drawn on the grid of the other side or, if both sides are DICOM, of their scan, where it is
        known; annotations of COCO are drawn on their picture. On both sides `reading` says which name is which value. A
        reference on another grid is resampled to the grid of the prediction if `reading.resample_labels` allows it.

        Args:
            labels: the structures; their ignore value, else the background, fills what a resampled reference lacks.
                A map of numbers of objects (`object_maps`) is of the only one.

        Returns:
            The reference and the prediction, (1, z, y, x) each.

        Raises:
            DataError: one of them cannot be read.
        """
        segments = self.prediction_reading.model_copy(
            update={"segments": self.reading.segments, "overlaps": self.reading.overlaps}
        )
        of_dicom = is_dicom(self.reference), is_dicom(self.prediction)
        drawn = split_reference(self.reference) is not None
        scan = load_grid(self.about, self.reading) if drawn or all(of_dicom) else None
        if all(of_dicom):
            self._check_frames()
        if of_dicom == (False, True):
            reference = self._read(self.reference, self.reading, None, labels)
            prediction = self._read(self.prediction, segments, reference, labels, _IN_PREDICTIONS)
        else:
            prediction = self._read(self.prediction, segments, scan, labels, _IN_PREDICTIONS)
            reference = self._read(self.reference, self.reading, scan or prediction, labels)
        if all(of_dicom) and scan is None and any(OUTSIDE in note for note in reference.notes):
            raise DataError(
                f"{self.reference} has structures on slices that {self.prediction} lacks, and their scan is not known.",
                "Give the folder of the studies, or NIfTI answers.",
            )
        refuse_nan_as_structure(reference, labels, str(self.reference))
        refuse_nan_as_structure(prediction, labels, str(self.prediction))
        if not reference.same_grid(prediction):
            prediction = stored_like(prediction, reference)
        if self.reading.resample_labels and not reference.same_grid(prediction):
            fill = 0 if labels is None else labels.unlabelled_value(str(self.reference))
            reference = resample_nearest(reference, prediction, fill)
        return reference, prediction

    def _read(
        self, path: Path, reading: Reading, grid: Image | None, labels: Labels | None, prefix: str = "--"
    ) -> Image:
        """Read the label file of a side, with the values of structures."""
        if self.numbers_objects(path, reading):
            return as_structure(read_numbers(path, grid), path, labels, self.reading.boundaries)
        return _read(path, reading, grid, prefix)

    def numbers_objects(self, path: Path, reading: Reading) -> bool:
        """Return whether the label file of a side, read in this way, holds numbers of objects."""
        return self.object_maps and numbers_objects(path, reading)

    def _check_frames(self) -> None:
        """Refuse DICOM objects that do not lie in the frame of reference of their scan or, if unknown, of each other.

        Raises:
            DataError: the frames of reference differ.
        """
        from medseg.io.dicom.labels import frames_of_reference  # loaded only for DICOM
        from medseg.io.dicom.listing.locate import series_at

        if self.about.channels and is_dicom(self.about.channels[0]):
            series = series_at(self.about.channels[0])
            frames_of_reference.check_frame_of_reference(self.reference, series)
            frames_of_reference.check_frame_of_reference(self.prediction, series)
        else:
            frames_of_reference.check_common_frame_of_reference(self.reference, self.prediction)


def _read(path: Path, reading: Reading, grid: Image | None, prefix: str = "--") -> Image:
    """Read a label file; errors advise only what `evaluate` can do.

    Args:
        path: the label file.
        reading: what its values mean.
        grid: the grid to draw a DICOM object on.
        prefix: with which the options for values in this file begin: `--` in references.

    Raises:
        DataError: as `read_label`.
    """
    try:
        return read_label(path, reading, grid)
    except DataError as error:
        if error.hint is not None:
            sentences = re.split(r"(?<=\.) ", error.hint)
            possible = " ".join(text for text in sentences if not any(option in text for option in _OF_PLANS))
            error.hint = re.sub(r"--(threshold|map)\b", rf"{prefix}\1", possible) or _ONE_VALUE_EACH
        raise


def _encode(labels: Labels, image: Image, path: Path, prefix: str = "--") -> NDArray[np.int16]:
    """Return label indices (z, y, x).

    Args:
        labels: the structures.
        image: the label map (1, z, y, x).
        path: its file, for messages.
        prefix: as for `_read`.

    Raises:
        DataError: it holds values that no structure has.
    """
    try:
        return labels.encode(image.array[0], str(path))
    except DataError as error:
        undeclared = labels.undeclared(np.unique(image.array).tolist())
        if many_values(undeclared):
            numbered = f" If these are numbers of objects, let its folder be called {OBJECT_FOLDERS[0]}."
            error.hint = soft_mask_hint(undeclared, f"{prefix}threshold") + numbered * (len(labels.structures) == 1)
        else:
            value, (name, as_structure) = undeclared[0], next(iter(labels.written_values.items()))
            rest = next(word for word in (labels.background, labels.ignore, as_structure) if word is not None)
            other = {labels.background: "background", labels.ignore: "ignored voxels"}.get(rest, name)
            error.hint = (
                f"{prefix}map {value}={as_structure} reads it as {name}, {prefix}map {value}={rest} as {other}."
            )
        raise


@dataclass(frozen=True)
class Scores:
    """The scores of a set of pairs.

    Attributes:
        cases: the score of each case that has one.
        confusion: (values, values) voxels, summed over the cases annotated in full.
        failed: {case: why it has no score}.
    """

    cases: list[CaseScore]
    confusion: NDArray[np.int64]
    failed: dict[str, str] = field(default_factory=dict)


def summarize_pairs(
    pairs: Sequence[Pair],
    labels: Labels,
    scoring: Scoring,
    unscored: Unscored,
    callback: Callback,
    engine: Engine = HERE,
) -> Summary:
    """Score every pair and summarize the scores.

    Args:
        pairs: label files to score.
        labels: the structures.
        scoring: measures and rules, as in a plan.
        unscored: cases that are known to have no score; pairs that cannot be scored join them, sorted by id.
        callback: receives progress.
        engine: scores the pairs.

    Returns:
        The scores of each case, of each structure, and overall.
    """
    scores = score_pairs(pairs, labels, scoring, callback, engine)
    unscored = replace(unscored, failed=dict(sorted({**unscored.failed, **scores.failed}.items())))
    policy = POLICIES[scoring.empty_policy]
    return summarize(labels, scores.cases, scores.confusion, unscored, policy, rules(labels, scoring))


def score_pairs(
    pairs: Sequence[Pair], labels: Labels, scoring: Scoring, callback: Callback, engine: Engine = HERE
) -> Scores:
    """Score every pair; a pair that cannot be scored is named in `failed`.

    Args:
        pairs: label files to score.
        labels: the structures.
        scoring: measures and rules, as in a plan. Extra measures that are not registered are left out, and `rules`
            says so: whoever asks for one checks it before, with `extra_measures.check_registered`.
        callback: receives progress.
        engine: scores the pairs.

    Returns:
        The scores of the pairs, the confusion of all their voxels, and {case: why it has no score}.
    """
    score = partial(_score, labels=labels, scoring=scoring, options=_options(scoring, len(pairs)))
    scores = Scores([], np.zeros((len(labels.values),) * 2, dtype=np.int64))
    for pair, result in track(engine.map(score, pairs), "evaluate", len(pairs), callback):
        if isinstance(result, MedsegError):
            scores.failed[pair.case] = str(result)
            continue
        case_score, confusion = result
        scores.cases.append(case_score)
        if len(case_score.structures) == len(labels.names):  # annotated in full
            scores.confusion[:] += confusion
    return scores


def _score(
    pair: Pair, labels: Labels, scoring: Scoring, options: MeasureOptions
) -> tuple[CaseScore, NDArray[np.int64]]:
    """Return the score of a pair, and (values, values) voxels.

    Raises:
        MedsegError: a file cannot be read, the grids differ, or a measure is not registered in this process.
    """
    check_registered(options.extra)
    reference, prediction = pair.read(labels)
    _check_grids(pair, reference, prediction)
    reference_indices = _encode(labels, reference, pair.reference)
    prediction_indices = _encode(labels, prediction, pair.prediction, _IN_PREDICTIONS)
    grid = Grid(reference.spacing_mm, reference.spacing_known)
    case = pair.about
    objects = _objects(pair, reference) if scoring.instances else None
    measured = measure_case(reference_indices, prediction_indices, labels, grid, options, case.annotated, objects)
    case_score = CaseScore(
        case=case.id,
        structures=measured.structures,
        spacing_known=reference.spacing_known,
        patient=case.patient,
        policy=POLICIES[scoring.empty_policy],
        attributes=case.attributes,
        prediction=str(pair.prediction),
        reference=str(pair.reference),
        notes=tuple(dict.fromkeys((*reference.notes, *prediction.notes, *_unplaced(pair, reference, prediction)))),
    )
    return case_score, measured.confusion


def _objects(pair: Pair, grid: Image) -> Objects | None:
    """Return the objects on both sides; None if neither side numbers them, so that touching voxels are one object.

    Args:
        pair: the label files.
        grid: the reference as it is scored, whose grid the numbers get.
    """
    boundaries = pair.reading.boundaries
    named = {"segments": pair.reading.segments, "overlaps": pair.reading.overlaps}
    prediction, reading = pair.prediction, pair.prediction_reading.model_copy(update=named)
    by_prediction = tells_objects_apart(prediction, answer=True) or pair.numbers_objects(prediction, reading)
    by_reference = tells_objects_apart(pair.reference) or pair.numbers_objects(pair.reference, pair.reading)
    if not (boundaries or by_prediction or by_reference):
        return None
    if pair.numbers_objects(pair.reference, pair.reading):
        reference = _on_grid(read_numbers(pair.reference, grid), grid)
    else:
        reference = _on_grid(read_objects(pair.reference, pair.reading, grid), grid)
    if pair.numbers_objects(prediction, reading):
        return Objects(reference, _on_grid(read_numbers(prediction, grid), grid), boundaries)
    if by_prediction or not boundaries:
        return Objects(reference, _on_grid(read_objects(prediction, reading, grid, answer=True), grid), boundaries)
    values = _on_grid(read_label(prediction, pair.prediction_reading, grid), grid)
    present = [int(value) for value in np.unique(values) if value]
    return Objects(reference, number_objects(values, present, boundaries), boundaries)


def _on_grid(image: Image, grid: Image) -> NDArray[np.integer]:
    """Return whole numbers (z, y, x) on another grid: with axes turned if that is enough, else by nearest neighbour."""
    if not image.same_grid(grid):
        image = stored_like(image, grid)
    if not image.same_grid(grid):
        image = resample_nearest(image, grid, 0)
    array: NDArray[np.integer] = image.array[0]
    return array


_SURFACES = {
    "elements": "surfaces consist of the elements between voxels, which count by their area (Nikolov et al. 2018)",
    "voxels": "surfaces consist of voxels that have a face outside, which count alike, as in MONAI: area means their "
    "number, and HD95 interpolates",
}


def rules(labels: Labels, scoring: Scoring) -> list[str]:
    """Return sentences on the rules of the scores, for every output.

    Args:
        labels: the structures.
        scoring: measures and rules, as in a plan.
    """
    sentences = []
    if scoring.surface:
        sentences.append(_SURFACES[scoring.surface])
        given = [f"{name} {mm:g} mm" for name, mm in scoring.nsd_tolerance_mm.items() if name in labels.names]
        others = f"{TOLERANCE_MM:g} mm (pixels where the spacing is unknown)"
        tolerances = ", ".join([*given, f"{others} for the others"] if given else [others])
        sentences.append(f"NSD at a tolerance of {tolerances}")
    if scoring.lesions or scoring.instances:
        sentences.append(LesionRule().describe())
    unknown = [name for name in scoring.extra_measures if name not in EXTRA_MEASURES]
    if unknown:
        sentences.append(f"not measured, because they are not registered here: {', '.join(unknown)}")
    return sentences


def _options(scoring: Scoring, pairs: int) -> MeasureOptions:
    """Return how a pair is measured: of few pairs, several structures of each at a time."""
    workers = cpu_count() // min(cpu_count(), max(1, pairs))
    return MeasureOptions(
        surface=scoring.surface,
        tolerance_mm=scoring.nsd_tolerance_mm,
        lesions=LesionRule() if scoring.lesions else None,
        instances=scoring.instances,
        extra=[name for name in scoring.extra_measures if name in EXTRA_MEASURES],
        workers=workers,
    )


def _unplaced(pair: Pair, reference: Image, prediction: Image) -> list[str]:
    """Return a note where one side alone says where its voxels lie: nothing then tells whether they are the same."""
    if reference.spacing_known == prediction.spacing_known:
        return []
    file = pair.prediction if reference.spacing_known else pair.reference
    return [f"{file} does not say where its voxels lie: it is compared with the other side as both are stored"]


def _check_grids(pair: Pair, reference: Image, prediction: Image) -> None:
    if reference.same_grid(prediction):
        return
    difference = describe_grid_difference(reference, prediction)
    message = f"{pair.reference} and {pair.prediction} lie on different grids: {difference}."
    if not (reference.spacing_known or prediction.spacing_known):
        raise DataError(
            message, "Predict on the image that the reference was drawn on, or scale one to the other's size."
        )
    raise DataError(
        message,
        "Predict on the scan that the reference was drawn on; or, if both headers are right, --resample-labels brings "
        "the reference to the grid of the prediction.",
    )
