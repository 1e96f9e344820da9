"""Read DICOM studies as a data set: of each study a series and its label, beside it or in a folder of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.io.dicom.elements.files import SUFFIXES
from medseg.io.dicom.elements.paths import is_dicom_file
from medseg.io.formats.table import is_dicom, is_image, split_suffix
from medseg.io.layouts.dataset import DataSet, Naming, Why, sentences
from medseg.io.layouts.file_names.names import images_by_stem
from medseg.io.layouts.file_names.words import LABEL_WORDS, SEPARATORS
from medseg.io.layouts.pairs import labels_folder, named_images_folder
from medseg.io.layouts.studies import SERIES_REASON, SeriesRules, channels_of, parse_rules, patient_of, studies_in

if TYPE_CHECKING:
    from medseg.io.dicom.elements.series import DicomObject, Listing

_SOLE_CHANNEL = "image"
_MOST_SHOWN = 6
_KINDS = (".seg", ".rtstruct")


@dataclass(frozen=True)
class _Label:
    """The label of a study.

    Attributes:
        path: the label file.
        refers_to: UIDs of the series that it refers to; empty where the file does not say.
    """

    path: Path
    refers_to: tuple[str, ...] = ()


def read_studies(folder: Path, naming: Naming) -> DataSet | None:
    """Read a folder of studies; None where there is no DICOM, or none of the studies has a label.

    The studies lie in the folder, or in its `images/` beside `labels/`. A label is an RTSTRUCT or DICOM SEG of the
    study, the only image of another format in its folder, or a file named after the study (`labels/CASE.nii.gz`).

    Args:
        folder: the data set.
        naming: what the user says about which folders, labels and series are meant.

    Returns:
        The data set.

    Raises:
        DataError: several folders may be meant, or the rules for series are not valid.
    """
    inner = named_images_folder(folder, naming)
    label_folder = labels_folder(folder, inner, naming.labels) if inner is not None else None
    root = inner if inner is not None and label_folder is not None else folder
    studies = studies_in(root, chosen=bool(naming.series))
    if not studies:
        return None
    from medseg.io.dicom.elements.dataset import require_pydicom  # loaded only for DICOM
    from medseg.io.dicom.labels.frames_of_reference import check_frame_of_reference
    from medseg.io.dicom.listing.find import find_series
    from medseg.io.dicom.listing.locate import series_at

    require_pydicom()
    separate_labels = _labels_by_case(label_folder, studies) if label_folder is not None else {}
    names, rules = parse_rules(naming.series) if naming.series else ((), ())
    series_rules = SeriesRules(rules, naming.dicom)
    cases: list[Case] = []
    problems: dict[str, str] = {}
    modalities: Counter[str] = Counter()
    patient_ids: dict[str, str] = {}
    for id, container in studies.items():
        try:
            listing = find_series(container)
            label = _label_of(id, listing, separate_labels, naming.labels if label_folder is None else None)
            paths, reason = channels_of(listing, names or (_SOLE_CHANNEL,), series_rules, label.refers_to)
            if is_dicom(label.path):
                check_frame_of_reference(label.path, series_at(paths[0]))
            patient_ids[id] = str(series_at(paths[0]).attributes.get("PatientID") or "")
        except MedsegError as error:
            problems[id] = Why.of(error)
            continue
        cases.append(Case(id, patient_of(id, container, root), paths, label.path, attributes={SERIES_REASON: reason}))
        modalities[_modality(listing, paths[0])] += 1
    if not cases and all("no label" in why for why in problems.values()):
        return None
    channels = names or _channel(modalities)
    cases, notes = by_patient_id(cases, patient_ids)
    return DataSet(folder, "dicom", channels, None, cases, [*sentences(problems), *notes], series_rules=rules)


def by_patient_id(cases: list[Case], patient_ids: Mapping[str, str]) -> tuple[list[Case], list[str]]:
    """Give the cases of one PatientID the same patient, and return a note where that changes something.

    The patient is named after the first of the cases: an identifier is only compared, and written nowhere.

    Args:
        cases: cases of DICOM studies.
        patient_ids: {case: PatientID}, empty where the study has none.

    >>> cases = [Case("a", "a", ()), Case("b", "b", ()), Case("c", "c", ())]
    >>> [case.patient for case in by_patient_id(cases, {"a": "7", "b": "7", "c": "8"})[0]]
    ['a', 'a', 'c']
    """
    known = {case.id: patient_ids[case.id].strip() for case in cases}
    groups: dict[str, list[str]] = {}
    for case in cases:
        if known[case.id]:
            groups.setdefault(known[case.id], []).append(case.patient)
    first = _first_of_each(groups.values())
    if all(first[patient] == patient for patient in first):
        return cases, []
    if len({*known.values()}) == 1:
        note = f"{len(cases)} studies have one PatientID, as anonymized ones do: each folder counts as a patient"
        return cases, [f"{note}; --patient-pattern or a column patient says which belong together"]
    cases = [replace(case, patient=first.get(case.patient, case.patient)) for case in cases]
    patients = len({case.patient for case in cases})
    return cases, [f"the {len(cases)} studies are of {patients} patients, by PatientID: one patient is in one fold"]


def _first_of_each(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return {name: the first of all names that groups bring together with it}.

    >>> _first_of_each([["b", "c"], ["a"], ["c", "d"]])
    {'b': 'b', 'c': 'b', 'a': 'a', 'd': 'b'}
    """
    first: dict[str, str] = {}
    for group in groups:
        together = [first.get(name, name) for name in group]
        first |= dict.fromkeys(group, together[0])
        first = {name: together[0] if of_name in together else of_name for name, of_name in first.items()}
    return first


def _label_of(id: str, listing: Listing, separate: Mapping[str, list[Path]], choice: str | None) -> _Label:
    """Return the label of a study.

    Args:
        id: the case.
        listing: the series and label objects of the study.
        separate: {case: label files} of a folder of labels; empty where labels lie in the studies.
        choice: the part of a description or file name that chooses one of several labels.

    Raises:
        DataError: there is none, or there are several.
    """
    from medseg.io.dicom.elements.kinds import LABEL_CLASSES

    if separate:
        labels = [_of_file(path) for path in separate.get(id, [])]
        shown = [label.path.name for label in labels]
    else:
        objects = [item for item in listing.objects if item.sop_class_uid in LABEL_CLASSES and _is_wanted(item, choice)]
        labels = [_Label(item.file.full_path, item.referenced_series) for item in objects]
        shown = [_described(item) for item in objects]
        if not labels:
            labels = [
                _Label(path) for path in _label_files_in(listing.container) if choice in (None, split_suffix(path)[0])
            ]
            shown = [label.path.name for label in labels]
    if not labels:
        raise DataError(
            "there is no label: neither an RTSTRUCT nor a DICOM SEG, nor a file of the study's name",
            kind="missing label",
        )
    if len(labels) > 1:
        some = "; ".join(shown[:_MOST_SHOWN]) + "; ..." * (len(shown) > _MOST_SHOWN)
        raise DataError(
            f"it has {len(labels)} labels: {some}.",
            "--labels RTSTRUCT, --labels SEG, or a part of the description or file name, chooses one of them.",
        )
    return labels[0]


def _labels_by_case(folder: Path, cases: Collection[str]) -> dict[str, list[Path]]:
    """Return the label files of a folder by case, also those of views in folders, and with a word for labels.

    Args:
        folder: `p1.png`, `p1_mask.png`, and `p1/ap.png` of the case p1_ap.
        cases: the ids of the cases.
    """
    labels = label_files(folder)
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, files in label_files(inner).items():
            labels.setdefault(f"{inner.name}_{name}", []).extend(files)
    for name, files in [*labels.items()]:
        if name not in cases and (case := _without_label_word(name)) in cases:
            labels.setdefault(case, []).extend(files)
    return labels


def _without_label_word(name: str) -> str:
    """Return a name without the word for labels at its end.

    >>> _without_label_word("x0_mask"), _without_label_word("mask"), _without_label_word("x0")
    ('x0', 'mask', 'x0')
    """
    start = name.rstrip("".join(sign for sign in name if sign.isalpha()))
    word = name[len(start) :]
    return start.rstrip(SEPARATORS) or name if word.lower() in LABEL_WORDS and start[-1:] in SEPARATORS else name


def label_files(folder: Path) -> dict[str, list[Path]]:
    """Return the label files of a folder by case: images of any format, RTSTRUCT and SEG."""
    labels = {stem: [path] for stem, path in images_by_stem(folder)[0].items()}
    for case, objects in label_objects(folder).items():
        labels[case] = [*labels.get(case, []), *objects]
    return labels


def label_objects(folder: Path) -> dict[str, list[Path]]:
    """Return RTSTRUCT and SEG files by case: `CASE.dcm`, `CASE.seg.dcm`, `CASE.rtstruct.dcm`, or in a folder CASE."""
    objects: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        inside = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
        for file in inside:
            if file.is_file() and not file.name.startswith(".") and not is_image(file) and _is_label_object(file):
                objects.setdefault(path.name if path.is_dir() else _case_of(file), []).append(file)
    return objects


def _is_label_object(file: Path) -> bool:
    if not is_dicom_file(file):
        return False
    from medseg.io.dicom.labels.label_objects import is_label_object  # loaded only for DICOM

    return is_label_object(file)


def _case_of(file: Path) -> str:
    """Return the case of a label object: its name without `.dcm`, `.seg` and `.rtstruct`."""
    stem = file.stem if file.suffix.lower() in SUFFIXES else file.name
    kind = Path(stem).suffix.lower()
    return stem[: -len(kind)] if kind in _KINDS else stem


def _name_of(container: Path) -> str:
    return container.stem if container.suffix.lower() in (*SUFFIXES, ".zip") else container.name


def _of_file(path: Path) -> _Label:
    if not is_dicom(path):
        return _Label(path)
    from medseg.io.dicom.listing.find import find_series

    listing = find_series(path)
    return _Label(path, tuple(uid for item in listing.objects for uid in item.referenced_series))


def _label_files_in(container: Path) -> list[Path]:
    """Return [the only image of another format in a study's folder], its label map; [] if there are several or none.

    Of a study that is a file, the files beside it that have its name, or its name and a word for labels.
    """
    if not container.is_dir():
        name = _name_of(container)
        return [
            path
            for stem, paths in label_files(container.parent).items()
            if name in (stem, _without_label_word(stem))
            for path in paths
        ]
    images = [path for path in container.iterdir() if path.is_file() and is_image(path)]
    return images if len(images) == 1 else []


def _is_wanted(item: DicomObject, choice: str | None) -> bool:
    """Return whether a label object has the wanted modality, or the wanted text in its description or file name."""
    if choice is None:
        return True
    pattern = f"*{choice.lower()}*"
    return choice.upper() == item.modality.upper() or any(
        fnmatchcase(text.lower(), pattern) for text in (item.description, item.file.name)
    )


def _described(item: DicomObject) -> str:
    """Return a label object's file, modality, description and structures, for messages."""
    from medseg.io.dicom.labels.label_objects import structure_names

    try:
        names = structure_names(item.file)
    except DataError:
        names = []
    shown = ", ".join(names[:_MOST_SHOWN]) + ", ..." * (len(names) > _MOST_SHOWN)
    description = f' "{item.description}"' if item.description else ""
    return f"{item.file.name} ({item.modality}{description}: {shown or 'no structures'})"


def _modality(listing: Listing, path: Path) -> str:
    """Return the modality of the series that a path FOLDER#KEY names."""
    key = path.name.rpartition("#")[2]
    return next(series.modality for series in listing.series if series.key == key)


def _channel(modalities: Counter[str]) -> tuple[str, ...]:
    """Name the channel by its modality where all studies agree on it: the name decides the normalization."""
    name = next(iter(modalities), "")
    return (name,) if len(modalities) == 1 and name else (_SOLE_CHANNEL,)
