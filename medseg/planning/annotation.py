"""Partly labelled cases: which structures were annotated in which case.

A structure that was not annotated in a case is neither background nor an error there: loss, sampling, folds and
scores leave it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels

_MOST_SHOWN = 3


def annotated_mask(case: Case, labels: Labels) -> NDArray[np.bool_] | None:
    """(structures,) whether each was annotated, in the order of `Labels.names`; None where all of them were."""
    if case.annotated is None or set(labels.names) <= {*case.annotated}:
        return None
    return np.array([name in case.annotated for name in labels.names])


def check_annotated(cases: Sequence[Case], labels: Labels) -> None:
    """Refuse cases to train on that name unknown structures, or that leave a structure without any annotation.

    Raises:
        DataError: naming the structures, and the case if it is one.
    """
    check_annotated_names(cases, labels)
    nowhere = [name for name, count in annotation_counts(cases, labels).items() if count == 0]
    if nowhere and cases:
        more = f" and {len(nowhere) - _MOST_SHOWN} more" * (len(nowhere) > _MOST_SHOWN)
        raise DataError(
            f"{', '.join(nowhere[:_MOST_SHOWN])}{more} was annotated in none of the cases to train on ({len(cases)}).",
            "Name it in the column `annotated` of the table of cases where it was, or leave it out of the structures.",
        )


def check_annotated_names(cases: Sequence[Case], labels: Labels) -> None:
    """Refuse cases that name structures which there are not.

    Raises:
        DataError: naming the first such case.
    """
    known = {*labels.names}
    for case in cases:
        unknown = [name for name in case.annotated or () if name not in known]
        if unknown:
            raise DataError(
                f"{case.id} says that {', '.join(unknown)} was annotated; "
                f"the structures are {', '.join(labels.names)}.",
                "Correct the column `annotated` of the table of cases; names are separated by semicolons.",
            )


def annotation_counts(cases: Sequence[Case], labels: Labels) -> dict[str, int]:
    """In how many cases each structure was annotated."""
    return {name: sum(case.annotated is None or name in case.annotated for case in cases) for name in labels.names}


def describe_annotation(cases: Sequence[Case], labels: Labels) -> list[str]:
    """A sentence about the structures that were not annotated everywhere; none where all were."""
    partly = [
        f"{name} in {count} of {len(cases)}"
        for name, count in annotation_counts(cases, labels).items()
        if count < len(cases)
    ]
    return [f"partly labelled, not annotated in every training case: {', '.join(partly)}"] if partly else []


def present_and_annotated(present: Mapping[str, Collection[str]], cases: Sequence[Case]) -> dict[str, set[str]]:
    """For each case the structures that its label file holds and that were annotated in it."""
    return {
        case.id: {name for name in present.get(case.id, ()) if case.annotated is None or name in case.annotated}
        for case in cases
    }
