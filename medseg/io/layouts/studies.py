"""Turn DICOM studies into cases: which folders and zips are studies, and which of their series are the channels.

A study is a folder or a zip with DICOM in it, however deep; the case is named after it, never after what its headers
say. Folders of images in other formats are known by the names of their files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.wording import counted
from medseg.io.dicom.elements.files import SUFFIXES, File, files_in, is_zip
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.paths import holds_dicom, is_dicom_file, parse_reference
from medseg.io.dicom.elements.uids import hide_uids
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.layouts.file_names.words import names_images

if TYPE_CHECKING:
    from medseg.io.dicom.elements.series import Listing

SERIES_REASON = "series"
"""The attribute of a case that says why its series were chosen."""

_MOST_FILES_TRIED = 1000
_MOST_STUDIES_READ = 3


@dataclass(frozen=True)
class SeriesRules:
    """The rules by which series of a study become channels.

    Attributes:
        rules: one per channel, in order, see `io.dicom.listing.rules`; empty where the user gives none.
        options: what may be done to irregular series.
    """

    rules: tuple[str, ...] = ()
    options: DicomOptions = field(default_factory=DicomOptions)


def studies_in(source: Path, chosen: bool = False) -> dict[str, Path]:
    """Return {name: study} of a folder or a file.

    A folder with DICOM files right in it is one study, unless each file is an image of its own: radiographs, or
    multi-frame volumes of several studies. Else the folders and zips inside are studies, those of several radiographs
    (views of a patient) one for each file: `p1/ap.dcm` is `p1_ap`. Folders inside that belong to one study are that
    study: scanners write a folder for each series. A file is a study if it is DICOM or a zip with DICOM in it.

    Args:
        source: the folder or file.
        chosen: whether a rule chooses among the images of a patient, so that a folder of them is one study.
    """
    if source.is_file():
        packed = is_zip(source) and holds_dicom(source, [*FORMATS])
        single = split_suffix(source)[1] not in FORMATS and is_dicom_file(source)
        return {_name(source): source} if packed or single else {}
    entries = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    if _lies_in([path for path in entries if path.is_file()]):
        return _single_images(source) or {source.resolve().name: source}
    inner = [path for path in entries if path.is_dir() or path.suffix.lower() == ".zip"]
    studies = _named([path for path in inner if holds_dicom(path, [*FORMATS])])
    uids = {_study_uid(path) for path in studies.values()} if len(studies) > 1 else set()
    if len(uids) == 1 and all(uids) and all(path.is_dir() for path in studies.values()):
        return (not chosen and _views(source)) or {source.resolve().name: source}
    return studies if chosen else _with_views(studies)


def patient_of(id: str, container: Path, source: Path) -> str:
    """Return the patient of a study: the folder that holds several views of a patient, else the study itself.

    Args:
        id: the name of the study.
        container: its folder, zip or file.
        source: the folder in which it was found.
    """
    path, folder = _absolute(container), _absolute(source)
    inside = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    return inside[0] if len(inside) > 1 else id


def is_study(path: Path) -> bool:
    """Return whether a path is a folder, zip or file of DICOM images, and no file of another format."""
    return split_suffix(path)[1] not in FORMATS and (
        is_dicom_file(path) if path.is_file() and not is_zip(path) else path.exists() and holds_dicom(path, [*FORMATS])
    )


def with_series(case: Case, channels: Sequence[str], series_rules: SeriesRules) -> Case:
    """Return a case with a series for each channel file that is a study; other files stay as they are.

    Args:
        case: its channels are files, folders or zips.
        channels: names of the channels, in order; empty where they have none.
        series_rules: how a series of each is chosen; a rule for each channel, or one for all.

    Raises:
        DataError: as `case_of_study`.
    """
    files: list[Path] = []
    reasons: list[str] = []
    for number, path in enumerate(case.channels):
        if not is_study(path):
            files.append(path)
            continue
        from medseg.io.dicom.listing.find import find_series  # loaded only for DICOM

        listing = find_series(path)
        _refuse_slice(path, listing)
        rules = series_rules.rules
        channel_rules = SeriesRules(rules[number : number + 1] if len(rules) > 1 else rules, series_rules.options)
        series, reason = channels_of(listing, [channels[number] if channels else ""], channel_rules)
        files += series
        reasons.append(reason)
    attributes = {**case.attributes, SERIES_REASON: "; ".join(reasons)} if reasons else case.attributes
    return replace(case, channels=tuple(files), attributes=attributes)


def chosen_series(case: Case) -> str:
    """Return why the series of a case were chosen from DICOM studies; empty where its scans are no series.

    A user's table may have a column of the same name.

    Args:
        case: the case.
    """
    of_dicom = case.channels and all(parse_reference(path) is not None for path in case.channels)
    return case.attributes.get(SERIES_REASON, "") if of_dicom else ""


def named_by_modality(channels: tuple[str, ...], cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the name of a sole channel that only says `image` as the modality that all series share.

    The name decides how values are normalized: those of CT as CT.

    Args:
        channels: the names, after patterns or the columns of a table.
        cases: with their series.
    """
    if len(channels) != 1 or not names_images(channels[0]) or not all(chosen_series(case) for case in cases):
        return channels
    from medseg.io.dicom.listing.locate import series_at  # loaded only for DICOM

    modalities = {series_at(path).modality for case in cases for path in case.channels}
    return (modalities.pop(),) if len(modalities) == 1 and "" not in modalities else channels


def holds_scans(folder: Path) -> bool:
    """Return whether there are studies with image series in a folder, and not only label objects."""
    from medseg.io.dicom.listing.find import find_series  # loaded only for DICOM

    return any(find_series(container).series for container in [*studies_in(folder).values()][:_MOST_STUDIES_READ])


def case_of_study(
    id: str, container: Path, channels: Sequence[str], series_rules: SeriesRules, patient: str | None = None
) -> Case:
    """Return a study as a case without label: a series for each channel, and the reason in `attributes["series"]`.

    Args:
        id: the id of the case.
        container: the folder, zip or file of the study.
        channels: names of the model's channels, in order.
        series_rules: how a series is chosen, and what may be done to it.
        patient: the patient; None if it is the study.

    Raises:
        DataError: none or several series fit a channel, the one that fits is not a volume, or `container` is one slice
            of a series.
    """
    from medseg.io.dicom.listing.find import find_series

    listing = find_series(container)
    _refuse_slice(container, listing)
    paths, reason = channels_of(listing, channels, series_rules)
    return Case(id, patient or id, paths, attributes={SERIES_REASON: reason})


def channels_of(
    listing: Listing, channels: Sequence[str], series_rules: SeriesRules, preferred: Sequence[str] = ()
) -> tuple[tuple[Path, ...], str]:
    """Choose the series of each channel.

    Args:
        listing: the series of the study.
        channels: names of the model's channels, in order.
        series_rules: how a series is chosen, and what may be done to it.
        preferred: UIDs of the series that the study's labels refer to.

    Returns:
        The series as paths, and the reason for the choice in a few words.

    Raises:
        DataError: as `choose_series`, or there are several channels and no rules, or one series is chosen for two of
            them.
    """
    from medseg.io.dicom.listing.channel import choose_series  # loaded only for DICOM

    rules = series_rules.rules
    if rules and len(rules) != len(channels):
        raise DataError(
            f"{counted(len(rules), 'rule')} for series given; the model takes {counted(len(channels), 'channel')} "
            f"({', '.join(channels)}).",
            f"Give each channel its rule: --series '{channels[0]}:SeriesDescription~{channels[0]}', repeated.",
        )
    if len(channels) > 1 and not rules:
        raise DataError(
            f"{listing.container} is a study; which of its series are the channels {', '.join(channels)} is not clear.",
            f"Give each channel a rule: --series '{channels[0]}:SeriesDescription~{channels[0]}', repeated; "
            f"`medseg series {listing.container}` lists the series.",
            "ambiguous",
        )
    chosen = [
        choose_series(listing, channel, rule, series_rules.options, preferred)
        for channel, rule in zip(channels, rules or [None], strict=True)
    ]
    if len({choice.series.key for choice in chosen}) < len(chosen):
        raise DataError(
            f"{listing.container}: one series ({chosen[0].series.title}) was chosen for several channels.",
            "Give rules that tell the channels apart.",
            "ambiguous",
        )
    single = len(channels) == 1
    reasons = [
        choice.reason if single else f"{channel}: {choice.reason}"
        for channel, choice in zip(channels, chosen, strict=True)
    ]
    return tuple(choice.series.path for choice in chosen), "; ".join(reasons)


def parse_rules(texts: Sequence[str], channels: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parse rules `CHANNEL:RULE`, or a single `RULE`.

    Args:
        texts: the texts that a user writes.
        channels: the model's channels, matched in upper or lower case; empty where the rules name the channels.

    Returns:
        The channels, and their rules in the same order.

    Raises:
        DataError: a channel has no rule, or two, or is not one of the model's.
    """
    if len(texts) == 1 and len(channels) <= 1 and not _prefix(texts[0], channels):
        return tuple(channels), (texts[0],)
    known = {channel.lower(): channel for channel in channels}
    rules: dict[str, str] = {}
    for text in texts:
        name = _prefix(text, channels)
        if name is None or (known and name.lower() not in known) or known.get(name.lower(), name) in rules:
            known_channels = f"; there are {', '.join(channels)}" if channels else ""
            raise DataError(
                f"--series {text!r} does not say which channel it is for{known_channels}, or is the second for it.",
                "Write the channel before the rule, each once: --series 'T1:SeriesDescription~t1' --series "
                "'FLAIR:SeriesDescription~flair'.",
            )
        rules[known.get(name.lower(), name)] = text[len(name) + 1 :].strip()
    missing = [channel for channel in channels if channel not in rules]
    if missing:
        raise DataError(f"There is no --series for the channel {missing[0]}.", "Each channel needs a rule of its own.")
    order = channels or [*rules]
    return tuple(order), tuple(rules[channel] for channel in order)


def _refuse_slice(file: Path, listing: Listing) -> None:
    """Refuse a single slice where others of its series lie beside it."""
    from medseg.io.dicom.listing.find import find_series

    if not file.is_file() or len(listing.series) != 1 or len(listing.series[0].slices) != 1:
        return
    uid = listing.series[0].uid
    beside = find_series(file.parent).series
    slice_series = next((series for series in beside if series.uid == uid and len(series.slices) > 1), None)
    if slice_series is not None:
        raise DataError(
            f"{file} is one of the {len(slice_series.slices)} slices of {slice_series.title}.",
            f"Give the folder: {file.parent}",
        )


def _prefix(text: str, channels: Sequence[str]) -> str | None:
    """Return the text before the first colon if it can be a channel's name; None if it is part of a rule."""
    name, colon, _ = text.partition(":")
    plain = name.lower() in {channel.lower() for channel in channels} or not set(name) & set("=~<>!,")
    return name if colon and name.strip() and plain else None


def _named(containers: Sequence[Path]) -> dict[str, Path]:
    """Return studies by name; where two have the same name (A/ and A.zip), the zip keeps its suffix."""
    names = Counter(_name(path) for path in containers)
    return {path.name if names[_name(path)] > 1 and path.is_file() else _name(path): path for path in containers}


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else (path.stem or path.name)


def _single_images(folder: Path) -> dict[str, Path]:
    """Return {name: file} of a folder right in which several files are images of their own; empty if it holds others.

    Such are radiographs, and multi-frame volumes of which each is of another study.
    """
    files, are_radiographs, studies = _files_of_images(folder)
    if not all(file.parent.samefile(folder) for file in files) or not (are_radiographs or len(files) == studies):
        return {}
    return _named(files)


def _views(folder: Path) -> dict[str, Path]:
    """Return {view: file} of a folder of several radiographs, in any depth; empty if it holds others.

    A view is named after its path in the folder; by its number where that names the patient by UIDs, or is not unique.
    """
    if not _begins_with_radiograph(folder):
        return {}
    files, are_radiographs, _ = _files_of_images(folder)
    if not are_radiographs:
        return {}
    parts = [file.relative_to(_absolute(folder)).with_suffix("").parts for file in files]
    shared = {name for names in parts for name in names if all(name in others for others in parts)}
    names = ["_".join(name for name in path if name not in shared) for path in parts]
    if len({*names}) < len(names) or any(not name or hide_uids(name) != name for name in names):
        names = [str(number) for number in range(1, len(files) + 1)]
    return dict(zip(names, files, strict=True))


def _absolute(path: Path) -> Path:
    """Return a path as listings name it: absolute, links kept."""
    return Path(os.path.abspath(path))


def _begins_with_radiograph(folder: Path) -> bool:
    """Return whether the first image of a folder is a radiograph: volumes are not read whole to know that they are."""
    from medseg.io.dicom.listing.headers import read_header  # loaded only for DICOM

    for file in islice(files_in(folder), _MOST_FILES_TRIED):
        if file.path.name.lower().endswith(tuple(FORMATS)):
            continue
        if slices := read_header(file).slices:
            return slices[0].position is None and not slices[0].is_section
    return False


def _with_views(studies: dict[str, Path]) -> dict[str, Path]:
    """Return studies in which a folder of several radiographs is replaced by its views, if that leaves names unique."""
    result: dict[str, Path] = {}
    for name, path in studies.items():
        views = _views(path) if path.is_dir() else {}
        result |= {f"{name}_{view}": file for view, file in views.items()} or {name: path}
    return result if len(result) >= len(studies) else studies


def _files_of_images(folder: Path) -> tuple[list[Path], bool, int]:
    """Return the files of a folder whose images are one each, whether these are radiographs, and how many studies.

    There are none unless the folder holds at least two, and no series of several files.
    """
    from medseg.io.dicom.listing.channel import is_copy_of_radiograph, is_radiograph  # loaded only for DICOM
    from medseg.io.dicom.listing.find import find_series

    try:
        all_series = find_series(folder).series
    except MedsegError:  # said when the study is read
        return [], False, 0
    series = [image_series for image_series in all_series if not is_copy_of_radiograph(image_series)] or all_series
    files = sorted({slice_.file.path for image_series in series for slice_ in image_series.slices})
    if len(files) < 2 or len(files) != len(series):
        return [], False, 0
    return files, all(map(is_radiograph, series)), len({image_series.study_uid for image_series in series})


def _lies_in(files: Sequence[Path]) -> bool:
    """Return whether there are DICOM files among files; likely names are tried first."""
    likely = [path for path in files if split_suffix(path)[1] not in FORMATS and path.suffix.lower() != ".zip"]
    likely.sort(key=lambda path: path.suffix.lower() not in SUFFIXES)
    return any(path.name.upper() == "DICOMDIR" or is_dicom_file(path) for path in likely[:_MOST_FILES_TRIED])


def _study_uid(container: Path) -> str:
    """Return the StudyInstanceUID of the first DICOM file, which identifies the patient: for comparison only."""
    for file in files_in(container):
        name = (file.member or file.path.name).lower()
        if name.endswith(tuple(FORMATS)) or file.path.name.upper() == "DICOMDIR":
            continue
        uid = _study_uid_of(file)
        if uid:
            return uid
    return ""


def _study_uid_of(file: File) -> str:
    """Return the StudyInstanceUID of a file; empty if it has none, or is not DICOM."""
    from medseg.io.dicom.elements.dataset import read_dataset

    try:
        return str(read_dataset(file, tags=("StudyInstanceUID",)).get("StudyInstanceUID", ""))
    except DataError:
        return ""
