"""Order scans without labels by how much their labels would teach: doubtful ones first, and no two alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.confidence.assessment import MISSING, Assessment


@dataclass(frozen=True)
class Ranked:
    """A scan in the order.

    Attributes:
        case: its id.
        doubt: what is missing to a predicted Dice of 1, mean over structures, with 0 for each that the flag `missing`
            names; where none is predicted, 1: nothing was answered.
        novelty: how far it is from the scans before it in the order, relative to the median distance of all, at most 1.
    """

    case: str
    doubt: float
    novelty: float


def rank(assessments: Mapping[str, Assessment]) -> list[Ranked]:
    """Return the order in which scans should be annotated.

    The first is the one with the most doubt. Each other one has, of those that are left, the largest product of doubt
    and novelty: a second scan of the same kind waits until other kinds had their turn.

    Args:
        assessments: {case: what is expected of its answer}.
    """
    names = sorted(assessments)
    doubts = np.array([1 - _expected_dice(assessments[name]) for name in names])
    places = _places([assessments[name].scan for name in names])
    typical = _typical_distance(places)
    nearest = np.full(len(names), np.inf)
    left, order = [*range(len(names))], []
    while left:
        # more than the typical distance is simply another kind of scan: else outliers would come before doubtful ones
        novelty = np.minimum(nearest[left] / typical, 1.0)
        # the small term orders scans of no novelty, such as copies, by their doubt
        best = int(np.argmax(doubts[left] * novelty + 1e-9 * doubts[left]))  # the first of equals
        chosen = left.pop(best)
        order.append(Ranked(names[chosen], round(float(doubts[chosen]), 4), round(float(novelty[best]), 4)))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen], axis=1))
    return order


def _expected_dice(assessment: Assessment) -> float:
    """Return the mean of the predicted Dice, with 0 for structures that should be there and are not."""
    # an empty answer has no predicted Dice of a structure, and is as wrong as can be where the structure is there
    missing = [0.0 for flag in assessment.flags if flag.kind == MISSING]
    known = [quality.dice for quality in assessment.structures.values() if quality.dice is not None] + missing
    return sum(known) / len(known) if known else 0.0


def _places(scans: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the figures of scans as (scans, figures), with zeros for scans of which none are known."""
    length = max((len(scan) for scan in scans), default=0)
    return np.array([scan if len(scan) == length else [0.0] * length for scan in scans]).reshape(len(scans), length)


def _typical_distance(places: np.ndarray) -> float:
    """Return the median distance of scans from each other, over at most some hundred of them; 1 if all are alike."""
    some = places[:: max(1, len(places) // 300)]
    distances = np.linalg.norm(some[:, None] - some[None], axis=2)[np.triu_indices(len(some), 1)]
    return float(np.median(distances)) if distances.size and np.median(distances) > 0 else 1.0
