"""Describe for manifests what a case is read from: files by name and hash, series of DICOM by hash only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import content_hash
from medseg.delivery.provenance.manifest import Entry, relative
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.formats.table import is_dicom
from medseg.io.several_files import files_of

_IDENTIFIERS = (
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)


def hash_inputs(case: Case, label: bool = False) -> list[Entry]:
    """Return hashes of what a case is read from, in order: one per file, and one for all instances of a series.

    Names of DICOM files and folders reveal patients and UIDs, so a series is identified by its key instead.

    Args:
        case: its files.
        label: whether to include the label.
    """
    entries: list[Entry] = []
    for path, dicom in _units(case, label):
        if dicom:
            entries.append(hash_series(path))
        else:
            entries.append({"sha256": _hash(path) if path.is_file() else None})
    return entries


def _hash(path: Path) -> str:
    """Return the hash of a file; a JSON file, which holds the annotations of many cases, is read once."""
    if path.suffix.lower() != ".json":
        return content_hash(path)
    status = path.stat()
    return _hash_of_many(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _hash_of_many(path: Path, modified: int, size: int) -> str:
    """Return the hash of a file; `modified` and `size` tell a changed file from the one that was read."""
    return content_hash(path)


def hash_series(path: Path) -> Entry:
    """Return the key of a series, how many files it has, and a hash over their sorted hashes, which no name affects."""
    reference = parse_reference(path)
    hashes = [content_hash(file) for file in files_of(path) if file.is_file()]
    named = {} if reference is None else {"series": reference.key}
    return {**named, "instances": len(hashes), "sha256": combined_hash(hashes)}


def combined_hash(hashes: Iterable[str]) -> str:
    """Return the SHA-256 of hashes, sorted, one per line."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(hashes)).encode()).hexdigest()


def input_entries(case: Case, folder: Path, hashes: Sequence[Entry] | None = None, label: bool = False) -> list[Entry]:
    """Return the files and series that a case is read from, by name and hash.

    Args:
        case: its files.
        folder: names are relative to it.
        hashes: what `hash_inputs` returned, if the files were hashed before.
        label: whether to include the label.
    """
    units = list(_units(case, label))
    if hashes is None or len(hashes) != len(units):
        hashes = hash_inputs(case, label)
    return [
        {**({} if dicom else {"file": relative(path, folder)}), **known}
        for (path, dicom), known in zip(units, hashes, strict=True)
    ]


def identifiers(case: Case) -> list[Entry]:
    """Return the identifiers of patient, study and instances of each DICOM series of a case; nothing of other files."""
    from medseg.io.dicom.listing.locate import series_at

    entries = []
    for path in filter(is_dicom, case.channels):
        try:
            series = series_at(path)
            attributes = {name: str(series.attributes[name]) for name in _IDENTIFIERS if series.attributes.get(name)}
        except DataError:  # such a case failed, and is named as one
            continue
        uids = dict.fromkeys(image.sop_instance_uid for image in series.slices)
        entries.append({"series": series.key, **attributes, "SOPInstanceUID": list(uids)})
    return entries


def _units(case: Case, label: bool) -> Iterator[tuple[Path, bool]]:
    """Yield (path, whether it means DICOM) for all files of a case, also those that come in pairs (.hdr, .img)."""
    for path in [*case.channels, *([case.label] if label and case.label else [])]:
        if is_dicom(path):
            yield path, True
        else:
            yield from ((file, False) for file in files_of(path))
