"""`medseg dicom`: an existing label file as DICOM objects of the series that it belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.commands.dicom.options import DicomOutOptions
from medseg.core.errors import DataError, PlanError
from medseg.core.files import content_hash
from medseg.core.image import Image, Orientation, describe_grid_difference
from medseg.core.labels import Labels
from medseg.datasets.label_options import declared_structures
from medseg.delivery.answers.dicom_objects import LABELS, wanted_forms
from medseg.delivery.answers.labels_file import NAME, Answers, read_labels_file
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.delivery.dicom.codes import codes_of, read_codes
from medseg.delivery.dicom.objects import Maker, segments_of
from medseg.delivery.dicom.write import SUFFIXES, Meaning, object_paths, write_objects
from medseg.inference.volumes import structure_volumes
from medseg.io.formats.table import is_dicom, split_suffix
from medseg.io.images import read_label
from medseg.io.values.regrid import resample_nearest
from medseg.plans.sections import Reading


@dataclass(frozen=True)
class DicomOutResult:
    """What was written.

    Attributes:
        files: {form: file}.
        series: the series that the objects refer to, in words.
        volumes: {structure: ml}.
    """

    files: dict[str, Path]
    series: str
    volumes: dict[str, float]


def dicom(
    labels: str | Path, source: str | Path, output: str | Path, options: DicomOutOptions | None = None
) -> DicomOutResult:
    """Write a label file as DICOM objects that refer to a series.

    Args:
        labels: a label map on the grid of the series, its axes turned at most, or an RTSTRUCT or DICOM SEG.
        source: folder or zip of the study, or `FOLDER#KEY`.
        output: folder for the objects.
        options: what they are to be.

    Raises:
        PlanError: it is not known what the values mean, who made the labels, or which codes structures have.
        DataError: the series cannot be referred to, or the labels lie elsewhere.
    """
    options, labels, source = options or DicomOutOptions(), Path(labels), Path(source)
    forms = frozenset((wanted_forms(options.write) or {"seg"}) - {LABELS})
    if not forms:
        raise PlanError("Only label maps are asked for; expected --write with seg, rtstruct or report.")
    if not labels.is_file():
        raise DataError(f"There is no label file {labels}.", "Check the path.")
    known = _declared(labels, options)
    given = read_codes(options.write.codes) if options.write.codes else {}
    codes = codes_of(known.labels.names, known.codes, given, options.write.generic_codes)
    meaning = Meaning(known.labels.members, codes, _maker(labels, options), options.write.labelmap)
    if meaning.labelmap:
        from medseg.delivery.dicom.segmentation import check_labelmap

        check_labelmap(segments_of(meaning.members, codes))
    return _write(labels, source, Path(output), options, meaning, known.labels, forms)


def _write(
    path: Path,
    source: Path,
    output: Path,
    options: DicomOutOptions,
    meaning: Meaning,
    known: Labels,
    forms: frozenset[str],
) -> DicomOutResult:
    from medseg.delivery.dicom.source import check_source
    from medseg.io.dicom.elements.options import DicomOptions
    from medseg.io.dicom.elements.paths import parse_reference
    from medseg.io.dicom.listing.channel import choose_series
    from medseg.io.dicom.listing.find import find_series
    from medseg.io.dicom.listing.locate import series_at
    from medseg.io.dicom.pixels.volume import read_volume

    allowed = DicomOptions(options.resample_tilt, options.allow_gaps)
    if parse_reference(source) is not None:
        found = series_at(source)
    else:
        found = choose_series(find_series(source), "labels", options.series, allowed).series
    check_source(found.slices, found.title)
    volume = read_volume(found, allowed)
    segments = known.written_values if is_dicom(path) else {}
    answer = _on_grid(read_label(path, Reading(segments=segments), volume.image), volume.image, path)
    try:
        known.check_values(np.unique(answer.array).tolist(), str(path))
    except DataError as error:
        raise DataError(error.message, "--structures NAME=VALUE declares a structure; repeat it for each.") from None
    volumes = structure_volumes(answer, known)
    paths = object_paths(output, split_suffix(path)[0] if not is_dicom(path) else path.stem, forms)
    write_objects(volume.to_source(answer.array[0]), found, meaning, paths, volumes)
    written = {kind: one for kind, suffix in SUFFIXES.items() for one in paths if one.name.endswith(suffix)}
    return DicomOutResult(written, found.title, volumes)


def _declared(path: Path, options: DicomOutOptions) -> Answers:
    """What the values mean: as declared, else as labels.json beside the file says."""
    if options.structures:
        return Answers(declared_structures(options.structures))
    known = read_labels_file(path.parent)
    if known is None:
        raise PlanError(
            f"It is not known what the values in {path} mean: there is no {NAME} beside it.",
            "Declare them: --structures liver=1 --structures spleen=2",
        )
    return known


def _maker(path: Path, options: DicomOutOptions) -> Maker:
    """Who made the labels: as the user says, else the run of `medseg predict` that recorded this very file."""
    if options.manual and options.algorithm:
        raise PlanError("--manual and --algorithm exclude each other.")
    if options.manual:
        return Maker("MANUAL")
    if options.algorithm:
        name, _, version = options.algorithm.strip().rpartition(" ")
        return Maker("AUTOMATIC", name or version, version if name else None)
    made_by = _recorded(path)
    if made_by is None:
        raise PlanError(
            f"It is not known who made {path}: no {LEDGER_NAME} beside it has the file as it is now.",
            "--algorithm 'NAME VERSION' names the program, --manual says that a person drew or corrected it.",
        )
    return Maker("AUTOMATIC", "medseg", made_by.get("medseg"), made_by.get("model"))


def _recorded(path: Path) -> dict[str, str] | None:
    """What made a file, by the record of answers beside it; None if there is none, or the file has changed since."""
    record = path.parent / LEDGER_NAME
    if not record.is_file():
        return None
    try:
        made_by, *entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines() if line]
        hashes = [entry["files"][path.name] for entry in entries if path.name in entry.get("files", {})]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return made_by if hashes and hashes[-1] == content_hash(path) else None


def _on_grid(label: Image, grid: Image, path: Path) -> Image:
    """The labels on the grid of the series, whose axes may be turned against theirs.

    Raises:
        DataError: they lie on another grid.
    """
    if label.same_grid(grid) and label.spacing_known:
        return label
    turned = [_canonical(image) for image in (label, grid)]
    if not label.spacing_known or not turned[0].same_grid(turned[1]):
        raise DataError(
            f"{path} lies on another grid than the series: {describe_grid_difference(label, grid)}.",
            "Labels go onto the slices that they were made on: take the series that was segmented, or bring the labels "
            "to its grid.",
            "label grid",
        )
    return resample_nearest(label, grid, 0)


def _canonical(image: Image) -> Image:
    """The grid of an image with its axes along the canonical ones."""
    orientation = Orientation.of(image)
    sizes = image.shape_zyx
    affine = np.eye(4)
    affine[:3, 3] = image.affine[:3, 3]
    for place, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        step = image.affine[:3, 2 - axis]
        affine[:3, 2 - place] = -step if flip else step
        affine[:3, 3] += step * (sizes[axis] - 1) if flip else 0
    return Image(orientation.apply(image.array), affine, image.spacing_known)
