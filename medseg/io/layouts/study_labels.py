"""DICOM studies as a data set: an image series and, beside it or in a folder of labels, the label of each study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.io.dicom.elements.dataset import need_pydicom
from medseg.io.dicom.elements.paths import SUFFIXES, path_of
from medseg.io.dicom.labels.frames_of_reference import check_frame_of_reference
from medseg.io.dicom.labels.label_objects import LABEL_CLASSES, is_label_object, names_in
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.series import DicomObject, Listing
from medseg.io.dicom.pixels.stacks import series_at
from medseg.io.formats.table import is_dicom, is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, sentences
from medseg.io.layouts.names import images_by_stem
from medseg.io.layouts.pairs import images_folder, labels_folder
from medseg.io.layouts.studies import WHY, SeriesRules, channels_of, parse_rules, studies_in

_SOLE_CHANNEL = "image"
_MOST_SHOWN = 6
_KINDS = (".seg", ".rtstruct")


@dataclass(frozen=True)
class _Label:
    """A label file, and the UIDs of the series that it refers to, if it says."""

    path: Path
    refers_to: tuple[str, ...] = ()


def read_studies(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder of studies; None where there is no DICOM, or none of the studies has a label.

    The studies lie in the folder, or in its `images/` beside `labels/`. A label is an RTSTRUCT or DICOM SEG of the
    study, the only image of another format in its folder, or a file called after the study (`labels/CASE.nii.gz`).

    Raises:
        DataError: it is open which folders or labels are meant, or which series are which channel.
    """
    inner = images_folder(folder, naming.images[0] if naming.images else None)
    beside = labels_folder(folder, inner, naming.labels) if inner is not None else None
    studies = studies_in(inner) if inner is not None and beside is not None else studies_in(folder)
    if not studies:
        return None
    need_pydicom()
    aside = label_files(beside) if beside is not None else {}
    names, rules = parse_rules(naming.series) if naming.series else ((), ())
    how = SeriesRules(rules, naming.dicom)
    cases: list[Case] = []
    problems: dict[str, str] = {}
    modalities: Counter[str] = Counter()
    for id, container in studies.items():
        try:
            listing = find_series(container)
            label = _label_of(id, listing, aside, naming.labels if beside is None else None)
            paths, why = channels_of(listing, names or (_SOLE_CHANNEL,), how, label.refers_to)
            if is_dicom(label.path):
                check_frame_of_reference(label.path, series_at(paths[0]))
        except MedsegError as error:
            problems[id] = str(error).rstrip(".")
            continue
        cases.append(Case(id, id, paths, label.path, attributes={WHY: why}))
        modalities[_modality(listing, paths[0])] += 1
    if not cases and all("no label" in why for why in problems.values()):
        return None
    channels = names or _channel(modalities)
    return DataSet(folder, "dicom", channels, None, cases, sentences(problems), series_rules=rules)


def _label_of(id: str, listing: Listing, aside: Mapping[str, list[Path]], wanted: str | None) -> _Label:
    """The label of a study.

    Raises:
        DataError: there is none, or there are several.
    """
    if aside:
        found = [_of_file(path) for path in aside.get(id, [])]
        shown = [label.path.name for label in found]
    else:
        objects = [one for one in listing.objects if one.sop_class in LABEL_CLASSES and _is_wanted(one, wanted)]
        found = [_Label(path_of(one.file), one.referenced_series) for one in objects]
        shown = [_described(one) for one in objects]
        if not found:
            found = [_Label(path) for path in _files_in(listing.container) if wanted in (None, split_suffix(path)[0])]
            shown = [label.path.name for label in found]
    if not found:
        raise DataError("there is no label: neither an RTSTRUCT nor a DICOM SEG, nor a file of the study's name")
    if len(found) > 1:
        some = "; ".join(shown[:_MOST_SHOWN]) + "; ..." * (len(shown) > _MOST_SHOWN)
        raise DataError(
            f"it has {len(found)} labels: {some}.",
            "--labels RTSTRUCT, --labels SEG, or a part of the description or file name, chooses one of them.",
        )
    return found[0]


def label_files(folder: Path) -> dict[str, list[Path]]:
    """The label files of a folder by case: images of any format, RTSTRUCT and SEG."""
    found = {stem: [path] for stem, path in images_by_stem(folder)[0].items()}
    for case, objects in label_objects(folder).items():
        found[case] = [*found.get(case, []), *objects]
    return found


def label_objects(folder: Path) -> dict[str, list[Path]]:
    """RTSTRUCT and SEG files by case: `CASE.dcm`, `CASE.seg.dcm` or `CASE.rtstruct.dcm`, or in a folder CASE."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        inside = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
        for file in inside:
            if file.is_file() and not file.name.startswith(".") and not is_image(file) and is_label_object(file):
                found.setdefault(path.name if path.is_dir() else _case_of(file), []).append(file)
    return found


def _case_of(file: Path) -> str:
    stem = file.stem if file.suffix.lower() in SUFFIXES else file.name
    kind = Path(stem).suffix.lower()
    return stem[: -len(kind)] if kind in _KINDS else stem


def _of_file(path: Path) -> _Label:
    if not is_dicom(path):
        return _Label(path)
    listing = find_series(path)
    return _Label(path, tuple(uid for one in listing.objects for uid in one.referenced_series))


def _files_in(container: Path) -> list[Path]:
    """The only image of another format right in a study's folder: its label map. Of several, one is the scan."""
    if not container.is_dir():
        return []
    images = [path for path in container.iterdir() if path.is_file() and is_image(path)]
    return images if len(images) == 1 else []


def _is_wanted(one: DicomObject, wanted: str | None) -> bool:
    if wanted is None:
        return True
    pattern = f"*{wanted.lower()}*"
    return wanted.upper() == one.modality.upper() or any(
        fnmatchcase(text.lower(), pattern) for text in (one.description, one.file.name)
    )


def _described(one: DicomObject) -> str:
    try:
        names = names_in(one.file)
    except DataError:
        names = []
    shown = ", ".join(names[:_MOST_SHOWN]) + ", ..." * (len(names) > _MOST_SHOWN)
    about = f' "{one.description}"' if one.description else ""
    return f"{one.file.name} ({one.modality}{about}: {shown or 'no structures'})"


def _modality(listing: Listing, path: Path) -> str:
    key = path.name.rpartition("#")[2]
    return next(series.modality for series in listing.series if series.key == key)


def _channel(modalities: Counter[str]) -> tuple[str, ...]:
    """The modality, if all studies agree on it: normalization goes by it."""
    name = next(iter(modalities), "")
    return (name,) if len(modalities) == 1 and name else (_SOLE_CHANNEL,)
