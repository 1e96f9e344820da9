"""Every series in a folder, a zip or a file, from the headers of its files."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.core.errors import MedsegError
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.io.dicom.elements.dataset import need_pydicom
from medseg.io.dicom.elements.files import File, files_in
from medseg.io.dicom.geometry.stacking import lay_out
from medseg.io.dicom.listing.headers import Header, read_header
from medseg.io.dicom.listing.series import LeftOut, Listing, Problem, Series, Slice
from medseg.io.dicom.listing.split import split
from medseg.io.dicom.listing.wholeness import lacking, mixtures, with_own_keys
from medseg.io.dicom.pixels.packing import problems_of_pixels

_MOST_KEPT = 16
_NO_SPACING = "the size of a pixel in the patient is not known (no PixelSpacing): sizes are in pixels"
_kept: OrderedDict[tuple[Path, str], Listing] = OrderedDict()
_lock = threading.Lock()


def find_series(source: Path, callback: Callback = silent) -> Listing:
    """List the series in a folder (nested, mixed with other files), a zip, a DICOMDIR, or a single file.

    Only headers are read, in threads. The listing is kept for the next call and made anew when a file was added,
    removed or changed.

    Args:
        source: where to look.
        callback: progress in the stage `headers`; may raise `Cancelled`.

    Raises:
        DataError: there is nothing at `source`, a zip is damaged or not safe to read, or pydicom is not installed.
    """
    need_pydicom()
    container = Path(os.path.abspath(source))
    files = list(files_in(container))
    place = (container, _signature(files))
    with _lock:
        if place in _kept:
            _kept.move_to_end(place)
            return _kept[place]
    headers = []
    for file, header in track(map_cases(read_header, files), "headers", len(files), callback):
        headers.append((file, _failed(file, header) if isinstance(header, MedsegError) else header))
    listing = _listing(container, headers)
    with _lock:
        _kept[place] = listing
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return listing


def make_series(
    container: Path, about: dict[str, Any], split_by: str, slices: Sequence[Slice], problems: Sequence[Problem] = ()
) -> Series:
    """A series of slices in any order, sorted and checked; `problems` are known already."""
    slices = _labelled(slices)
    found = lay_out(slices)
    ordered = tuple(slices[number] for number in found.order)
    return Series(
        container=container,
        **about,
        split=split_by,
        slices=ordered,
        shape_zyx=(len(ordered), ordered[0].rows, ordered[0].columns),
        spacing_mm=found.spacing_zyx,
        plane=found.plane,
        problems=(*problems, *found.problems, *problems_of_pixels(ordered)),
        notes=() if found.spacing_known else (_NO_SPACING,),
    )


def _labelled(slices: Sequence[Slice]) -> list[Slice]:
    """Slices that messages call by the last part of their file's name, where that is no other file's as well."""
    by_label: dict[str, set[File]] = defaultdict(set)
    for one in slices:
        by_label[PurePosixPath(one.file.name).name].add(one.file)
    if any(len(files) > 1 for files in by_label.values()):
        return list(slices)
    return [replace(one, label=PurePosixPath(one.file.name).name) for one in slices]


def _signature(files: Sequence[File]) -> str:
    """Changes whenever a file is added, removed, renamed or written anew."""
    digest = hashlib.sha256()
    stats: dict[Path, os.stat_result] = {}
    for file in files:
        if file.path not in stats:
            there = file.path.exists()  # of a link, what it leads to, if it leads anywhere
            stats[file.path] = os.stat(file.path) if there else os.lstat(file.path)
        found = stats[file.path]
        digest.update(f"{file.path}\0{file.member}\0{found.st_mtime_ns}\0{found.st_size}\n".encode(errors="replace"))
    return digest.hexdigest()


def _failed(file: File, error: MedsegError) -> Header:
    return Header(left_out=LeftOut(file.name, error.message))


def _listing(container: Path, headers: Sequence[tuple[File, Header]]) -> Listing:
    by_place: dict[tuple[str, str], list[Header]] = defaultdict(list)
    left_out = [header.left_out for _, header in headers if header.left_out is not None]
    for _, header in headers:
        if header.slices:
            facts = dict(header.series)
            by_place[facts["study_uid"], facts["uid"]].append(header)
    found = []
    for members in by_place.values():
        kept, copies = _without_copies([one for header in members for one in header.slices])
        left_out += copies
        about, mixed = dict(members[0].series), mixtures(members)
        found += [make_series(container, about, name, part, mixed) for name, part in split(kept)]
    known = {uid for _, uid in by_place}
    for number, one in enumerate(found):
        if (gap := lacking(one, left_out, known)) is not None:
            found[number] = replace(one, problems=(*one.problems, gap))
    objects = tuple(header.object for _, header in headers if header.object is not None)
    return Listing(container, tuple(with_own_keys(sorted(found, key=_in_order))), objects, tuple(left_out))


def _in_order(one: Series) -> tuple[Any, ...]:
    """By series number; parts of a series by the numbers in their names."""
    digits = [int(part) if part.isdigit() else part for part in one.split.replace("=", " ").split()]
    return (
        one.number is None,
        one.number or 0,
        one.uid,
        one.study_uid,
        len(digits),
        [str(type(part)) for part in digits],
        digits,
    )


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[LeftOut]]:
    """Slices without those whose file is the same, byte for byte, as another of the same instance."""
    by_instance: dict[tuple[str, int | None], list[Slice]] = defaultdict(list)
    for one in slices:
        by_instance[one.sop_uid, one.frame].append(one)
    kept, left_out, hashes = [], {}, {}
    for (uid, _), same in by_instance.items():
        known: set[str] = set()
        for one in same:
            if len(same) > 1 and uid:
                if one.file not in hashes:
                    hashes[one.file] = _content(one.file)
                if hashes[one.file] in known:
                    left_out[one.file] = LeftOut(one.file.name, "copy of another file")
                    continue
                known.add(hashes[one.file])
            kept.append(one)
    return kept, list(left_out.values())


def _content(file: File) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
