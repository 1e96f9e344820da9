"""Read RTSTRUCT and DICOM SEG as label maps: their structures by name to values, drawn on the grid of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.wording import counted
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import naming_damage, read_dataset, require_pydicom, without_warnings
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.kinds import LABEL_CLASSES, STRUCTURE_SET_CLASS
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.paths import file_at, is_dicom_file
from medseg.io.dicom.labels import rtstruct, segmentation
from medseg.io.dicom.labels.gaps import bridge_gaps, slices_to_bridge
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import series_grid
from medseg.io.values.named_masks import values_by_number
from medseg.io.values.overlay import Overlay
from medseg.plans.sections.reading import Reading

_MAX_NAMES = 8


def is_label_object(path: Path) -> bool:
    """Return whether a file is an RTSTRUCT or a SEG."""
    if not is_dicom_file(path):
        return False
    try:
        return values.text(read_dataset(File(path), tags=("SOPClassUID",)), "SOPClassUID") in LABEL_CLASSES
    except DataError:
        return False


def structure_names(file: File) -> list[str]:
    """Return the names of the structures of an RTSTRUCT or SEG, in the order of the file; pixels are not read.

    Raises:
        DataError: it cannot be read, or is neither.
    """
    require_pydicom()
    with without_warnings(), naming_damage(file):
        return [*_names_by_number(read_dataset(file), file.name).values()]


def draw_structures(
    file: File, reading: Reading, grid: Image | None
) -> tuple[Overlay, Image, dict[int, str], list[str]]:
    """Draw the structures of an RTSTRUCT or SEG on a grid; what an overlap means is not decided here.

    Args:
        file: the object.
        reading: which structures are meant (`segments`), and which fraction counts (`threshold`).
        grid: the grid of the scan; a SEG whose frames do not lie on its voxels comes on a grid of its own.

    Returns:
        The drawing, its grid, {value: name} in the order of `reading.segments`, and remarks in sentences.

    Raises:
        DataError: it cannot be read, or does not lie on the grid.
    """
    require_pydicom()
    with without_warnings(), naming_damage(file):
        dataset = read_dataset(file, pixels=True)
        names = _names_by_number(dataset, file.name)
        by_number = values_by_number(names, reading.segments)
        notes = []
        if names and not by_number:
            shown = ", ".join([*names.values()][:_MAX_NAMES]) + ", ..." * (len(names) > _MAX_NAMES)
            notes.append(f"{file.name} holds none of {', '.join(reading.segments)}; it holds {shown}")
        if values.text(dataset, "SOPClassUID") == STRUCTURE_SET_CLASS:
            if grid is None:
                raise DataError(
                    f"{file.name} is an RTSTRUCT, which has no voxels of its own, and its scan is not known.",
                    "Give it together with the scan that it was drawn on: in one folder for each case.",
                )
            rois = rtstruct.rois_of(dataset, by_number, file.name)
            overlay, remarks = rtstruct.fill_contours(rois, by_number, grid, file.name)
            drawn_on = grid
        else:
            fraction = segmentation.FRACTION if reading.threshold is None else reading.threshold
            overlay, drawn_on, remarks = segmentation.place_frames(dataset, by_number, grid, file.name, fraction)
    slices = slices_to_bridge(overlay, drawn_on, grid, file.name)
    if slices and (filled := bridge_gaps(overlay, slices)):
        remarks.append(
            f"{file.name}: on {counted(filled, 'slice')} that the scan lacks, structures are interpolated between "
            "their neighbours"
        )
    by_name = reading.segments or {names[number]: value for number, value in by_number.items()}
    by_value: dict[int, str] = {}
    for name, value in by_name.items():
        by_value.setdefault(value, name)
    return overlay, drawn_on, by_value, [*notes, *remarks]


def read_label_object(path: Path, reading: Reading, grid: Image | None) -> Image:
    """Read an RTSTRUCT or SEG as a label map (1, z, y, x), each structure by its value in `reading.segments`.

    Args:
        path: the file, or a member of a zip.
        reading: what the structures mean.
        grid: the grid of the scan; if it is None, an RTSTRUCT is drawn on the series that it refers to, which is
            searched for in the same folder.

    Returns:
        The label map, on the grid of the scan or, for a SEG without one, of its own frames.

    Raises:
        DataError: as `draw_structures`, or structures overlap and `reading.overlaps` does not say what that means.
    """
    require_pydicom()
    file = file_at(path)
    if file is None:
        raise DataError(f"There is no file {path}.", "Expected an RTSTRUCT or a DICOM SEG.")
    overlay, drawn_on, names, notes = draw_structures(file, reading, grid or _referenced_grid(file, reading))
    array = overlay.values(reading.overlaps, names, file.name)
    return Image(array[np.newaxis], drawn_on.affine, drawn_on.spacing_known, tuple(notes))


def _referenced_grid(file: File, reading: Reading) -> Image | None:
    """Return the grid of the series that an RTSTRUCT refers to; None for a SEG, and where that series is not there."""
    sop_class = values.text(read_dataset(file, tags=("SOPClassUID",)), "SOPClassUID")
    if sop_class != STRUCTURE_SET_CLASS:
        return None
    listing = find_series(file.path if file.member is not None else file.path.parent)
    path = file.full_path.absolute()
    referenced = next((object_.referenced_series for object_ in listing.objects if object_.file.full_path == path), ())
    series = [candidate for candidate in listing.series if candidate.uid in referenced]
    if len(series) != 1:  # of several echoes or b-values nothing says which one is meant
        return None
    return series_grid(series[0], DicomOptions.of(reading))


def _names_by_number(dataset: Any, source: str) -> dict[int, str]:
    sop_class = values.text(dataset, "SOPClassUID")
    if sop_class not in LABEL_CLASSES:
        raise DataError(
            f"{source} is a DICOM object, but neither a segmentation nor an RTSTRUCT: it is not a label map.",
            "Give one of these, or the label map in another format.",
        )
    return rtstruct.roi_names(dataset) if sop_class == STRUCTURE_SET_CLASS else segmentation.segment_names(dataset)
