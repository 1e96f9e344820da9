"""List the studies in a watched folder, and decide whether each has arrived complete.

Clocks of other machines play no part: whether a study still changes is seen by taking two snapshots of it.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
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
from medseg.io.formats.table import is_image, split_suffix
from medseg.io.images import read_image
from medseg.io.layouts.file_names.names import split_channel
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SeriesRules
from medseg.io.layouts.used_paths import absolute
from medseg.io.several_files import files_of

_UNFINISHED = re.compile(
    r".*\.(part|partial|tmp|temp|filepart|crdownload|download|!ut|swp|lock)"  # browsers, WinSCP, FileZilla ...
    r"|\.(?!_).+\.[A-Za-z0-9]{6}"  # rsync; ._NAME is macOS's
    r"|\.[0-9a-f]{8}\..+"  # medseg
    r"|.*~",
    re.IGNORECASE | re.DOTALL,
)
_EXPECTED_COUNTS = ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition", "NumberOfSlices")
"""Elements that say how many images there should be (PS3.3 C.7.3.1 and C.8.9.1)."""
_GAPS = ("missing slices", "unequal steps")
_MAX_NAMED = 3


@dataclass(frozen=True)
class Arrival:
    """A study in the watched folder.

    Attributes:
        name: the name of the folder or the (first) file; it identifies the study in the journal.
        stem: the name without suffix, which its folder of answers gets if no other study has it.
        path: the folder or the first file.
        files: its files, if it is not a folder.
    """

    name: str
    stem: str
    path: Path
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The names, sizes and times of a study's files at one moment.

    Attributes:
        signature: a hash that changes whenever a file is added, removed, renamed or written.
        files: all files but hidden and unfinished ones, in order.
        unfinished: names of files that are copies under way.
        problem: why the study cannot be read; None if it can.
    """

    signature: str
    files: tuple[Path, ...] = ()
    unfinished: tuple[str, ...] = ()
    problem: str | None = None


def arrivals_in(folder: Path, channels: int) -> tuple[list[Arrival], list[str]]:
    """Return the studies in a folder, by name, and the names of files that are not a study.

    A folder, a zip, or a scan in one file is a study; so are CASE_0000, CASE_0001, ... for a model of several channels,
    and a header with the file of its data. CASE beside CASE_0000 is a study of its own.

    Args:
        folder: the watched folder.
        channels: how many the model has.

    Raises:
        OSError: the folder cannot be listed, such as a network drive that is away for a while.
    """
    arrivals, others = [], []
    groups: dict[tuple[str, str, bool], list[Path]] = defaultdict(list)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.startswith(".") or _UNFINISHED.fullmatch(entry.name):
            continue
        if entry.is_dir():
            arrivals.append(Arrival(entry.name, entry.name, path))
        elif entry.name.lower().endswith(".zip"):
            arrivals.append(Arrival(entry.name, path.stem, path, (path,)))
        elif is_image(path):
            stem, suffix = split_suffix(path)
            case, number = split_channel(stem)
            numbered = number == 0 or (number is not None and channels > 1)
            groups[case if numbered else stem, suffix, numbered].append(path)
        else:
            others.append(entry.name)
    for (stem, _, _), paths in groups.items():
        arrivals.append(Arrival(paths[0].name, stem, paths[0], tuple(paths)))
    if others:
        scans = [path for arrival in arrivals for path in arrival.files if path.exists()]  # a link may lead nowhere
        parts = {file for path in scans for file in _parts(path, path.stat().st_mtime_ns)}
        others = [name for name in others if folder / name not in parts]
    return sorted(arrivals, key=lambda arrival: arrival.name), others


@lru_cache(maxsize=1 << 16)
def _parts(path: Path, changed_ns: int) -> tuple[Path, ...]:
    """Return the files of a scan; its header is read once, until it changes."""
    return tuple(files_of(path))


def take_snapshot(arrival: Arrival) -> Snapshot:
    """Return the names, sizes and times of a study's files; no content is read."""
    digest, files, unfinished = sha256(), [], []
    try:
        for path in _files(arrival):
            status = path.stat()
            name = os.path.relpath(path, arrival.path.parent)  # the same however the user wrote the watched folder
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            if _UNFINISHED.fullmatch(path.name):
                unfinished.append(path.name)
            elif not path.name.startswith(".") and stat.S_ISREG(status.st_mode):  # a pipe may block for ever
                files.append(path)
    except (OSError, MedsegError) as error:
        return Snapshot(f"unreadable: {error}", problem=f"{arrival.path} cannot be read: {error}")
    return Snapshot(digest.hexdigest(), tuple(files), tuple(unfinished))


def content_hash_of(snapshot: Snapshot) -> str:
    """Return one SHA-256 of the contents of a study's files; names and times play no part.

    Raises:
        OSError: a file cannot be read.
    """
    return combined_hash(content_hash(path) for path in snapshot.files)


def why_incomplete(
    arrival: Arrival,
    snapshot: Snapshot,
    channels: Sequence[str],
    patterns: Sequence[str] | None,
    rules: SeriesRules,
    late: bool,
) -> str | None:
    """Return why a study is not complete, or not one for the model; None if it can be answered.

    Args:
        arrival: the study.
        snapshot: the snapshot of its files, taken just now.
        channels: names of the model's channels.
        patterns: one per channel, see `find_scans`; None if the names of files decide.
        rules: how the series of DICOM studies are chosen.
        late: whether nothing more is expected to arrive: then complete cases of the study are answered without its
            others, and gaps are accepted if `--allow-gaps` allows them.
    """
    if snapshot.problem:
        return snapshot.problem
    if snapshot.unfinished:
        return f"{snapshot.unfinished[0]} is a copy that was not finished."
    if arrival.files and arrival.path.suffix.lower() == ".zip" and not zipfile.is_zipfile(arrival.path):
        return f"{arrival.path} is not a complete zip: it does not open."
    if not late and not patterns and (absent := _absent_channel(arrival, len(channels))) is not None:
        return (
            f"{arrival.path.name} is there without {arrival.stem}_{absent}; the model takes {len(channels)} channels."
        )
    try:
        cases, refused = find_scans(arrival.path, channels, patterns, rules)
        if refused and not (late and cases):
            return "; ".join(f"{case}: {why}" for case, why in refused.items())
        if (outside := _outside(arrival, cases)) is not None:
            return f"A list in {arrival.path} names {outside}, which is no file of the study."
        return _missing(arrival, cases, late and rules.options.allow_gaps)
    except (MedsegError, OSError) as error:
        return str(error)


def _absent_channel(arrival: Arrival, channels: int) -> str | None:
    """Return the number of the first channel that numbered files lack; None for a file that may hold all of them."""
    numbers = {split_channel(split_suffix(path)[0])[1] for path in arrival.files if is_image(path)}
    if channels == 1 or not numbers or None in numbers:
        return None
    if len(arrival.files) == 1:
        with suppress(MedsegError):  # what is wrong with it is said when it is answered
            if len(read_image(arrival.path).array) == channels:
                return None
    return next((f"{number:04d}" for number in range(channels) if number not in numbers), None)


def _outside(arrival: Arrival, cases: Sequence[Case]) -> Path | None:
    """Return a scan that lies outside of a study's folder, as a table in it may name; None where there is none."""
    if arrival.files:
        return None
    root = absolute(arrival.path)
    references = [(path, parse_reference(path)) for case in cases for path in case.channels]
    scans = (absolute(path if series is None else series.container) for path, series in references)
    return next((path for path in scans if root not in (path, *path.parents)), None)


def _missing(arrival: Arrival, cases: Sequence[Case], gaps_allowed: bool) -> str | None:
    """Return a phrase on slices that the chosen series lack by their headers, or on damaged files beside them."""
    chosen = [path for case in cases for path in case.channels if parse_reference(path) is not None]
    if not chosen:
        return None
    listing = find_series(arrival.path)
    if listing.damaged:
        named = ", ".join(f"{gone.file} ({gone.reason})" for gone in listing.damaged[:_MAX_NAMED])
        return f"{counted(len(listing.damaged), 'file')} damaged or not there in full: {named}"
    if gaps_allowed:
        return None
    return next((why for path in chosen if (why := _missing_slices(series_at(path), listing))), None)


def _missing_slices(series: Series, listing: Listing) -> str | None:
    gap = next((problem for problem in series.problems if problem.kind in _GAPS), None)
    if gap is not None:
        return f"{series.title}: {gap.message}"
    present = sum(
        len(other_volume.slices) for other_volume in listing.series if other_volume.uid == series.uid
    )  # all volumes of the series
    for keyword in _EXPECTED_COUNTS:
        expected = str(series.attributes.get(keyword) or "")
        if expected.isdigit() and int(expected) > present:
            return f"{series.title}: {counted(present, 'image')} there; its headers count {expected} ({keyword})."
    return None


def _files(arrival: Arrival) -> Iterator[Path]:
    """Yield every file of a study, hidden ones too; links to folders are followed once."""
    if arrival.files:
        yield from dict.fromkeys(file for path in arrival.files for file in files_of(path))
        return
    seen: set[str] = set()
    for folder, folders, names in os.walk(arrival.path, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error
