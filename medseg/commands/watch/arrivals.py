"""What lies in a watched folder, and whether it has arrived whole.

Nothing here goes by clocks of other machines: whether something still changes is seen by looking twice.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import MedsegError
from medseg.core.files import content_hash
from medseg.core.wording import counted
from medseg.delivery.provenance.inputs import combined_hash
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.dicom.elements.series import Listing, Series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.locate import series_at
from medseg.io.formats.table import files_of, is_image, split_suffix
from medseg.io.layouts.names import split_channel
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SeriesRules

_UNFINISHED = re.compile(
    r".*\.(part|partial|tmp|temp|filepart|crdownload|download|!ut|swp|lock)"  # browsers, WinSCP, FileZilla ...
    r"|\.(?!_).+\.[A-Za-z0-9]{6}"  # rsync; ._NAME is macOS's
    r"|\.[0-9a-f]{8}\..+"  # medseg
    r"|.*~",
    re.IGNORECASE | re.DOTALL,
)
_COUNTS = ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition", "NumberOfSlices")
"""Attributes that say how many images there should be; (0054,0081) NumberOfSlices is of PET and NM."""
_GAPS = ("missing slices", "unequal steps")


@dataclass(frozen=True)
class Arrival:
    """A study in the watched folder.

    Attributes:
        name: of the folder or the (first) file.
        stem: what its answer is called, if nothing else is.
        path: the folder or the first file.
        files: where it is no folder, its files.
    """

    name: str
    stem: str
    path: Path
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Look:
    """What a study looks like from outside.

    Attributes:
        signature: changes whenever a file is added, removed, renamed or written.
        files: all that count, in order.
        unfinished: names of copies that are under way.
        problem: why it cannot be looked at.
    """

    signature: str
    files: tuple[Path, ...] = ()
    unfinished: tuple[str, ...] = ()
    problem: str | None = None


def arrivals_in(folder: Path, channels: int) -> tuple[list[Arrival], list[str]]:
    """The studies that lie in a folder, by name, and the names of what is none.

    A folder, a zip, or a scan in one file is a study; so are CASE_0000, CASE_0001, ... for a model of several channels.

    Raises:
        OSError: the folder cannot be listed; a network drive may be back later.
    """
    found, others = [], []
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.startswith(".") or _UNFINISHED.fullmatch(entry.name):
            continue
        if entry.is_dir():
            found.append(Arrival(entry.name, entry.name, path))
        elif entry.name.lower().endswith(".zip"):
            found.append(Arrival(entry.name, path.stem, path, (path,)))
        elif is_image(path):
            stem, suffix = split_suffix(path)
            case, number = split_channel(stem)
            groups[case if number == 0 or (number and channels > 1) else stem, suffix].append(path)
        else:
            others.append(entry.name)
    for (stem, _), paths in groups.items():
        found.append(Arrival(paths[0].name, stem, paths[0], tuple(paths)))
    return sorted(found, key=lambda one: one.name), others


def look_at(arrival: Arrival) -> Look:
    """Names, sizes and times of a study's files; no content is read."""
    digest, files, unfinished = sha256(), [], []
    try:
        for path in _files(arrival):
            found = path.stat()
            name = os.path.relpath(path, arrival.path.parent)  # however the watched folder was written
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
            if _UNFINISHED.fullmatch(path.name):
                unfinished.append(path.name)
            elif not path.name.startswith("."):
                files.append(path)
    except (OSError, MedsegError) as error:
        return Look(f"unreadable: {error}", problem=f"{arrival.path} cannot be looked at: {error}")
    return Look(digest.hexdigest(), tuple(files), tuple(unfinished))


def content_of(look: Look) -> str:
    """One SHA-256 of all that a study holds; names and times play no part.

    Raises:
        OSError: a file cannot be read.
    """
    return combined_hash(content_hash(path) for path in look.files)


def why_not_whole(
    arrival: Arrival,
    look: Look,
    channels: Sequence[str],
    patterns: Sequence[str] | None,
    rules: SeriesRules,
    late: bool,
) -> str | None:
    """Why a study does not look whole, or not like one for the model; None if it does.

    Args:
        arrival: the study.
        look: at it, just now.
        channels, patterns, rules: as `find_scans` has them.
        late: nothing more is expected to arrive; what is whole, or `--allow-gaps` allows, is then taken.
    """
    if look.problem:
        return look.problem
    if look.unfinished:
        return f"{look.unfinished[0]} is a copy that was not finished."
    if arrival.files and arrival.path.suffix.lower() == ".zip" and not zipfile.is_zipfile(arrival.path):
        return f"{arrival.path} is no whole zip: it does not open."
    try:
        cases, refused = find_scans(arrival.path, channels, patterns, rules)
        if refused and not (late and cases):
            return "; ".join(f"{case}: {why}" for case, why in refused.items())
        return _missing(arrival, cases, late and rules.options.allow_gaps)
    except (MedsegError, OSError) as error:
        return str(error)


def _missing(arrival: Arrival, cases: Sequence[Case], gaps_allowed: bool) -> str | None:
    """What chosen series lack by what they say of themselves, or whether files beside them are damaged."""
    chosen = [path for case in cases for path in case.channels if parse_reference(path) is not None]
    if not chosen:
        return None
    listing = find_series(arrival.path)
    if listing.damaged:
        named = ", ".join(f"{one.file} ({one.reason})" for one in listing.damaged[:3])
        return f"{counted(len(listing.damaged), 'file')} damaged or not there in full: {named}"
    if gaps_allowed:
        return None
    return next((why for path in chosen if (why := _missing_slices(series_at(path), listing))), None)


def _missing_slices(series: Series, listing: Listing) -> str | None:
    gap = next((problem for problem in series.problems if problem.kind in _GAPS), None)
    if gap is not None:
        return f"{series.title}: {gap.message}"
    there = sum(len(one.slices) for one in listing.series if one.uid == series.uid)
    for name in _COUNTS:
        told = str(series.attributes.get(name) or "")
        if told.isdigit() and int(told) > there:
            return f"{series.title}: {counted(there, 'image')} there; its headers count {told} ({name})."
    return None


def _files(arrival: Arrival) -> Iterator[Path]:
    """Every file of a study, hidden ones too; links to folders are followed once."""
    if arrival.files:
        yield from dict.fromkeys(file for path in arrival.files for file in files_of(path))
        return
    seen: set[str] = set()
    for place, folders, names in os.walk(arrival.path, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))


def _refuse(error: OSError) -> None:
    raise error
