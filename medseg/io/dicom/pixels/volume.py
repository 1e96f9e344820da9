"""A series as an image: the slices in order along their normal, on the grid that their positions make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.core.parallel import map_cases
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.geometry.options import DicomOptions
from medseg.io.dicom.geometry.resampling import Resampling, plan_resampling
from medseg.io.dicom.geometry.stacking import Geometry, lay_out
from medseg.io.dicom.listing.series import Series, Slice
from medseg.io.dicom.pixels.slice_pixels import Plane, read_planes
from medseg.io.formats.stack import usable_affine

_FLAGS = {"resample_tilt": "--resample-tilt", "allow_gaps": "--allow-gaps"}


@dataclass(frozen=True)
class DicomVolume:
    """A series that was read.

    Attributes:
        series: where it comes from.
        image: (1, z, y, x), affine to RAS+; slice k is `source_slices[k]`, rows run along y, columns along x.
        source_slices: for each slice of the image the one that it is, unchanged or shifted in its plane; None where
            it was interpolated between two.
        record: what was done to the values and the geometry, without identifiers.
        resampling: how the source's slices lie on the image's grid; None where they are its slices.
    """

    series: Series
    image: Image
    source_slices: tuple[Slice | None, ...]
    record: dict[str, Any]
    resampling: Resampling | None = None

    def to_source(self, labels: NDArray) -> NDArray:
        """Label values on the image's grid (z, y, x), brought back to the slices of the series (slice, row, column).

        Each pixel of the source takes the value of the voxel that its centre lies in; outside of the grid it is 0.
        Without resampling that is the array itself.
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
        series: one of a listing.
        options: which irregularities may be resampled away.

    Raises:
        DataError: the series has a problem that `options` do not allow, or a file is damaged or cannot be decoded.
    """
    options = options or DicomOptions()
    check_problems(series, options)
    geometry = lay_out(series.slices)
    assert geometry.affine is not None
    usable_affine(geometry.affine, series.container, "Its geometry")
    array, padding, record = _read(series)
    record["geometry"] = _geometry_record(series, geometry)
    notes = tuple(f"{series.container}: {series.title}: {note}" for note in series.notes)
    image = Image(array[None], geometry.affine, geometry.spacing_known, notes)
    resampling = plan_resampling(series, geometry, options)
    if resampling is None:
        return DicomVolume(series, image, series.slices, record)
    outside = _outside(series, array, padding)
    try:
        resampled, filled = resampling.apply(array, outside)
    except MemoryError:
        told = f"{series.container}: {series.title} needs more memory than there is to be resampled."
        raise DataError(told, "Close other programs.") from None
    record["resampled"] = {**resampling.record, "value outside": outside, "voxels outside": filled}
    image = replace(image, array=resampled[None], affine=resampling.affine)
    sources = tuple(None if number is None else series.slices[number] for number in resampling.same)
    return DicomVolume(series, image, sources, record, resampling)


def check_problems(series: Series, options: DicomOptions) -> None:
    """Refuse a series that is no volume.

    Raises:
        DataError: what is wrong, with which slices, and the option that accepts it, if there is one.
    """
    open_problems = [one for one in series.problems if one.option is None or not getattr(options, one.option)]
    if not open_problems:
        return
    told = "; ".join(one.message for one in open_problems)
    if all(one.option is not None for one in open_problems):
        flags = " and ".join(dict.fromkeys(_FLAGS[one.option] for one in open_problems if one.option))
        hint = f"{flags} resamples it to a regular grid, and records that; or choose another series."
    else:
        hint = "Choose another series, or export it again from the scanner or archive."
    raise DataError(f"{series.container}: {series.title} cannot be read as a volume: {told}.", hint, "dicom geometry")


def _read(series: Series) -> tuple[NDArray, NDArray[np.bool_] | None, dict[str, Any]]:
    """(z, y, x), where padding is, and what was done."""
    by_file: dict[File, list[int]] = defaultdict(list)
    for number, one in enumerate(series.slices):
        by_file[one.file].append(number)
    planes: dict[int, Plane] = {}

    def read(numbers: Sequence[int]) -> list[Plane]:
        return read_planes(series.slices[numbers[0]].file, [series.slices[number] for number in numbers])

    for numbers, found in map_cases(read, by_file.values()):
        if isinstance(found, MedsegError):
            raise found
        planes |= dict(zip(numbers, found, strict=True))
    ordered = [planes[number] for number in range(len(series.slices))]
    array = _joined([one.array for one in ordered])
    padding = None
    if any(one.padding is not None for one in ordered):
        empty = np.zeros(ordered[0].array.shape, dtype=bool)
        padding = np.stack([empty if one.padding is None else one.padding for one in ordered])
    record = _values_record(series, ordered)
    if padding is not None:
        value = _outside(series, array, padding)
        array[padding] = value
        record["padding"] = {"voxels": int(padding.sum()), "replaced by": value}
    record["type"] = str(array.dtype)
    return array, padding, record


def _joined(planes: list[NDArray]) -> NDArray:
    """Planes as one array, of the smallest type that holds the values of all."""
    array = np.empty((len(planes), *planes[0].shape), np.result_type(*planes))
    for number, plane in enumerate(planes):
        array[number] = plane
    return array


def _outside(series: Series, array: NDArray, padding: NDArray[np.bool_] | None) -> float | int:
    """The value that stands for nothing: the lowest one measured in CT, where it is air; 0 elsewhere."""
    if series.modality != "CT":
        return 0
    measured = array if padding is None else array[~padding]
    return (measured if measured.size else array).min().item()


def _values_record(series: Series, planes: list[Plane]) -> dict[str, Any]:
    rescales = {one.rescale for one in series.slices}
    record: dict[str, Any] = {}
    if len(rescales) > 1:
        record["rescale"] = "differs from slice to slice"
    elif rescales != {(1.0, 0.0)}:
        slope, intercept = next(iter(rescales))
        record["rescale"] = {"slope": slope, "intercept": intercept}
    for plane in planes:
        record |= plane.done
    return record


def _geometry_record(series: Series, geometry: Geometry) -> dict[str, Any]:
    return {
        "slices": len(series.slices),
        "plane": geometry.plane,
        "spacing_zyx_mm": [round(value, 6) for value in geometry.spacing_zyx],
        "lean_xy": [round(value, 6) for value in geometry.lean],
        "problems": [one.message for one in series.problems],
    }
