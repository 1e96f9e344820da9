"""What keeps a series from being one whole volume however its slices lie: damaged files beside it, UIDs used twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from medseg.io.dicom.elements.kinds import DAMAGED
from medseg.io.dicom.elements.uids import hide_uids
from medseg.io.dicom.listing.headers import Header
from medseg.io.dicom.listing.series import LeftOut, Problem, Series

_MOST_NAMED = 4


def lacking(one: Series, left_out: Iterable[LeftOut], known: Collection[str]) -> Problem | None:
    """That a series may lack slices: files of it could not be read, or files beside it that do not say whose they are.

    At either end of a stack nothing else tells that a slice is not there.

    Args:
        one: the series.
        left_out: of the whole container.
        known: SeriesInstanceUIDs in it; a damaged file may hold a part of one.
    """
    folders = {each.file.folder for each in one.slices}
    gone = [
        hide_uids(each.what)
        for each in left_out
        if each.why.startswith(DAMAGED)
        and (each.series_uid == one.uid if each.series_uid in known else _folder(each) in folders)
    ]
    if not gone:
        return None
    named = ", ".join(gone[:_MOST_NAMED]) + f" and {len(gone) - _MOST_NAMED} more" * (len(gone) > _MOST_NAMED)
    what = "is damaged, and may be a slice of it" if len(gone) == 1 else "are damaged, and may be slices of it"
    return Problem("damaged files", f"{named} {what}: copy anew, or take away what is none")


def _folder(gone: LeftOut) -> str:
    return PurePosixPath(gone.what).parent.as_posix()


def mixtures(headers: Sequence[Header]) -> list[Problem]:
    """That files of one SeriesInstanceUID are of several patients or modalities, which no scanner writes."""
    patients = {header.patient for header in headers} - {""}
    modalities = {dict(header.series)["modality"] for header in headers} - {""}
    found = []
    if len(patients) > 1:
        found.append(Problem("mixed patients", f"its files are of {len(patients)} patients (PatientID)"))
    if len(modalities) > 1:
        found.append(Problem("mixed modalities", f"its files are of {' and '.join(sorted(modalities))}"))
    return found


def with_own_keys(found: Sequence[Series]) -> list[Series]:
    """Series of which no two have one key: of studies that share a SeriesInstanceUID, and parts called the same."""
    counts, seen = Counter(one.key for one in found), Counter[str]()
    result = []
    for one in found:
        seen[one.key] += 1
        again = counts[one.key] > 1
        result.append(replace(one, split=f"{one.split} no. {seen[one.key]}".strip()) if again else one)
    return result
