"""Partly labelled cases: which structures were annotated in which case.

A structure that was not annotated in a case is not absent there: loss, sampling, folds and scores leave it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels

_MOST_NAMED = 3


def annotated_mask(case: Case, labels: Labels) -> NDArray[np.bool_] | None:
    """Return which structures were annotated in a case.

    Args:
        case: the case.
        labels: the structures.

    Returns:
        (structures,) booleans in the order of `labels.names`; None if all of them were annotated.
    """
    if case.annotated is None or set(labels.names) <= {*case.annotated}:
        return None
    return np.array([name in case.annotated for name in labels.names])


def check_annotated(cases: Sequence[Case], labels: Labels) -> None:
    """Refuse training cases that name unknown structures, or of which none has a certain structure annotated.

    Args:
        cases: the cases to train on.
        labels: the structures.

    Raises:
        DataError: a case names an unknown structure, or a structure was annotated in no case.
    """
    check_annotated_names(cases, labels)
    unannotated = [name for name, count in annotation_counts(cases, labels).items() if count == 0]
    if unannotated and cases:
        more = f" and {len(unannotated) - _MOST_NAMED} more" * (len(unannotated) > _MOST_NAMED)
        raise DataError(
            f"{', '.join(unannotated[:_MOST_NAMED])}{more} was annotated in none of the cases to train on "
            f"({len(cases)}).",
            "Name it in the column `annotated` of the table of cases where it was, or leave it out of the structures.",
        )


def check_annotated_names(cases: Sequence[Case], labels: Labels) -> None:
    """Refuse cases whose annotated structures are not all declared.

    Args:
        cases: the cases.
        labels: the declared structures.

    Raises:
        DataError: there is such a case; the message names the first one.
    """
    known = {*labels.names}
    for case in cases:
        unknown = [name for name in case.annotated or () if name not in known]
        if unknown:
            raise DataError(
                f"Case {case.id} says that {', '.join(unknown)} was annotated; "
                f"the structures are {', '.join(labels.names)}.",
                "Correct the column `annotated` of the table of cases; names are separated by semicolons.",
            )


def annotation_counts(cases: Sequence[Case], labels: Labels) -> dict[str, int]:
    """Return structure -> number of cases in which it was annotated."""
    return {name: sum(case.annotated is None or name in case.annotated for case in cases) for name in labels.names}


def describe_annotation(cases: Sequence[Case], labels: Labels) -> list[str]:
    """Return a sentence about the structures that were not annotated in every case; [] if all were."""
    partly = [
        f"{name} in {count} of {len(cases)}"
        for name, count in annotation_counts(cases, labels).items()
        if count < len(cases)
    ]
    return [f"partly labelled, not annotated in every training case: {', '.join(partly)}"] if partly else []


def present_and_annotated(present: Mapping[str, Collection[str]], cases: Sequence[Case]) -> dict[str, set[str]]:
    """Return the structures that are present and annotated in each case.

    Args:
        present: id of a case -> the structures that its label file holds.
        cases: the cases, with the structures that were annotated.

    Returns:
        Id of each case -> the structures for which both hold.
    """
    return {
        case.id: {name for name in present.get(case.id, ()) if case.annotated is None or name in case.annotated}
        for case in cases
    }
