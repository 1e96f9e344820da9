"""A rule on masks without structures that hold the ignore value, where the layout alone says that it is one.

In a VOC folder 255 stands for voxels without annotation; a mask of 0 and 255 is probably a binary mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import first_few
from medseg.io.layouts.dataset import DataSet
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts


def check_ignored(
    facts: Sequence[CaseFacts], cases: Mapping[str, Case], data: DataSet, errors: Sequence[Finding] = ()
) -> list[Finding]:
    """Return a warning for each mask that holds the ignore value, but no structure, if only the layout declares it.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
        data: the data set.
        errors: findings on the other cases.

    Raises:
        DataError: no mask of the data set holds a structure, and some hold the ignore value.
    """
    if not data.ignore_assumed or data.ignore is None:
        return []
    background = data.background_value
    only_ignored = {background, data.ignore}
    suspects = [case for case in facts if data.ignore in case.voxels and case.voxels.keys() <= only_ignored]
    if not suspects:
        return []
    first = 1 if data.labels is None else next(iter(data.labels.members.values()))[0]
    remedy = (
        f"If {data.ignore} is the structure: --map {data.ignore}={first}. If it does stand for voxels without "
        f"annotation: --ignore {data.ignore}."
    )
    structures_seen = any(case.voxels.keys() - only_ignored for case in facts)
    if not structures_seen and not any(finding.kind == "unknown label" for finding in errors):
        values = ", ".join(map(str, sorted({value for case in facts for value in case.voxels})))
        names = first_few([case.id for case in suspects], 3)
        raise DataError(
            f"The {len(facts)} masks in {data.folder} hold the values {values} and no structure. {data.ignore} stands "
            f"for voxels without annotation in this layout, but they look like binary masks ({names}).",
            remedy,
        )
    return [
        Finding(
            "ignored label",
            case.id,
            f"{cases[case.id].label} holds no structure, but {case.voxels[data.ignore]} voxels of {data.ignore}, which "
            "stands for voxels without annotation in this layout: is it a binary mask?",
            remedy,
            cases[case.id].label,
        )
        for case in suspects
    ]
