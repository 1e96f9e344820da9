"""What a case is read from, as manifests tell it: files by name and hash, a series of DICOM without names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import content_hash
from medseg.delivery.provenance.manifest import Entry, relative
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import files_of, is_dicom

_IDENTIFIERS = (
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)


def hash_inputs(case: Case, label: bool = False) -> list[Entry]:
    """Hashes of what a case is read from, in order: of each file, and one of all instances of a series.

    Names of DICOM files and folders tell patients and UIDs, so that a series has none: it has its key.
    """
    found: list[Entry] = []
    for path, dicom in _units(case, label):
        if dicom:
            found.append(hash_series(path))
        elif path.is_file():
            found.append({"sha256": content_hash(path)})
        else:
            found.append({"sha256": None})
    return found


def hash_series(path: Path) -> Entry:
    """The key of a series, how many files it has, and a hash over their sorted hashes: names play no part."""
    reference = parse_reference(path)
    hashes = [content_hash(file) for file in files_of(path) if file.is_file()]
    named = {} if reference is None else {"series": reference.key}
    return {**named, "instances": len(hashes), "sha256": combined_hash(hashes)}


def combined_hash(hashes: Iterable[str]) -> str:
    """SHA-256 of hashes, sorted, one a line."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(hashes)).encode()).hexdigest()


def input_entries(case: Case, folder: Path, hashes: Sequence[Entry] | None = None, label: bool = False) -> list[Entry]:
    """The inputs of a case with their names below a folder; hashed now, unless that was done before."""
    units = list(_units(case, label))
    if hashes is None or len(hashes) != len(units):
        hashes = hash_inputs(case, label)
    return [
        {**({} if dicom else {"file": relative(path, folder)}), **known}
        for (path, dicom), known in zip(units, hashes, strict=True)
    ]


def identifiers(case: Case) -> list[Entry]:
    """Who and what each series of a case is, by DICOM's own identifiers; nothing of other files."""
    from medseg.io.dicom.listing.locate import series_at

    found = []
    for path in filter(is_dicom, case.channels):
        try:
            series = series_at(path)
            said = {name: str(series.attributes[name]) for name in _IDENTIFIERS if series.attributes.get(name)}
        except DataError:  # it is named as a case that failed
            continue
        uids = dict.fromkeys(one.sop_instance_uid for one in series.slices)
        found.append({"series": series.key, **said, "SOPInstanceUID": list(uids)})
    return found


def _units(case: Case, label: bool) -> Iterator[tuple[Path, bool]]:
    """Files, with the further ones that belong to them, and paths that mean DICOM (True)."""
    for path in [*case.channels, *([case.label] if label and case.label else [])]:
        if is_dicom(path):
            yield path, True
        else:
            yield from ((file, False) for file in files_of(path))
