"""Masks that mark nothing but a value that only the layout calls ignored, as binary masks of 255 in a VOC folder do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.io.layouts.dataset import DataSet
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_MOST_SHOWN = 3


def check_ignored(
    facts: Sequence[CaseFacts], cases: Mapping[str, Case], data: DataSet, errors: Sequence[Finding] = ()
) -> list[Finding]:
    """A warning for each mask that holds no structure, but the ignore value, where nobody said that it is meant.

    Args:
        facts: of the cases that could be read.
        cases: by id.
        data: the data set.
        errors: what is wrong with the other cases.

    Raises:
        DataError: no mask of the set holds a structure, and some hold the ignore value.
    """
    if not data.ignore_assumed or data.ignore is None:
        return []
    background = 0 if data.labels is None else data.labels.background
    alone = [one for one in facts if data.ignore in one.voxels and one.voxels.keys() <= {background, data.ignore}]
    if not alone:
        return []
    first = 1 if data.labels is None else next(iter(data.labels.members.values()))[0]
    remedy = (
        f"If {data.ignore} is the structure: --map {data.ignore}={first}. If it does stand for voxels without "
        f"annotation: --ignore {data.ignore}."
    )
    structures_seen = any(one.voxels.keys() - {background, data.ignore} for one in facts)
    if not structures_seen and not any(one.kind == "unknown label" for one in errors):
        values = ", ".join(map(str, sorted({value for one in facts for value in one.voxels})))
        shown = ", ".join(one.id for one in alone[:_MOST_SHOWN]) + ", ..." * (len(alone) > _MOST_SHOWN)
        raise DataError(
            f"The {len(facts)} masks in {data.folder} hold the values {values} and no structure. {data.ignore} stands "
            f"for voxels without annotation in this layout, but they look like binary masks ({shown}).",
            remedy,
        )
    return [
        Finding(
            "ignored label",
            one.id,
            f"{cases[one.id].label} holds no structure, but {one.voxels[data.ignore]} voxels of {data.ignore}, which "
            "stands for voxels without annotation in this layout: is it a binary mask?",
            remedy,
            cases[one.id].label,
        )
        for one in alone
    ]
