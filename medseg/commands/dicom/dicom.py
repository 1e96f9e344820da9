"""`medseg dicom`: write an existing label file as DICOM objects of the series that it belongs to."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.commands.dicom.options import DicomOutOptions
from medseg.core.errors import DataError, PlanError
from medseg.core.files import check_folder
from medseg.core.image import Image, Orientation, describe_grid_difference
from medseg.core.labels import Labels
from medseg.core.wording import first_few
from medseg.datasets.option_values import parse_structures
from medseg.delivery.answers.dicom_objects import LABELS, wanted_forms
from medseg.delivery.answers.earlier import move_foreign_objects_aside, move_report_aside
from medseg.delivery.answers.labels_file import NAME, Answers, read_labels_file
from medseg.delivery.answers.options import WriteOptions
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME, answered_series, maker_of
from medseg.delivery.answers.read_answer import known_by_name, names_in, read_answer
from medseg.delivery.dicom.codes import codes_of, read_codes
from medseg.delivery.dicom.common import Maker
from medseg.delivery.dicom.source import check_source
from medseg.delivery.dicom.write import Meaning, object_paths, write_objects
from medseg.delivery.pictures.overlay import draw_overlay
from medseg.inference.volumes import structure_volumes
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.labels.frames_of_reference import check_frame_of_reference
from medseg.io.dicom.listing.channel import choose_series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.locate import series_at
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.formats.table import is_dicom, split_suffix
from medseg.io.values.regrid import resample_nearest

_WHO = "--algorithm 'NAME VERSION' names the program, --manual says that a person drew or corrected it."
_MOST_DECLARED = 5
"""So many structures of a file stand in a hint: objects of planning systems have dozens."""


@dataclass(frozen=True)
class DicomOutResult:
    """The result of `dicom`: the objects that were written.

    Attributes:
        files: {form: file}.
        series: number, description and key of the series that the objects refer to.
        volumes: {structure: volume in ml}.
        notes: for the user, in sentences.
    """

    files: dict[str, Path]
    series: str
    volumes: dict[str, float]
    notes: tuple[str, ...] = ()


def dicom(
    labels: str | Path, source: str | Path, output: str | Path, options: DicomOutOptions | None = None
) -> DicomOutResult:
    """Write a label file as DICOM objects that refer to a series.

    Args:
        labels: a label map whose voxels are those of the series (its axes may be turned), or an RTSTRUCT or DICOM SEG.
        source: folder or zip of the study, or one series as `FOLDER#KEY`.
        output: folder for the objects.
        options: which objects, and what they say.

    Returns:
        The files that were written, the series that they refer to, and the volume of each structure in ml.

    Raises:
        PlanError: it is not known what the values mean, who made the labels, or which codes structures have.
        DataError: the series cannot be referred to, the labels lie on another grid, or hold none of the structures.
    """
    options, path, source = options or DicomOutOptions(), Path(labels), Path(source)
    check_folder(Path(output))
    forms, notes = _forms(options.write)
    _check_file(path)
    declared = _declared(path, options)
    notes += _names_lacking(path, declared.labels)
    given = read_codes(options.write.codes) if options.write.codes else {}
    codes = codes_of(declared.labels.names, declared.codes, given, options.write.generic_codes)
    meaning = Meaning(declared.labels.members, codes, _maker(path, options), options.write.labelmap)
    reading = DicomOptions(options.resample_tilt, options.allow_gaps)
    answered = answered_series(path)
    series = _series(source, options.series, reading, answered)
    named = parse_reference(source) is not None or options.series == series.key
    notes += _of_another_series(path, answered, series, named)
    check_source(series.slices, series.title, forms)
    if is_dicom(path):
        check_frame_of_reference(path, series)
    volume = read_volume(series, reading)
    label = _read_on_grid(path, declared.labels, volume.image)
    volumes = structure_volumes(label, declared.labels)
    paths = object_paths(Path(output), path.stem if is_dicom(path) else split_suffix(path)[0], forms)
    picture = draw_overlay(volume.image, label, declared.labels) if "sheet" in paths else None
    moved = [text for text in (move_foreign_objects_aside(paths), move_report_aside(paths)) if text is not None]
    write_objects(volume.to_source(label.array[0]), series, meaning, paths, volumes, picture=picture)
    return DicomOutResult(paths, series.title, volumes, (*notes, *label.notes, *label.warnings, *moved))


def _forms(write: WriteOptions) -> tuple[frozenset[str], list[str]]:
    """Return the objects that are written, and a note if a label map is asked for as well.

    Raises:
        PlanError: nothing else is asked for.
    """
    asked = wanted_forms(write) or frozenset({"seg"})
    forms = asked - {LABELS}
    if not forms:
        raise PlanError("Only label maps are asked for; expected --write with seg, rtstruct, report or sheet.")
    unwritten = "nifti in --write: without effect, because medseg dicom makes DICOM objects alone"
    return forms, [unwritten] if LABELS in asked else []


def _check_file(path: Path) -> None:
    """Refuse labels that are no file.

    Raises:
        DataError: they are a folder, or not there.
    """
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; expected one label file.",
            "Name a file in it, once for each study. For all studies of a folder at once: medseg predict with --write.",
        )
    if not path.is_file():
        raise DataError(f"There is no label file {path}.", "Check the path.")


def _names_lacking(path: Path, labels: Labels) -> list[str]:
    """Return a note on declared structures that a file lacks, if it knows its structures by name.

    Raises:
        DataError: it has none of them, so that the objects would hold nothing.
    """
    held, lacking = names_in(path, labels) if known_by_name(path) else ([], [])
    if not lacking:
        return []
    holds = f"it holds {first_few(held)}" if held else "it holds no structure"
    if len(lacking) == len(labels.names):
        named = [shlex.quote(f"{name}={value}") for value, name in enumerate(held[:_MOST_DECLARED], start=1)]
        declaring = " ".join(f"--structures {text}" for text in named)
        raise DataError(
            f"{path} has none of the declared structures ({first_few(lacking)}); {holds}.",
            f"Declare in their place those that are meant, by their names in the file: {declaring}" if held else None,
            "unknown label",
        )
    return [f"{path.name} has no {first_few(lacking)}; {holds}"]


def _declared(path: Path, options: DicomOutOptions) -> Answers:
    """Return the structures of the values: those that the user declares, else those of labels.json beside the file."""
    if options.structures:
        return Answers(parse_structures(options.structures))
    answers = read_labels_file(path.parent)
    if answers is None:
        raise PlanError(
            f"It is not known what the values in {path} mean: there is no {NAME} beside it.",
            "Declare them: --structures liver=1 --structures spleen=2",
        )
    return answers


def _maker(path: Path, options: DicomOutOptions) -> Maker:
    """Return the author of the labels: as the user says, else the model that `medseg predict` recorded for the file."""
    if options.manual and options.algorithm is not None:
        raise PlanError("--manual and --algorithm cannot be used together.")
    if options.manual:
        return Maker("MANUAL")
    if options.algorithm is not None:
        return _program(options.algorithm)
    made_by = maker_of(path)
    if made_by is None:
        raise PlanError(
            f"It is not known who made {path}: no {LEDGER_NAME} in its folder lists it with its present content.",
            _WHO,
        )
    return Maker("AUTOMATIC", "medseg", made_by.get("medseg"), made_by.get("model"))


def _program(text: str) -> Maker:
    """Return the program that a user named as the author; its last word is a version if it has a digit.

    Raises:
        PlanError: the text is blank.
    """
    words = text.split()
    if not words:
        raise PlanError("--algorithm is blank; expected the name of the program that made the labels.", _WHO)
    versioned = len(words) > 1 and any(sign.isdigit() for sign in words[-1])
    name = " ".join(words[:-1] if versioned else words)
    return Maker("AUTOMATIC", name, words[-1] if versioned else None)


def _series(source: Path, rule: str | None, reading: DicomOptions, answered: Collection[str]) -> Series:
    """Return the series to write for: the one that is named, else the one that the labels were made from."""
    if parse_reference(source) is not None:
        return series_at(source)
    listing = find_series(source)
    preferred = [series.uid for series in listing.series if series.key in answered]
    return choose_series(listing, "labels", rule, reading, preferred).series


def _of_another_series(path: Path, answered: Sequence[str], series: Series, named: bool) -> list[str]:
    """Return a note if labels were made from another series than they are written for.

    Args:
        path: the label file.
        answered: keys of the series that it was made from; empty where they are not known.
        series: the series that objects are written for.
        named: whether the user named this very series.

    Raises:
        DataError: it is another one, and the user has not named it: it may be of another patient.
    """
    if not answered or series.key in answered:
        return []
    seen = f"{path} was made from series {' and '.join(answered)}, and not from {series.title}"
    if named:
        return [f"{seen}; that both are of one patient is not checked"]
    raise DataError(
        f"{seen}, which may be of another patient.",
        f"Give the study of that series. If the labels are of this one all the same, name it: --series {series.key}",
    )


def _read_on_grid(path: Path, labels: Labels, grid: Image) -> Image:
    """Read a label file (1, z, y, x) on the grid of the series, and check its values.

    Raises:
        DataError: it lies on another grid, or holds a value that is not declared.
    """
    stored = read_answer(path, labels, grid)
    label = replace(_turn_to(stored, grid, path), notes=stored.notes, warnings=stored.warnings)
    try:
        labels.check_values(np.unique(label.array).tolist(), str(path))
    except DataError as error:
        raise DataError(error.message, "--structures NAME=VALUE declares a structure; repeat it for each.") from None
    return label


def _turn_to(label: Image, grid: Image, path: Path) -> Image:
    """Return labels with their axes turned to those of a grid that has the same voxels.

    Raises:
        DataError: the voxels are not the same.
    """
    if label.same_grid(grid) and label.spacing_known:
        return label
    canonical_label, canonical_grid = _canonical(label), _canonical(grid)
    if not label.spacing_known or not canonical_label.same_grid(canonical_grid):
        raise DataError(
            f"{path} lies on another grid than the series: {describe_grid_difference(label, grid)}.",
            "DICOM objects refer to the slices that the labels were drawn on: give that series, or resample the "
            "labels to "
            "its grid.",
            "label grid",
        )
    return resample_nearest(label, grid, 0)


def _canonical(image: Image) -> Image:
    """Return an image with its axes along the canonical ones, and the affine that goes with it."""
    orientation = Orientation.of(image)
    sizes = image.shape_zyx
    affine = np.eye(4)
    affine[:3, 3] = image.affine[:3, 3]
    for target, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        step = image.affine[:3, 2 - axis]  # axes are (z, y, x), columns of an affine (x, y, z)
        affine[:3, 2 - target] = -step if flip else step
        affine[:3, 3] += step * (sizes[axis] - 1) if flip else 0  # a flipped axis begins at its last voxel
    return Image(orientation.apply(image.array), affine, image.spacing_known)
