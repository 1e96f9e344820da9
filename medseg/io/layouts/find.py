"""Find the cases of a folder, whatever its layout: the first reader that knows the layout reads it.

Nothing is renamed, and what is ambiguous is refused with the option that settles it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.labels import VALUE_RANGE, Labels
from medseg.io.formats.table import is_image
from medseg.io.layouts.case_folders import files_of_folders, read_case_folders
from medseg.io.layouts.case_table import NAME as TABLE
from medseg.io.layouts.case_table import add_facts, read_case_table
from medseg.io.layouts.case_weights import with_maps_beside_labels
from medseg.io.layouts.crossed_pairs import crossed_note
from medseg.io.layouts.dataset import (
    DEFAULT_NAMING,
    DataSet,
    LeftOut,
    Naming,
    Why,
    assign_patients,
    sentences,
    united_note,
)
from medseg.io.layouts.file_names.names import channel_names
from medseg.io.layouts.flat_folder import read_flat_folder
from medseg.io.layouts.pairs import LABELS, read_pairs
from medseg.io.layouts.patterns import match_patterns, pattern_name
from medseg.io.layouts.published.bids import read_bids
from medseg.io.layouts.published.cityscapes import read_cityscapes
from medseg.io.layouts.published.coco import annotation_files, read_coco
from medseg.io.layouts.published.datalist import read_datalist
from medseg.io.layouts.published.dataset_json import NAME, lists_cases, read_dataset_json, structures_in
from medseg.io.layouts.published.instances import refuse_instances
from medseg.io.layouts.published.labelme_folders import read_labelme_folders
from medseg.io.layouts.published.mist import read_mist
from medseg.io.layouts.published.pets import read_pets
from medseg.io.layouts.published.voc import LABELS as VOC_LABELS
from medseg.io.layouts.published.voc import read_voc
from medseg.io.layouts.split_folders import part_of_name, read_split_folders
from medseg.io.layouts.split_lists import with_split_lists
from medseg.io.layouts.studies import SeriesRules, holds_scans, named_by_modality, parse_rules, with_series
from medseg.io.layouts.study_labels import read_studies
from medseg.io.layouts.suggestions import folders_near, is_declared, what_to_do
from medseg.io.layouts.unread_entries import Unread, unread_entries
from medseg.plans.sections.reading import Reading

_UNDERSTOOD = f"""\
medseg understands:
- {NAME} with modality, labels and a training list (Medical Segmentation Decathlon)
- {NAME} with channel_names, labels and file_ending, beside imagesTr/ and labelsTr/ (nnU-Net v2)
- a JSON file with a training list of image, label and fold (MONAI, Auto3DSeg), or one of MIST's with train-data
- images/ beside labels/ or masks/, with equal or similar file names; CASE_0000, CASE_0001 are channels of CASE
- masks by structure: masks/IMAGE/STRUCTURE.png, masks/STRUCTURE/IMAGE.png, CASE/segmentations/STRUCTURE.nii.gz
- JPEGImages/ beside SegmentationClass/ (Pascal VOC)
- images/ beside annotations/trimaps/ (Oxford-IIIT pets)
- leftImg8bit/ beside gtFine/ (Cityscapes, IDD)
- a JSON file of COCO (annotations/instances_train.json) with its images beside or below it
- CASE_json/img.png with label.png and label_names.txt (labelme_json_to_dataset)
- train/, val/ and test/, each laid out so; or train/ beside trainannot/, images/train/ beside labels/train/
- sub-*/ beside derivatives/ (BIDS)
- one folder per case, or all in one folder: CASE_flair, CASE_t1, CASE_seg
- one folder or zip per DICOM study with its RTSTRUCT or SEG, or images/CASE/ beside labels/
- a table: --cases TABLE.csv, or a cases.csv in the folder, with a column for each channel and one called label
- anything else by patterns in which * is the case: --images '*/scan.nii.gz' --labels '*/seg.nii.gz'"""
_MOST_INFERRED = 200
"""More values than this are numbered objects or grey values, not structures."""
_MOST_SHOWN = 8


def find_cases(
    folder: Path, patient_pattern: str | None = None, naming: Naming = DEFAULT_NAMING, frame: int | None = None
) -> DataSet:
    """Find the cases of a data set, its channels, and its structures where they are declared.

    Args:
        folder: laid out in one of the ways that medseg understands; see docs/data/own-data.md.
        patient_pattern: a regular expression whose group 1 (or whole match) in a case id is the patient; without
            one, every case is a patient of its own unless the layout names the patient.
        naming: what the user says about which files are meant.
        frame: which volume of a time series is the scan.

    Returns:
        The cases, with what the layout says of channels and structures, and what was left out.

    Raises:
        DataError: no such folder, another layout, no usable case, or a pattern that does not match an id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        near = folders_near(folder)
        perhaps = f"Perhaps {near} was meant. " if near else ""
        raise DataError(
            f"There is no folder {folder}.", perhaps + "Expected the folder of a data set with images and labels."
        )
    data = read_layout(folder, naming)
    if data is None:
        raise DataError(f"{folder} is not a data set. {found_in(folder)}", what_to_do(folder) + _UNDERSTOOD)
    if not data.cases:
        raise DataError(
            f"{folder} has no case with image and label. {first_of(data.problems) or found_in(folder)}",
            what_to_do(folder) + _UNDERSTOOD,
        )
    refuse_instances(data.cases)
    cases, notes = with_maps_beside_labels(sorted(data.cases, key=lambda case: case.id))
    unread = _unread(replace(data, cases=cases))
    problems = [*data.problems, *sentences(unread.lost), *unread.notes, *united_note(cases), *crossed_note(cases)]
    data = replace(data, problems=[*problems, *notes])
    if len(data.channels) == 1 and data.layout not in ("msd", "nnunet", "dicom"):
        data = replace(data, channels=channel_names(cases, data.channels[0], Reading(frame=frame)))
    if patient_pattern is not None:
        cases = assign_patients(cases, patient_pattern)
    return replace(data, cases=cases)


def _unread(data: DataSet) -> Unread:
    """Return what looks like a scan, and the reader of the layout has not named."""
    if data.layout in ("patterns", "table", "datalist", "mist"):
        return Unread()  # the user or a list says which files there are
    named = {problem.id for problem in data.problems if isinstance(problem, LeftOut)}
    beside = [path for case in data.cases for path in (case.label, case.weight_map) if path is not None]
    scans = {case.id: case.channels for case in data.cases}
    return unread_entries(data.folder, scans, beside, named, training=True)


def read_layout(folder: Path, naming: Naming = DEFAULT_NAMING) -> DataSet | None:
    """Read a data set by the first layout that fits.

    Args:
        folder: the data set.
        naming: what the user says about which files are meant.

    Returns:
        The data set; None where no layout fits.

    Raises:
        DataError: a layout fits, but is not valid or ambiguous.
    """
    table = naming.table or (folder / TABLE if (folder / TABLE).is_file() else None)
    data = read_case_table(folder, table, naming) if table is not None else None
    if data is not None:
        given = [name for name, value in (("--images", naming.images), ("--labels", naming.labels)) if value]
        if given:
            raise DataError(
                f"{table} lists the files of each case, and {' and '.join(given)} would say it otherwise: expected one "
                "of both.",
                "Leave the options out; or give the table another name, such as other.csv.",
            )
        return with_split_lists(replace(data, labels=structures_in(folder)))
    data = _read_files(folder, naming)
    if data is not None and table is not None:
        data = add_facts(data, table)
    return data if data is None else with_split_lists(data)


def _read_files(folder: Path, naming: Naming) -> DataSet | None:
    """Read a data set whose files say where the cases are, rather than a table."""
    if any("*" in pattern for pattern in (*naming.images, naming.labels or "")):
        return _read_patterns(folder, naming)
    unnamed = not naming.images and naming.labels is None
    for read_list in (read_datalist, read_mist) if unnamed else ():
        data = read_list(folder)
        if data is not None:
            return data
    if unnamed and lists_cases(folder):
        return read_dataset_json(folder)
    if not naming.images and (annotated := read_coco(folder, naming)):
        return annotated
    for read_named in (read_voc, read_pets, read_labelme_folders) if unnamed else ():
        data = read_named(folder)
        if data is not None:
            return _with_declared(data)
    if split := read_split_folders(folder, naming):
        return _with_declared(split)
    if not naming.images and (scenes := read_cityscapes(folder, naming)):
        return _with_declared(scenes)
    others = (read_pairs, read_bids, read_case_folders, read_flat_folder)
    # Without pydicom, studies come last: their reader then only says which package is missing.
    for read in (read_studies, *others) if find_spec("pydicom") else (*others, read_studies):
        data = read(folder, naming)
        if data is not None:
            return data if data.labels is not None else replace(data, labels=structures_in(folder))
    return read_dataset_json(folder) if (folder / NAME).is_file() else None  # refuses, and says what the file lacks


def _with_declared(data: DataSet) -> DataSet:
    """Return a data set with the structures of a `dataset.json` in its folder, in place of those its layout knows."""
    declared = structures_in(data.folder)
    return data if declared is None else replace(data, labels=declared, no_background=declared.background is None)


def _read_patterns(folder: Path, naming: Naming) -> DataSet:
    patterns = [*naming.images, *([naming.labels] if naming.labels else [])]
    if not naming.images or not naming.labels or not all("*" in pattern for pattern in patterns):
        raise DataError(
            f"The patterns are {', '.join(patterns)}; expected one for each channel and one for the labels.",
            "Example: --images '*_flair.nii.gz' --images '*_t1.nii.gz' --labels '*_seg.nii.gz'.",
        )
    files, problems = match_patterns(folder, patterns)
    names = tuple(map(pattern_name, naming.images))
    rules = parse_rules(naming.series, names)[1] if naming.series else ()
    cases = []
    for id, paths in files.items():
        try:
            cases.append(with_series(Case(id, id, paths[:-1], paths[-1]), names, SeriesRules(rules, naming.dicom)))
        except MedsegError as error:
            problems[id] = Why.of(error)
    names = named_by_modality(names, cases)
    return DataSet(folder, "patterns", names, structures_in(folder), cases, sentences(problems), series_rules=rules)


def is_data_set(folder: Path) -> bool:
    """Return whether a folder is laid out as a data set, rather than being a plain folder of images or labels."""
    if is_declared(folder) or any((folder / name).is_dir() for name in (*LABELS, *VOC_LABELS, "derivatives")):
        return True
    if any(part_of_name(path.name) == ("train", "both") for path in folder.iterdir() if path.is_dir()):
        return True
    if (folder / TABLE).is_file() and read_case_table(folder, folder / TABLE) is not None:
        return True
    if annotation_files(folder):
        return True
    if any(map(is_image, folder.iterdir())):
        return False
    return bool(files_of_folders(folder)[0]) or holds_scans(folder)


def infer_labels(values: Iterable[int], ignore: int | None = None, background: bool = True) -> Labels:
    """Return structures for label files whose layout does not declare them.

    One value is called `foreground`, several `label_1`, `label_2`, ... after their values.

    Args:
        values: the values that occur.
        ignore: the value of voxels without annotation, if there is one.
        background: whether 0 is the background; else it is a structure like the others.

    Raises:
        DataError: there is no value but the background's, a negative one, or too many to be structures.

    >>> infer_labels([0, 1, 3]).structures
    {'label_1': 1, 'label_3': 3}
    >>> infer_labels([0, 1, 255], ignore=255, background=False).structures
    {'label_0': 0, 'label_1': 1}
    """
    values = {*values}
    foreground = sorted(values - {0 if background else None, ignore})
    if not foreground and ignore in values:
        raise DataError(
            f"The label files hold nothing but 0 and {ignore}, which stands for voxels without annotation here.",
            f"If it is the structure, name it: --structures NAME={ignore}.",
        )
    if not foreground:
        raise DataError("The label files hold nothing but 0.", "Check that they are masks, and the right ones.")
    if foreground[0] < 0:
        raise DataError(
            f"The label files hold the value {foreground[0]}: medseg cannot know what a value below 0 means.",
            f"If these voxels were not annotated: --ignore {foreground[0]}. If they are background: "
            f"--map {foreground[0]}=0.",
        )
    if foreground[-1] > VALUE_RANGE.max:
        raise DataError(
            f"The label files hold the value {foreground[-1]}; expected whole numbers up to {VALUE_RANGE.max}.",
            f"If these voxels are background: --map {foreground[-1]}=0.",
        )
    if len(foreground) > _MOST_INFERRED:
        values_seen = f"{len(foreground)} values from {foreground[0]} to {foreground[-1]}"
        raise DataError(
            f"The label files hold {values_seen}: medseg cannot know which of them are structures.",
            "Masks with soft edges need --threshold; numbered objects become one structure with "
            f"--map {foreground[0]}-{foreground[-1]}=1; structures are declared with --structures NAME=VALUE.",
        )
    if not background:
        return Labels(structures={f"label_{value}": value for value in foreground}, background=None, ignore=ignore)
    if len(foreground) == 1:
        return Labels(structures={"foreground": foreground[0]}, ignore=ignore)
    return Labels(structures={f"label_{value}": value for value in foreground}, ignore=ignore)


def found_in(folder: Path) -> str:
    """Return a sentence on the files and folders in a folder, for messages."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(names[:_MOST_SHOWN]) + (f" and {len(names) - _MOST_SHOWN} more" * (len(names) > _MOST_SHOWN))
    return f"Found there: {shown}." if names else "It is empty."


def first_of(problems: list[str]) -> str:
    """Return the first few problems in one line, for messages."""
    rest = len(problems) - _MOST_SHOWN
    return "; ".join(problems[:_MOST_SHOWN] + [f"and {rest} more"] * (rest > 0))
