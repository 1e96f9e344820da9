"""`medseg evaluate`: predictions against references, case by case and structure by structure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.commands.pairing import Side, find_sides
from medseg.delivery.pictures import View, case_panel, dice_line, worst_median_best
from medseg.errors import DataError, MedsegError
from medseg.evaluation.overlap import confusion_of_values, overlaps
from medseg.evaluation.summary import CaseScore, Summary, summarize, write_summary_csv, write_summary_json
from medseg.image import Image, describe_grid_difference
from medseg.io import read_image, read_label
from medseg.io.layouts import infer_labels
from medseg.labels import Labels
from medseg.parallel import map_cases
from medseg.progress import Callback, silent, track

LABELS_FILE = "labels.json"
METRICS_JSON, METRICS_CSV, PICTURE = "metrics.json", "metrics.csv", "metrics.png"


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Attributes:
        summary: every score, and what has none.
        labels: the structures that were scored.
        labels_from: where they were declared, in words.
        files: what was written.
    """

    summary: Summary
    labels: Labels
    labels_from: str
    files: tuple[Path, ...]

    @property
    def failed(self) -> dict[str, str]:
        """Case -> why it has no score; where there are any, the command ends with exit code 1."""
        return self.summary.failed


@dataclass(frozen=True)
class Pair:
    """The two label files of a case."""

    case: str
    reference: Path
    prediction: Path


def evaluate(
    prediction: Path,
    reference: Path,
    labels: Labels | None = None,
    output: Path | None = None,
    callback: Callback = silent,
    allow_missing: bool = False,
    annotated: Mapping[str, Sequence[str]] | None = None,
) -> Evaluation:
    """Score predictions, and write metrics.json, metrics.csv and a picture of the worst, median and best case.

    Args:
        prediction: a label file or a folder of them; files are paired by name without suffix, two files as they are.
        reference: likewise, or the folder of a data set.
        labels: the structures; else what `labels.json` beside the predictions says, else the data set's
            declaration, else every value that occurs is a structure.
        output: where to write; the folder of the predictions if None.
        allow_missing: a reference without a prediction is left out, and named; otherwise that case failed.
        annotated: case -> the structures that were annotated there, where not all were; the others get no score.

    Raises:
        DataError: nothing can be paired, or no structure is known. A single bad case does not raise.
    """
    prediction, reference = Path(prediction), Path(reference)
    predictions, references = find_sides(prediction, reference, PICTURE)
    cases = sorted(predictions.files.keys() & references.files.keys())
    pairs = [Pair(case, references.files[case], predictions.files[case]) for case in cases]
    folder = prediction if prediction.is_dir() else prediction.parent
    labels, labels_from = _settle_labels(labels, folder / LABELS_FILE, references, pairs, callback)

    known = references.files.keys() | references.failed.keys()
    failed = references.failed | {case: why for case, why in predictions.failed.items() if case in known}
    missing = sorted(references.files.keys() - predictions.files.keys() - failed.keys())
    if not allow_missing:
        failed |= dict.fromkeys(missing, f"there is no prediction of this name in {prediction}")
    scores, total, unreadable = score_pairs(pairs, labels, annotated or {}, callback)
    summary = summarize(
        labels,
        scores,
        total,
        dict(sorted((failed | unreadable).items())),
        without_prediction=missing if allow_missing else (),
        without_reference=sorted(predictions.files.keys() - known),
    )
    files = write_results(folder if output is None else Path(output), summary, labels, pairs, references.scans)
    return Evaluation(summary, labels, labels_from, files)


def _settle_labels(
    labels: Labels | None, labels_file: Path, references: Side, pairs: Sequence[Pair], callback: Callback
) -> tuple[Labels, str]:
    """The structures, and where they come from."""
    if labels is not None:
        return labels, "as given"
    if labels_file.is_file():
        return _read_labels(labels_file), str(labels_file)
    if references.labels is not None:
        return references.labels, "the data set of the references"
    values: set[int] = set()
    errors: list[MedsegError] = []
    for _, found in track(map_cases(_values, pairs), "look for structures", len(pairs), callback):
        if isinstance(found, MedsegError):
            errors.append(found)  # it is named when the case is scored
        else:
            values |= found
    if len(errors) == len(pairs):
        raise errors[0]
    return infer_labels(values), "every value that occurs"


def _read_labels(path: Path) -> Labels:
    try:
        return Labels.model_validate(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise DataError(
            f"{path} does not declare labels: {' '.join(str(error).split()) or type(error).__name__}.",
            "Expected what medseg predict writes; without the file, the data set's declaration is taken.",
        ) from None


def _values(pair: Pair) -> set[int]:
    found = (np.unique(read_label(path).array) for path in (pair.reference, pair.prediction))
    return {int(value) for values in found for value in values}


def score_pairs(
    pairs: Sequence[Pair], labels: Labels, annotated: Mapping[str, Sequence[str]], callback: Callback
) -> tuple[list[CaseScore], NDArray[np.int64], dict[str, str]]:
    """Score of each case, the confusion summed over those annotated in full, and why others have none."""

    def score(pair: Pair) -> tuple[CaseScore, NDArray[np.int64]]:
        reference, prediction = read_label(pair.reference), read_label(pair.prediction)
        _check_grids(pair, reference, prediction)
        sources = (str(pair.reference), str(pair.prediction))
        confusion = confusion_of_values(labels, reference.array, prediction.array, sources)
        found = overlaps(confusion, labels, annotated.get(pair.case))
        return CaseScore(pair.case, found, reference.voxel_volume_ml), confusion

    scores: list[CaseScore] = []
    failed: dict[str, str] = {}
    total = np.zeros((len(labels.values),) * 2, dtype=np.int64)
    for pair, result in track(map_cases(score, pairs), "evaluate", len(pairs), callback):
        if isinstance(result, MedsegError):
            failed[pair.case] = str(result)
            continue
        case, confusion = result
        scores.append(case)
        if len(case.overlaps) == len(labels.names):
            total += confusion
    return scores, total, failed


def _check_grids(pair: Pair, reference: Image, prediction: Image) -> None:
    if reference.same_grid(prediction):
        return
    difference = describe_grid_difference(reference, prediction)
    raise DataError(
        f"{pair.reference} and {pair.prediction} lie on different grids: {difference}.",
        "Predict on the scan that the reference was drawn on, or resample one onto the grid of the other.",
    )


def write_results(
    folder: Path, summary: Summary, labels: Labels, pairs: Sequence[Pair], scans: Mapping[str, Path]
) -> tuple[Path, ...]:
    """Write tables and picture; there is no picture where no case has a Dice."""
    write_summary_json(folder / METRICS_JSON, summary)
    write_summary_csv(folder / METRICS_CSV, summary)
    files = {pair.case: pair for pair in pairs}
    views = [
        _view(files[case.case], word, case, scans.get(case.case)) for word, case in worst_median_best(summary.cases)
    ]
    if not views:
        return folder / METRICS_JSON, folder / METRICS_CSV
    case_panel(folder / PICTURE, views, labels)
    return folder / METRICS_JSON, folder / METRICS_CSV, folder / PICTURE


def _view(pair: Pair, word: str, case: CaseScore, scan: Path | None) -> View:
    reference, prediction = read_label(pair.reference), read_label(pair.prediction)
    title = f"{word}: {pair.case}" if word else pair.case
    return View(title, prediction, reference, _scan_on_grid(scan, reference), dice_line(case))


def _scan_on_grid(path: Path | None, grid: Image) -> Image | None:
    """The scan below the labels; None where it cannot be read or lies elsewhere: the labels are drawn alone then."""
    if path is None:
        return None
    try:
        scan = read_image(path)
    except DataError:
        return None
    return scan if scan.same_grid(grid) else None
