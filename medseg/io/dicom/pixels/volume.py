"""Read a series as an image: its slices in order along their normal, on the grid that their positions make."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.core.machine.parallel import map_cases
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.modality import RECORDED
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Series, Slice
from medseg.io.dicom.geometry.resampling import Resampling, plan_resampling
from medseg.io.dicom.geometry.stacking import Geometry, stack_geometry
from medseg.io.dicom.listing.locate import series_at
from medseg.io.dicom.pixels.slice_pixels import SlicePixels, read_pixels
from medseg.io.formats.stack import Stack, usable_affine
from medseg.plans.sections.reading import Reading

_VOXEL_BYTES = 4

_NOT_RESCALED = (
    "a CT without RescaleIntercept and without negative values: they are read as they are stored, and are probably no "
    "Hounsfield units (air -1000, water 0)"
)


@dataclass(frozen=True)
class DicomVolume:
    """A series that was read.

    Attributes:
        series: where it comes from.
        image: (1, z, y, x), affine to RAS+; rows run along y, columns along x.
        source_slices: for each slice of the image the source slice that it is, unchanged or shifted in its plane; None
            where it was interpolated between two.
        record: what was done to the values and the geometry, without identifiers.
        resampling: how the source's slices lie on the image's grid; None where they are its slices.
    """

    series: Series
    image: Image
    source_slices: tuple[Slice | None, ...]
    record: dict[str, Any]
    resampling: Resampling | None = None

    def to_source(self, labels: NDArray) -> NDArray:
        """Return label values on the image's grid (z, y, x), brought back to the slices of the series.

        Each pixel of the source takes the value of the voxel that its centre lies in. Without resampling that is the
        array itself.

        Raises:
            ValueError: the labels have another shape than the image.
        """
        if labels.shape != self.image.shape_zyx:
            raise ValueError(f"labels of shape {labels.shape} do not fit the grid {self.image.shape_zyx}")
        return labels if self.resampling is None else self.resampling.to_source(labels)


def read_volume(series: Series, options: DicomOptions | None = None) -> DicomVolume:
    """Read the pixels of a series, several files at a time.

    Values are those of the modality (HU in CT): stored bits, then modality LUT or rescale of each slice. Whole numbers
    stay integers of the smallest type that holds them; else float32. Padding gets the lowest value that was measured
    (CT), or 0.

    Args:
        series: a series of a listing.
        options: which irregularities may be resampled away.

    Returns:
        The voxels with their geometry, and what was done to them.

    Raises:
        DataError: the series has a problem that `options` do not allow, or a file is damaged or cannot be decoded.
    """
    options = options or DicomOptions()
    series.check(options)
    geometry = stack_geometry(series.slices)
    assert geometry.affine is not None
    usable_affine(geometry.affine, series.container, "Its geometry")
    array, padding, record = _read_slices(series)
    record["geometry"] = _geometry_record(series, geometry)
    remarks = [*series.notes, *([_NOT_RESCALED] if _is_not_rescaled(series, array) else [])]
    notes = tuple(f"{series.container}: {series.title}: {note}" for note in remarks)
    image = Image(array[None], geometry.affine, geometry.spacing_known, notes)
    resampling = plan_resampling(series, geometry, options)
    if resampling is None:
        return DicomVolume(series, image, series.slices, record)
    background = _background(series, array, padding)
    try:
        resampled, uncovered = resampling.apply(array, background)
    except MemoryError:
        message = f"{series.container}: {series.title} needs more memory than there is to be resampled."
        raise DataError(message, "Close other programs.") from None
    record["resampled"] = {**resampling.record, "value outside": background, "voxels outside": uncovered}
    image = replace(image, array=resampled[None], affine=resampling.affine)
    sources = tuple(None if number is None else series.slices[number] for number in resampling.source_slices)
    return DicomVolume(series, image, sources, record, resampling)


def read_series_stack(path: Path, reading: Reading) -> Stack:
    """Read the voxels of the series that a path names, as the readers of other formats return them.

    Args:
        path: `FOLDER#KEY` or a DICOM file.
        reading: what a plan allows to be done to irregular series.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: there is no such series, it is not a volume, or its pixels cannot be read.
    """
    series = series_at(path)
    volume = read_volume(series, DicomOptions.of(reading))
    image, record = volume.image, {RECORDED: series.modality, **volume.record}
    return Stack(image.array[None], image.affine, image.spacing_known, notes=image.notes, record=record)


def series_grid(series: Series, options: DicomOptions) -> Image:
    """Return the grid that a series is read on, with an array that takes no memory; no pixels are read.

    Args:
        series: a series of a listing.
        options: which irregularities may be resampled away.

    Raises:
        DataError: it is not a volume.
    """
    series.check(options)
    geometry = stack_geometry(series.slices)
    resampling = plan_resampling(series, geometry, options)
    affine = geometry.affine if resampling is None else resampling.affine
    shape = series.shape_zyx if resampling is None else resampling.shape_zyx
    assert affine is not None
    record = {} if resampling is None else {"resampled": resampling.record}
    return Image(np.broadcast_to(np.uint8(0), (1, *shape)), affine, geometry.spacing_known, record=record)


def series_bytes(path: Path) -> int:
    """Return about how many bytes the series that a path names takes once it is read.

    Raises:
        DataError: there is none.
    """
    return math.prod(series_at(path).shape_zyx) * _VOXEL_BYTES


def _read_slices(series: Series) -> tuple[NDArray, NDArray[np.bool_] | None, dict[str, Any]]:
    """Return the values (z, y, x), where padding is, and what was done."""
    by_file: dict[File, list[int]] = defaultdict(list)
    for number, slice_ in enumerate(series.slices):
        by_file[slice_.file].append(number)
    by_number: dict[int, SlicePixels] = {}

    def read(numbers: Sequence[int]) -> list[SlicePixels]:
        return read_pixels(series.slices[numbers[0]].file, [series.slices[number] for number in numbers])

    for numbers, slice_pixels in map_cases(read, by_file.values()):
        if isinstance(slice_pixels, MedsegError):
            raise slice_pixels
        by_number |= dict(zip(numbers, slice_pixels, strict=True))
    planes = [by_number[number] for number in range(len(series.slices))]
    array = _join([plane.array for plane in planes])
    padding = None
    if any(plane.padding is not None for plane in planes):
        nowhere = np.zeros(planes[0].array.shape, dtype=bool)
        padding = np.stack([nowhere if plane.padding is None else plane.padding for plane in planes])
    record = _values_record(series, planes)
    if padding is not None and _lies_within(array, padding):
        record["padding"] = "ignored: its value lies within those that were measured"
        padding = None
    if padding is not None:
        value = _background(series, array, padding)
        array[padding] = value
        record["padding"] = {"voxels": int(padding.sum()), "replaced by": value}
    record["type"] = str(array.dtype)
    return array, padding, record


def _is_not_rescaled(series: Series, array: NDArray) -> bool:
    """Return whether a CT does not say how its numbers become Hounsfield units, and has none that air has."""
    # a slope alone only says in which steps the numbers are stored
    stated = any(slice_.rescale_elements - {"RescaleSlope"} for slice_ in series.slices)
    return series.modality == "CT" and not stated and bool(array.min() >= 0)


def _lies_within(array: NDArray, padding: NDArray[np.bool_]) -> bool:
    """Return whether voxels have smaller and larger values than the padding's: it may then be a measured value, too.

    PixelPaddingValue is meant to lie outside of what is measured (PS3.3 C.7.5.1.1.2). Writers leave it at 0 where
    pixels are signed: 0 HU is water.
    """
    measured = array[~padding]
    padded = array[padding]
    return bool(measured.size and measured.min() < padded.min() and measured.max() > padded.max())


def _join(planes: Sequence[NDArray]) -> NDArray:
    """Return planes as one array, of the smallest type that holds the values of all."""
    array = np.empty((len(planes), *planes[0].shape), np.result_type(*planes))
    for number, plane in enumerate(planes):
        array[number] = plane
    return array


def _background(series: Series, array: NDArray, padding: NDArray[np.bool_] | None) -> float | int:
    """Return the value that stands for no measurement: in CT the lowest one measured, which is air; 0 elsewhere."""
    if series.modality != "CT":
        return 0
    measured = array if padding is None else array[~padding]
    return (measured if measured.size else array).min().item()


def _values_record(series: Series, planes: Sequence[SlicePixels]) -> dict[str, Any]:
    rescales = {slice_.rescale for slice_ in series.slices}
    record: dict[str, Any] = {}
    if len(rescales) > 1:
        record["rescale"] = "differs from slice to slice"
    elif rescales != {(1.0, 0.0)}:
        slope, intercept = next(iter(rescales))
        record["rescale"] = {"slope": slope, "intercept": intercept}
    for plane in planes:
        record |= plane.record
    with_table = [bool(plane.record.get("modality LUT")) for plane in planes]
    if any(with_table) and not all(with_table):
        name = series.slices[with_table.index(False)].name
        raise DataError(
            f"{series.container}: {series.title}: some slices have a modality LUT and others, such as {name}, have "
            "none: their values do not mean the same.",
            "Choose another series, or export it again from the scanner or archive.",
            "dicom geometry",
        )
    if unit := series.slices[0].unit:
        record["unit"] = unit
    return record


def _geometry_record(series: Series, geometry: Geometry) -> dict[str, Any]:
    return {
        "slices": len(series.slices),
        "plane": geometry.plane,
        "spacing_zyx_mm": [round(value, 6) for value in geometry.spacing_zyx_mm],
        "lean_xy": [round(value, 6) for value in geometry.shear_xy],
        "problems": [problem.message for problem in series.problems],
    }
