"""Settle which structures an evaluation scores: those that something declares, else the values that occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError, MedsegError
from medseg.core.labels import VALUE_RANGE, Labels, soft_mask_hint
from medseg.core.progress import Callback, track
from medseg.datasets.header_labels import labels_by_headers, naming_differences
from medseg.delivery.answers.labels_file import Answers
from medseg.engines.engine import Engine
from medseg.evaluation.label_files import Pair
from medseg.io.layouts.find import infer_labels
from medseg.io.values.header_names import names_in_headers, structures_in_headers
from medseg.io.values.soft import is_soft

_MOST_SHOWN = 6


@dataclass(frozen=True)
class Structures:
    """The structures that are scored.

    Attributes:
        labels: the structures.
        origin: where they come from, in words.
        notes: what is worth a note about their names.
    """

    labels: Labels
    origin: str
    notes: tuple[str, ...] = ()


def declared_structures(
    labels: Labels | None, answers: Answers | None, of_references: Labels | None
) -> Structures | None:
    """Return the structures that something declares; None where nothing does.

    Args:
        labels: those that the user gives.
        answers: what `labels.json` beside the predictions says.
        of_references: those of the data set of the references.
    """
    if labels is not None:
        return Structures(labels, "as given")
    if answers is not None:
        return Structures(answers.labels, "labels.json beside the predictions")
    return None if of_references is None else Structures(of_references, "the data set of the references")


def differing_headers(pairs: Sequence[Pair], labels: Labels) -> tuple[str, ...]:
    """Return a note on the declared structures that the headers of the label files call otherwise.

    Args:
        pairs: the pairs to be scored.
        labels: the declared structures.
    """
    return tuple(naming_differences(names_in_headers(_files(pairs)), labels))


def structures_of_values(pairs: Sequence[Pair], by_value: bool, engine: Engine, callback: Callback) -> Structures:
    """Return a structure for every value that occurs, named by the headers of the label files where these name it.

    Args:
        pairs: the pairs to be scored.
        by_value: whether values are not those that headers speak of.
        engine: reads the pairs.
        callback: receives progress.

    Raises:
        MedsegError: no label file can be read, they hold no structure, or their headers contradict each other.
    """
    names = {} if by_value else structures_in_headers(_files(pairs))
    seen: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    errors: list[MedsegError] = []
    for _, result in track(engine.map(_values, pairs), "look for structures", len(pairs), callback):
        if isinstance(result, MedsegError):
            errors.append(result)  # the case is named when it is scored
        else:
            for counts, of_case in zip(seen, result, strict=True):
                counts.update(of_case)
    if len(errors) == len(pairs):
        raise errors[0]
    named, notes = labels_by_headers(seen[0] + seen[1], names)
    in_references, in_predictions = {*seen[0]}, {*seen[1]}
    notes = [*notes, *_values_on_one_side(in_references, in_predictions)]
    if named is not None:
        return Structures(named, "the names in the headers of the label files", tuple(notes))
    _check_values_meet(in_references, in_predictions)
    return Structures(infer_labels(in_references | in_predictions), "every value that occurs", tuple(notes))


def _files(pairs: Sequence[Pair]) -> list[Path]:
    return [*(pair.reference for pair in pairs), *(pair.prediction for pair in pairs)]


def _values(pair: Pair) -> tuple[set[int], set[int]]:
    """Return the values in the reference and in the prediction.

    Raises:
        DataError: one of them cannot be read, is a soft mask, or holds a value that is no structure's: below 0, or
            above what label files are written in.
    """
    reference, prediction = pair.read()
    seen = []
    for image, path, threshold, mapping in (
        (reference, pair.reference, "--threshold", "--map"),
        (prediction, pair.prediction, "--prediction-threshold", "--prediction-map"),
    ):
        values = np.unique(image.array).tolist()
        if values[0] < 0:
            raise DataError(
                f"{path} holds the value {values[0]}: medseg cannot know what a value below 0 means.",
                f"If these voxels are background: {mapping} {values[0]}=0.",
            )
        if values[-1] > VALUE_RANGE.max:
            raise DataError(
                f"{path} holds the value {values[-1]}; expected whole numbers up to {VALUE_RANGE.max}.",
                f"If these voxels are background: {mapping} {values[-1]}=0.",
            )
        if is_soft(image.array):
            raise DataError(
                f"{path} holds {len(values)} values, nearly all of them at edges: it is a soft mask.",
                soft_mask_hint(values, threshold),
                "soft label",
            )
        seen.append({*values})
    return seen[0], seen[1]


def _check_values_meet(in_references: set[int], in_predictions: set[int]) -> None:
    """Refuse structures taken from values where no value is on both sides: every score would be 0.

    Raises:
        DataError: both sides hold structures, and none of them is the same.
    """
    reference, prediction = sorted(in_references - {0}), sorted(in_predictions - {0})
    if not reference or not prediction or {*reference} & {*prediction}:
        return
    shown = [_shown(values) for values in (reference, prediction)]
    raise DataError(
        f"No structure is on both sides: the references hold the values {shown[0]}, the predictions {shown[1]}.",
        f"If {prediction[0]} in the predictions means what {reference[0]} means in the references: "
        f"--prediction-map {prediction[0]}={reference[0]} (--map changes values in the references).",
    )


def _values_on_one_side(in_references: set[int], in_predictions: set[int]) -> list[str]:
    """Return a note on the values that occur on one side alone, over all cases; their structures have a Dice of 0."""
    missed = sorted(in_references - in_predictions - {0})
    added = sorted(in_predictions - in_references - {0})
    sides = [(missed, "references"), (added, "predictions")]
    parts = [f"{_shown(values)} in the {side} alone" for values, side in sides if values]
    if not parts:
        return []
    note = f"over all cases, values occur on one side alone: {' and '.join(parts)}; as structures they score 0"
    if missed and added:
        note += (
            f". If {added[0]} in the predictions means what {missed[0]} means in the references: "
            f"--prediction-map {added[0]}={missed[0]}"
        )
    return [note]


def _shown(values: Sequence[int]) -> str:
    """Return the first few values, for messages."""
    return ", ".join(map(str, values[:_MOST_SHOWN])) + ", ..." * (len(values) > _MOST_SHOWN)
