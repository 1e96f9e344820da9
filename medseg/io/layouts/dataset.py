"""The types that all readers of layouts share: a user's options on names, and the data set that is read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medseg.core.case import Case
from medseg.core.errors import DataError, MedsegError
from medseg.core.labels import NO_BACKGROUND, Labels
from medseg.core.wording import counted, first_few
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.formats.table import is_image
from medseg.io.images import AS_STORED
from medseg.io.layouts.file_names.words import further_mask
from medseg.io.several_files import united_files, united_path
from medseg.plans.sections.reading import Reading

Layout = Literal[
    "msd",
    "nnunet",
    "pairs",
    "voc",
    "pets",
    "coco",
    "cityscapes",
    "bids",
    "dicom",
    "splits",
    "labelme",
    "folders",
    "files",
    "table",
    "patterns",
    "datalist",
    "mist",
]
"""How a data set is laid out; `LAYOUTS` says it in words."""

LAYOUTS: dict[str, str] = {
    "msd": "Medical Segmentation Decathlon",
    "nnunet": "nnU-Net",
    "pairs": "paired folders",
    "voc": "Pascal VOC",
    "pets": "Oxford-IIIT pets",
    "coco": "COCO annotations",
    "cityscapes": "Cityscapes or IDD",
    "bids": "BIDS",
    "dicom": "DICOM studies",
    "splits": "folders for training, validation and test",
    "labelme": "folders of labelme_json_to_dataset",
    "folders": "one folder per case",
    "files": "images and labels in one folder",
    "table": "a table of cases",
    "patterns": "file patterns",
    "datalist": "a datalist of MONAI or Auto3DSeg",
    "mist": "MIST",
}


_UNCLEAR = "ambiguous"
"""The kind of a case of which the files leave open what is meant."""
_NOTES = (".json", ".txt", ".csv", ".yaml", ".yml", ".xml", ".bval", ".bvec")
"""Suffixes of files that say something of a scan of their name, and are none themselves."""


@dataclass(frozen=True)
class Naming:
    """Options of a user on which files are meant, where the folder alone does not say.

    Attributes:
        images: one entry per channel: patterns in which `*` is the case id (`*_flair.nii.gz`), or names of channels
            that the files have (`flair`).
        labels: likewise one pattern, or the name that label files have (`seg`).
        table: a CSV that lists the files of each case.
        series: rules that choose the series of DICOM studies: one for all, or one `CHANNEL:RULE` for each channel; see
            `io.dicom.listing.rules`.
        dicom: what may be done to series that are not regular volumes.
    """

    images: tuple[str, ...] = ()
    labels: str | None = None
    table: Path | None = None
    series: tuple[str, ...] = ()
    dicom: DicomOptions = field(default_factory=DicomOptions)


DEFAULT_NAMING = Naming()


@dataclass(frozen=True)
class DataSet:
    """A folder of cases with labels.

    Attributes:
        folder: the folder of the data set.
        layout: how it is laid out.
        channels: names of the channels, in order.
        labels: the structures; None where the layout does not declare them.
        cases: sorted by id, each with a label.
        problems: what was left out and why, one `LeftOut` each, and what else is worth a note.
        ignore: the value of voxels without annotation, where the layout fixes it and `labels` is None.
        ignore_assumed: whether only the layout says so, and not the user.
        reading: what the values in its files mean, where the files alone do not tell.
        no_background: whether every voxel belongs to a structure, 0 too, where `labels` is None.
        series_rules: for DICOM studies, the rule that chose the series of each channel, where one was given.
    """

    folder: Path
    layout: Layout
    channels: tuple[str, ...]
    labels: Labels | None
    cases: list[Case]
    problems: list[str]
    ignore: int | None = None
    ignore_assumed: bool = False
    reading: Reading = AS_STORED
    series_rules: tuple[str, ...] = ()
    no_background: bool = False

    @property
    def background_value(self) -> int:
        """The value of the background in label files, or `NO_BACKGROUND`."""
        if self.labels is not None:
            return self.labels.values[0]
        return NO_BACKGROUND if self.no_background else 0


def pair_up(
    images: Mapping[str, tuple[Path, ...]],
    labels: Mapping[str, Path],
    folders: tuple[Path, Path],
    problems: dict[str, str],
) -> list[Case]:
    """Pair images with labels of the same id.

    Args:
        images: {id: files of the channels}.
        labels: {id: label file}.
        folders: where the images and where the labels lie, for messages.
        problems: {id: why it is left out}; ids without a counterpart are added.

    Returns:
        The cases that have both.
    """
    of_other_formats = [_names_beside(folder) for folder in folders]
    for id in images.keys() - labels.keys() - problems.keys():
        problems[id] = _missing("label", id, folders[1], of_other_formats[1])
    further: dict[str, list[Path]] = {}
    for id in labels.keys() - images.keys() - problems.keys():
        owners = [case for case in images.keys() & labels.keys() if further_mask(id, case)]
        for case in owners:
            further.setdefault(case, []).append(labels[id])
        if not owners:
            problems[id] = _missing("image", id, folders[0], of_other_formats[0])
    united = {}
    for case, files in further.items():
        label = united_label([labels[case], *files])
        if isinstance(label, Path):
            united[case] = label
        else:
            problems[case] = label
    labels = {**labels, **united}
    images = {id: files for id, files in images.items() if id not in problems}
    return [Case(id, id, images[id], labels[id]) for id in images.keys() & labels.keys()]


def _names_beside(folder: Path) -> dict[str, str]:
    """Return {name without suffix: name} of the files of a folder that are in no format that is read.

    Notes on a case, such as the JSON that dcm2niix writes beside a scan, stand for none.
    """
    if not folder.is_dir():
        return {}
    files = [path for path in sorted(folder.iterdir()) if path.suffix and path.suffix.lower() not in _NOTES]
    return {path.stem: path.name for path in files if not is_image(path)}


def _missing(what: str, id: str, folder: Path, others: Mapping[str, str]) -> Why:
    """Return why a case without its image or label is left out.

    Args:
        what: image or label.
        id: the case.
        folder: where it was looked for.
        others: as `_names_beside` returns them.
    """
    if id in others:
        text = f"{others[id]} in {folder} is in no format that medseg reads as {what}s"
        return Why(text, f"missing {what}", folder / others[id])
    return Why(f"there is no {what} of this name in {folder}", f"missing {what}", folder)


def united_label(files: Sequence[Path]) -> Path | str:
    """Return the path that stands for several masks of a case, or why they cannot be told from other masks.

    Args:
        files: the mask without a number, then those of the same name with one.
    """
    path = united_path(files[0])
    return path if {*united_files(path)} == {*files} else several_masks(files)


def united_note(cases: Sequence[Case]) -> list[str]:
    """Return a note on the cases with several masks, which are read as one; nothing where there are none."""
    counts = {case.id: len(united_files(case.label)) for case in cases if case.label is not None}
    several = {id: count for id, count in counts.items() if count}
    if not several:
        return []
    shown = first_few([f"{id} ({count} masks)" for id, count in sorted(several.items())])
    return [f"several masks of one image are united in {counted(len(several), 'case')}: {shown}"]


def several_masks(files: Sequence[Path]) -> str:
    """Return why a case with several label files is left out: trained with one of them, the rest would be background.

    Args:
        files: the label files.
    """
    names = " and ".join(dict.fromkeys(path.name for path in files))
    return (
        f"{names} are label files of this one case\nMerge them into one label file, leave the case out with --exclude "
        "IDS.txt, or say by patterns which files are meant: --images '*_image.png' --labels '*_mask.png'."
    )


class Why(str):
    """A reason for leaving a case out.

    Attributes:
        kind: what is wrong, one of `planning.findings.ERRORS`.
        file: the file or folder at fault; None if there is not exactly one.

    >>> Why("it has no label file", "missing label").kind
    'missing label'
    """

    kind: str
    file: Path | None

    def __new__(cls, text: str, kind: str = _UNCLEAR, file: Path | None = None) -> Why:
        """Make the reason from its text; a text without a kind leaves open which files are meant."""
        why = super().__new__(cls, text)
        why.kind, why.file = kind, file
        return why

    @classmethod
    def of(cls, error: MedsegError) -> Why:
        """Return the reason that an error gives, with its kind."""
        return cls(str(error).rstrip("."), error.kind or _UNCLEAR)


def left_out_by_layout(problems: Iterable[str]) -> dict[str, LeftOut]:
    """Return {case: the problem for which it was left out} of the problems that are about one.

    Args:
        problems: of a data set.
    """
    return {problem.id: problem for problem in problems if isinstance(problem, LeftOut)}


class LeftOut(str):
    """A sentence about a case that was left out, with its parts.

    Attributes:
        id: the case.
        why: the reason.
        kind: what is wrong, one of `planning.findings.ERRORS`.
        file: the file or folder at fault; None if there is not exactly one.

    >>> LeftOut("case7", "it has no label file")
    'case7: it has no label file'
    """

    id: str
    why: str
    kind: str
    file: Path | None

    def __new__(cls, id: str, why: str) -> LeftOut:
        """Make the sentence `id: why`; kind and file are those of a `Why`."""
        sentence = super().__new__(cls, f"{id}: {why}")
        sentence.id, sentence.why = id, why
        reason = why if isinstance(why, Why) else Why(why)
        sentence.kind, sentence.file = reason.kind, reason.file
        return sentence


def sentences(problems: Mapping[str, str]) -> list[str]:
    """Return a sentence for each case that was left out, sorted by id, from {id: why}."""
    return [LeftOut(id, why) for id, why in sorted(problems.items())]


_REPEAT = re.compile(r"[*+|]|\{\d*,\d*\}")
_RISKY_REPEATS = 2
"""Expressions with fewer repeats and alternatives take no longer than the square of the text's length."""
_MOST_SEARCH_SECONDS = 20
_SEARCH = """
import json, re, sys
pattern, texts = json.load(sys.stdin)
matches = map(re.compile(pattern).search, texts)
json.dump([match[match.re.groups and 1] if match else None for match in matches], sys.stdout)
"""


def assign_patients(cases: list[Case], pattern: str) -> list[Case]:
    """Return the cases with the patient that a pattern finds in their ids.

    Args:
        cases: cases of a data set.
        pattern: a regular expression, searched anywhere in the id; its group 1, else the whole match, is the patient.

    Raises:
        DataError: the pattern is not a regular expression, or does not match an id.

    >>> [case.patient for case in assign_patients([Case("P07-slice-012", "", ())], "^(P[0-9]+)")]
    ['P07']
    """
    try:
        patients = _search_all(pattern, [case.id for case in cases])
    except subprocess.TimeoutExpired:
        raise DataError(
            f"The patient pattern {pattern!r} takes more than {_MOST_SEARCH_SECONDS} seconds on the case ids.",
            "Repeats within repeats, such as (a+)+, try all ways to divide a name; write a+ in their place.",
        ) from None
    except re.error as error:
        raise DataError(
            f"The patient pattern {pattern!r} is not a regular expression: {error}.",
            "For ids such as P07-slice-012, '^(P[0-9]+)' finds the patient.",
        ) from None
    assigned = []
    for case, patient in zip(cases, patients, strict=True):
        if not patient:
            raise DataError(
                f"The patient pattern {pattern!r} finds no patient in the case id {case.id!r}.",
                "It is searched anywhere in the id and must match each; group 1, if it has one, is the patient.",
            )
        assigned.append(replace(case, patient=patient))
    return assigned


def _search_all(pattern: str, texts: list[str]) -> list[str | None]:
    """Return what a regular expression finds in each text: its group 1, else the whole match; None for no match.

    Raises:
        re.error: it is not a regular expression.
        subprocess.TimeoutExpired: it takes too long, as one with repeats in repeats may do for years.
    """
    search = re.compile(pattern).search
    if len(_REPEAT.findall(pattern)) < _RISKY_REPEATS or not sys.executable:
        matches = map(search, texts)
        return [match[match.re.groups and 1] if match else None for match in matches]
    # nothing can interrupt a search in this process
    command = [sys.executable, "-I", "-c", _SEARCH]
    content = json.dumps([pattern, texts])
    done = subprocess.run(
        command, input=content, capture_output=True, text=True, timeout=_MOST_SEARCH_SECONDS, check=True
    )
    patients: list[str | None] = json.loads(done.stdout)
    return patients
