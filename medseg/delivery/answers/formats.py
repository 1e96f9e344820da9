"""The table of formats in which label maps can be asked for, and the names and colours that go into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.core.case import Case
from medseg.core.colours import rgb_number
from medseg.core.errors import PlanError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.io.annotations import geojson
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.table import answer_suffix
from medseg.io.images import write_label
from medseg.plans.terminology import Coding


@dataclass(frozen=True)
class AnswerFormat:
    """A row of the table: a format that the user can ask for.

    Attributes:
        suffix: of the label maps.
        numbers: suffix of maps that hold numbers of objects.
        flat: whether it holds 2D images only.
        layers: whether structures that overlap can lie in layers of their own.
        described: what it is, for messages and documentation.
    """

    suffix: str
    numbers: str
    flat: bool = False
    layers: bool = False
    described: str = ""


ANSWER_FORMATS: Mapping[str, AnswerFormat] = {
    "nifti": AnswerFormat(".nii.gz", ".nii.gz", described="NIfTI, with names and colours as TotalSegmentator has them"),
    "nrrd": AnswerFormat(".nrrd", ".nrrd", described="NRRD, with names and colours in its header"),
    "seg.nrrd": AnswerFormat(".seg.nrrd", ".nrrd", layers=True, described="a segmentation of 3D Slicer"),
    "mha": AnswerFormat(".mha", ".mha", described="MetaImage"),
    "mgz": AnswerFormat(".mgz", ".mgz", described="FreeSurfer's volumes"),
    "tiff": AnswerFormat(".tif", ".tif", flat=True, described="TIFF; its pixels are the label values"),
    "png": AnswerFormat(".png", ".png", flat=True, described="PNG; its pixels are the label values"),
    "geojson": AnswerFormat(".geojson", ".png", flat=True, described="outlines of objects, as QuPath reads them"),
}
"""What `--format` can be, beside the format of the scan."""


def format_named(name: str | None, labels: Labels, dimensions: int) -> AnswerFormat | None:
    """Return the format that a user names; None for that of the scan.

    Args:
        name: as it was typed.
        labels: the structures.
        dimensions: of the model's data set.

    Raises:
        PlanError: there is no such format, or it cannot hold the answers of this model.
    """
    if name is None:
        return None
    plain = name.strip().lower().lstrip(".")
    aliases = {"nii.gz": "nifti", "nii": "nifti", "tif": "tiff", "slicer": "seg.nrrd", "qupath": "geojson"}
    row = ANSWER_FORMATS.get(aliases.get(plain, plain))
    if row is None:
        raise PlanError(
            f"--format is {name!r}; valid are {', '.join(ANSWER_FORMATS)}.",
            "Leave it out for the format of each scan. DICOM objects are asked for by --write: --write seg,nifti",
        )
    if row.flat and dimensions == 3:
        raise PlanError(
            f"--format {plain} holds 2D images, and this model segments volumes.",
            "Choose one of "
            + ", ".join(name for name, other in ANSWER_FORMATS.items() if not other.flat)
            + "; without --format, scans in TIFF are answered in TIFF.",
        )
    if row.suffix == geojson.SUFFIX and (labels.background != 0 or not segments_of(labels, {})):
        why = "overlap" if labels.background == 0 else "have no background of 0"
        raise PlanError(f"--format {plain} holds outlines beside each other; these structures {why}.", "Choose png.")
    if row.layers and (of_zero := [segment.name for segment in segments_of(labels, {}) if segment.value == 0]):
        raise PlanError(
            f"--format {plain}: {of_zero[0]} has the value 0, which 3D Slicer takes for background.",
            "--format nifti keeps the value and its name.",
        )
    return row


def answer_path(case: Case, output: Path, form: AnswerFormat | None = None) -> Path:
    """Return where the label map of a case goes: named by the case's id.

    Args:
        case: the case.
        output: folder of the answers.
        form: the format that was asked for; None for that of the case's first file.
    """
    return output / f"{case.id}{answer_suffix(case.channels[0]) if form is None else form.suffix}"


def value_names(labels: Labels) -> dict[int, str]:
    """Return {value in answers: the structures that its voxels belong to}, in the order of the structures' colours.

    >>> value_names(Labels(structures={"whole": [1, 2], "core": [2]}, activation="sigmoid", region_values=[1, 2]))
    {1: 'whole', 2: 'whole + core'}
    """
    return {
        value: " + ".join(other for other, members in labels.members.items() if value in members) or name
        for name, value in labels.written_values.items()
    }


def segments_of(labels: Labels, codes: Mapping[str, Coding]) -> list[Segment]:
    """Return the names, colours and codes of the values in answers; [] where a value stands for several structures.

    A value's name says which structure it is to any reader. Where structures overlap there is no such name: their
    values stand in labels.json, and `layers_of` writes them apart.

    Args:
        labels: the structures.
        codes: {structure: its codes for DICOM}, of those that have any.
    """
    if len({*labels.written_values.values()}) < len(labels.names) or max(map(len, labels.members.values())) > 1:
        return []
    return [
        Segment(name, value, colour=rgb_number(number), terminology=_terminology(codes.get(name)))
        for number, (name, value) in enumerate(labels.written_values.items())
    ]


def write_answer_labels(
    path: Path, answer: Image, like: Path | None, labels: Labels, codes: Mapping[str, Coding], form: AnswerFormat | None
) -> list[Path]:
    """Write the label map of a case, with names and colours where its format has a place for them.

    Args:
        path: the file.
        answer: label values (1, z, y, x) on the scan's grid.
        like: the scan; None if it is not known.
        labels: the structures.
        codes: {structure: its codes for DICOM}, of those that have any.
        form: the format that was asked for.

    Returns:
        The file, and others that its format puts beside it.

    Raises:
        DataError: the format cannot hold it.
    """
    segments = segments_of(labels, codes)
    if not segments and form is not None and form.layers:
        layers, segments = layers_of(answer, labels, codes)
        return write_label(path, layers, like, segments)
    return write_label(path, answer, like, segments)


def layers_of(answer: Image, labels: Labels, codes: Mapping[str, Coding]) -> tuple[Image, list[Segment]]:
    """Return structures that overlap as layers (structure, z, y, x) of 0 and 1, and their segments.

    Args:
        answer: label values (1, z, y, x).
        labels: the structures.
        codes: as in `segments_of`.
    """
    masks = np.stack([np.isin(answer.array[0], members) for members in labels.members.values()]).astype(np.uint8)
    named = [
        Segment(name, 1, number, rgb_number(number), _terminology(codes.get(name)))
        for number, name in enumerate(labels.names)
    ]
    return answer.with_array(masks), named


def _terminology(coding: Coding | None) -> str:
    """Return codes as 3D Slicer writes them; empty where there are none.

    Its fields, each scheme, value and meaning: category, type, its modifier, region, its modifier.
    """
    if coding is None:
        return ""
    parts = [coding.category, coding.type, next(iter(coding.modifiers), None)]
    region = [coding.region, next(iter(coding.region_modifiers), None)]
    texts = ["^^" if code is None else "^".join(code.split(" ", 2)) for code in (*parts, *region)]
    contexts = "Segmentation category and type - medseg", "Anatomic codes - medseg"
    return "~".join([contexts[0], *texts[:3], contexts[1], *texts[3:]])
