"""Choose the cases of a data set that its own split keeps out of training: scores on the others say little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.wording import counted
from medseg.io.layouts.find import is_data_set, read_layout
from medseg.planning.published import published_split


def unseen_cases(folder: Path, scans: Sequence[Case]) -> tuple[list[Case], str | None]:
    """Return the scans of the test part of a data set, else of its validation part, and a note that says so.

    Args:
        folder: where the scans were found.
        scans: all scans that were found there.

    Returns:
        All scans, and no note, where the folder is no data set with a split of its own, or holds nothing else.
    """
    try:
        data = read_layout(folder) if is_data_set(folder) else None
        split = published_split(data.cases) if data is not None else None
    except MedsegError:  # planning names what is wrong with it; here the folder is one of images
        return [*scans], None
    if data is None or split is None:
        return [*scans], None
    part, ids = ("test", split.test) if split.test else ("validation", split.val)
    files = {path for case in data.cases if case.id in ids for path in case.channels}
    unseen = [scan for scan in scans if files.issuperset(scan.channels)]
    others = len(scans) - len(unseen)
    if not unseen or not others:
        return [*scans], None
    return unseen, (
        f"{folder} comes with a split (column {split.column}): only its {counted(len(unseen), f'{part} case')} "
        f"{'is' if len(unseen) == 1 else 'are'} segmented, not the other {others}; to segment all, name the folder of "
        "the images itself"
    )
