"""Find every series in a folder, a zip or a file, from the headers of its files.

The way: read all headers, group the slices by study and series, drop copies of files, split each group into its volumes
(`split_volumes`), lay their slices out (`geometry.stacking`), and note what keeps a volume from being whole.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.core.errors import MedsegError
from medseg.core.machine.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.io.dicom.elements.dataset import require_pydicom
from medseg.io.dicom.elements.files import File, files_in
from medseg.io.dicom.elements.series import LeftOut, Listing, Problem, Series, Slice
from medseg.io.dicom.elements.transfer_syntax import missing_decoder
from medseg.io.dicom.elements.uids import hide_uids
from medseg.io.dicom.geometry.stacking import stack_geometry
from medseg.io.dicom.listing.colour import without_colour
from medseg.io.dicom.listing.headers import Header, SeriesHeader, read_header
from medseg.io.dicom.listing.split_volumes import alternating_attribute, doubtful_attributes, split_volumes

_MAX_CACHED = 16
_MAX_FILES_NAMED = 4
_TABLE = "ModalityLUTSequence"
_NO_SPACING = "the size of a pixel in the patient is not known (no PixelSpacing): sizes are in pixels"
_AT_DETECTOR = (
    "no PixelSpacing: the size of a pixel is that at the detector (ImagerPixelSpacing); in the patient it is smaller, "
    "by the magnification"
)
_THREE_CHANNELS = "stored in colour with three equal channels: read as one, in grey"
_cache: OrderedDict[tuple[Path, str], Listing] = OrderedDict()
_lock = threading.Lock()


def find_series(source: Path, callback: Callback = silent) -> Listing:
    """List the series in a folder (nested, mixed with other files), a zip, a DICOMDIR, or a single file.

    Only headers are read, in threads. A listing is cached until a file is added, removed or changed.

    Args:
        source: where to look.
        callback: progress in the stage `headers`; may raise `Cancelled`.

    Returns:
        The series, objects that are not images, and files that belong to no series.

    Raises:
        DataError: there is nothing at `source`, a zip is damaged or not safe to read, or pydicom is not installed.
    """
    require_pydicom()
    container = Path(os.path.abspath(source))
    files = list(files_in(container))
    key = (container, _signature(files))
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    headers = []
    for file, header in track(map_cases(read_header, files), "headers", len(files), callback):
        if isinstance(header, MedsegError):
            header = Header(left_out=LeftOut(file.name, header.message))
        headers.append(header)
    listing = _listing(container, headers)
    with _lock:
        _cache[key] = listing
        while len(_cache) > _MAX_CACHED:
            _cache.popitem(last=False)
    return listing


def _signature(files: Sequence[File]) -> str:
    """Return a hash that changes whenever a file is added, removed, renamed or written."""
    digest = hashlib.sha256()
    statuses: dict[Path, os.stat_result] = {}
    for file in files:
        if file.path not in statuses:
            exists = file.path.exists()  # a link counts as the file that it leads to, if there is one
            statuses[file.path] = os.stat(file.path) if exists else os.lstat(file.path)
        status = statuses[file.path]
        digest.update(f"{file.path}\0{file.member}\0{status.st_mtime_ns}\0{status.st_size}\n".encode(errors="replace"))
    return digest.hexdigest()


def _listing(container: Path, headers: Sequence[Header]) -> Listing:
    left_out = [header.left_out for header in headers if header.left_out is not None]
    by_series: dict[tuple[str, str], list[tuple[SeriesHeader, Sequence[Slice]]]] = defaultdict(list)
    for header in headers:
        if header.series is not None and header.slices:
            by_series[header.series.study_uid, header.series.uid].append((header.series, header.slices))
    all_series: list[Series] = []
    for members in by_series.values():
        shared = [series for series, _ in members]
        slices, in_colour = without_colour([slice_ for _, slices in members for slice_ in slices])
        slices, copies = _without_copies(slices)
        left_out += [*in_colour, *copies]
        if not slices:
            continue
        problems = _mixed_headers(shared)
        for name, part in split_volumes(slices):
            all_series.append(_series(container, shared[0], name, part, problems))
    by_uid, by_folder = _damaged_names(left_out, {uid for _, uid in by_series})
    for number, series in enumerate(all_series):
        if (gap := _damaged_files(series, by_uid, by_folder)) is not None:
            all_series[number] = replace(series, problems=(*series.problems, gap))
    objects = tuple(header.object for header in headers if header.object is not None)
    return Listing(container, tuple(_with_unique_keys(sorted(all_series, key=_order))), objects, tuple(left_out))


def _series(
    container: Path, header: SeriesHeader, volume_name: str, slices: Sequence[Slice], problems: Sequence[Problem]
) -> Series:
    """Return slices in any order as a series: sorted, and checked for what keeps them from being a volume."""
    slices = _with_short_names(slices)
    geometry = stack_geometry(slices)
    ordered = tuple(slices[number] for number in geometry.order)
    problems = (*problems, *_of_one_acquisition(ordered, geometry.problems), *_pixel_problems(ordered))
    readable = all(problem.option for problem in problems)
    return Series(
        container=container,
        uid=header.uid,
        study_uid=header.study_uid,
        number=header.number,
        description=header.description,
        modality=header.modality,
        volume_name=volume_name,
        slices=ordered,
        shape_zyx=(len(ordered), ordered[0].rows, ordered[0].columns),
        spacing_mm=geometry.spacing_zyx_mm,
        plane=geometry.plane,
        problems=problems,
        notes=_notes(ordered, geometry.spacing_known, doubtful_attributes(ordered) if readable else []),
    )


def _of_one_acquisition(slices: Sequence[Slice], problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems of a geometry, without the offer to interpolate between slices of several acquisitions."""
    if not any(problem.option == "allow_gaps" for problem in problems):
        return list(problems)
    attribute = alternating_attribute(slices)
    if attribute is None:
        return list(problems)
    mixed = f"they are of several acquisitions ({attribute}), in turns: interpolation would mix them"
    return [
        Problem("mixed acquisitions", f"{problem.message}; {mixed}") if problem.option == "allow_gaps" else problem
        for problem in problems
    ]


def _notes(slices: Sequence[Slice], spacing_known: bool, doubtful: Sequence[str]) -> tuple[str, ...]:
    """Return remarks on a series' pixels, their size and their channels, and on slices that may not belong together."""
    notes = (_AT_DETECTOR,) if slices[0].at_detector else ()
    notes = notes if spacing_known else (_NO_SPACING,)
    if doubtful:
        notes = (*notes, _differing(slices, doubtful))
    return (*notes, _THREE_CHANNELS) if slices[0].has_channels else notes


def _differing(slices: Sequence[Slice], attributes: Sequence[str]) -> str:
    """Return a note on the slices that differ from most in attributes of their acquisition."""
    described = [tuple(slice_.acquisition.get(name) for name in attributes) for slice_ in slices]
    ((usual, _),) = Counter(described).most_common(1)
    odd = [slice_.name for slice_, values in zip(slices, described, strict=True) if values != usual]
    more = len(odd) - _MAX_FILES_NAMED
    named = ", ".join(odd[:_MAX_FILES_NAMED]) + f" and {more} more" * (more > 0)
    return (
        f"{len(odd)} of its {len(slices)} slices differ from the others in {', '.join(attributes)} ({named}): they are "
        "read as one volume, but may be of another acquisition; look at them"
    )


def _with_short_names(slices: Sequence[Slice]) -> list[Slice]:
    """Name slices in messages by the last part of their file's name, if no two files share it."""
    files_by_name: dict[str, set[File]] = defaultdict(set)
    for slice_ in slices:
        files_by_name[PurePosixPath(slice_.file.name).name].add(slice_.file)
    if any(len(files) > 1 for files in files_by_name.values()):
        return list(slices)
    return [replace(slice_, label=PurePosixPath(slice_.file.name).name) for slice_ in slices]


def _order(series: Series) -> tuple[Any, ...]:
    """Return a sort key: by series number; the volumes of a series by the numbers in their names."""
    parts = [int(part) if part.isdigit() else part for part in series.volume_name.replace("=", " ").split()]
    return (
        series.number is None,
        series.number or 0,
        series.uid,
        series.study_uid,
        len(parts),
        [str(type(part)) for part in parts],  # numbers and words cannot be compared with each other
        parts,
    )


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[LeftOut]]:
    """Drop slices whose file equals, byte for byte, another file of the same instance; return also what was dropped."""
    by_instance: dict[tuple[str, int | None], list[Slice]] = defaultdict(list)
    for slice_ in slices:
        by_instance[slice_.sop_instance_uid, slice_.frame].append(slice_)
    unique: list[Slice] = []
    copies: dict[File, LeftOut] = {}
    hashes: dict[File, str] = {}
    for (uid, _), same_instance in by_instance.items():
        seen: set[str] = set()
        for slice_ in same_instance:
            if len(same_instance) > 1 and uid:
                if slice_.file not in hashes:
                    hashes[slice_.file] = _content_hash(slice_.file)
                if hashes[slice_.file] in seen:
                    copies[slice_.file] = LeftOut(slice_.file.name, "copy of another file")
                    continue
                seen.add(hashes[slice_.file])
            unique.append(slice_)
    return unique, list(copies.values())


def _content_hash(file: File) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _mixed_headers(headers: Sequence[SeriesHeader]) -> list[Problem]:
    """Return the problems of files that share a SeriesInstanceUID and differ in patient or modality.

    A series has one of each (PS3.3 C.7.3.1); no scanner writes otherwise, but careless de-identification does.
    """
    patients = {header.patient for header in headers} - {""}
    modalities = {header.modality.upper() for header in headers} - {""}
    problems = []
    if len(patients) > 1:
        problems.append(Problem("mixed patients", f"its files are of {len(patients)} patients (PatientID)"))
    if len(modalities) > 1:
        problems.append(Problem("mixed modalities", f"its files are of {' and '.join(sorted(modalities))}"))
    return problems


def _pixel_problems(slices: Sequence[Slice]) -> list[Problem]:
    """Return the reasons why the pixels of slices cannot be read: a mosaic, a missing decoder."""
    problems = []
    if any("MOSAIC" in str(slice_.acquisition.get("image type", "")).upper() for slice_ in slices):
        what = "each file is a mosaic of many slices, of which only the scanner's private elements say where they lie"
        problems.append(Problem("mosaic", f"{what}; convert it with dcm2niix"))
    problems += _mixed_values(slices)
    for uid in sorted({slice_.transfer_syntax for slice_ in slices}):
        missing = missing_decoder(uid)
        if missing is not None:
            problems.append(Problem("no decoder", missing))
    return problems


def _mixed_values(slices: Sequence[Slice]) -> list[Problem]:
    """Return the problems of slices whose values do not mean the same: no number of one can stand beside the others."""
    problems = []
    units = {slice_.unit for slice_ in slices} - {""}
    if len(units) > 1:
        problems.append(Problem("mixed units", f"its slices are in different units ({' and '.join(sorted(units))})"))
    photometric = {slice_.photometric for slice_ in slices} - {""}
    if len(photometric) > 1:
        named = " and ".join(sorted(photometric))
        problems.append(Problem("mixed photometric interpretations", f"its slices are stored as {named}"))
    return problems + _mixed_rescale(slices)


def _mixed_rescale(slices: Sequence[Slice]) -> list[Problem]:
    """Return the problem of slices that lack a RescaleSlope or RescaleIntercept by which others change their values.

    A slope of 1 and an intercept of 0 change none: where slopes differ from slice to slice, one of them may be 1.
    """
    by_table = any(_TABLE in slice_.rescale_elements for slice_ in slices)
    for number, (keyword, neutral) in enumerate((("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))):
        without = [slice_ for slice_ in slices if not slice_.rescale_elements & {keyword, _TABLE}]
        matters = by_table or any(slice_.rescale[number] != neutral for slice_ in slices)
        if matters and 0 < len(without) < len(slices):
            names = ", ".join(slice_.name for slice_ in without[:_MAX_FILES_NAMED])
            more = len(without) - _MAX_FILES_NAMED
            what = f"{names}{f' and {more} more' * (more > 0)}: no {keyword}, unlike the others"
            return [Problem("mixed rescale", what)]
    return []


def _damaged_names(
    left_out: Iterable[LeftOut], known: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the names of damaged files by the series that they name, and those of all others by their folder.

    Args:
        left_out: the left out of the whole container.
        known: SeriesInstanceUIDs in the container; a damaged file may hold a part of one.
    """
    by_uid: dict[str, list[str]] = defaultdict(list)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for gone in left_out:
        if gone.is_damaged and gone.series_uid in known:
            by_uid[gone.series_uid].append(gone.file)
        elif gone.is_damaged:
            by_folder[PurePosixPath(gone.file).parent.as_posix()].append(gone.file)
    return by_uid, by_folder


def _damaged_files(
    series: Series, by_uid: Mapping[str, Sequence[str]], by_folder: Mapping[str, Sequence[str]]
) -> Problem | None:
    """Return the problem that a series may lack slices, because damaged files may belong to it.

    At either end of a stack nothing else tells that a slice is missing. A damaged file belongs to the series that it
    names, else to every series with files in its folder.

    Args:
        series: the series.
        by_uid: {SeriesInstanceUID: damaged files that name it}.
        by_folder: {folder: damaged files that name no series of the container}.
    """
    folders = sorted({slice_.file.folder for slice_ in series.slices})
    parts = [by_uid.get(series.uid, ()), *(by_folder.get(folder, ()) for folder in folders)]
    count = sum(map(len, parts))
    # of thousands of damaged files beside thousands of series only those that are shown are looked at
    names = [hide_uids(name) for name in islice(chain.from_iterable(parts), _MAX_FILES_NAMED)]
    if not names:
        return None
    more = count - len(names)
    named = ", ".join(names) + f" and {more} more" * (more > 0)
    what = "is damaged, and may be a slice of it" if count == 1 else "are damaged, and may be slices of it"
    return Problem("damaged files", f"{named} {what}: copy them again, or remove files that are not DICOM")


def _with_unique_keys(all_series: Sequence[Series]) -> list[Series]:
    """Return the series, those with equal keys numbered: studies may share a SeriesInstanceUID, volumes a name."""
    counts, seen = Counter(series.key for series in all_series), Counter[str]()
    result = []
    for series in all_series:
        seen[series.key] += 1
        numbered = f"{series.volume_name} no. {seen[series.key]}".strip()
        result.append(replace(series, volume_name=numbered) if counts[series.key] > 1 else series)
    return result
