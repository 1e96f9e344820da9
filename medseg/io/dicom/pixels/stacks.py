"""DICOM where others read a file: a path to its voxels, or to the header of the series that it names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.dicom.elements.paths import file_of
from medseg.io.dicom.geometry.options import DicomOptions
from medseg.io.dicom.geometry.resampling import plan_resampling
from medseg.io.dicom.geometry.stacking import lay_out
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.reference import parse_reference, series_of
from medseg.io.dicom.listing.series import Series
from medseg.io.dicom.pixels.volume import check_problems, read_volume
from medseg.io.formats.stack import Stack
from medseg.plans.sections import Reading

_BYTES = 4


def options_of(reading: Reading) -> DicomOptions:
    """What a plan allows to be done to irregular series."""
    return DicomOptions(resample_tilt=reading.resample_tilt, allow_gaps=reading.allow_gaps)


def series_at(path: Path) -> Series:
    """The series that a path names, or the only one in a file; headers are read, no pixels.

    Raises:
        DataError: there is none, or a file holds several.
    """
    reference = parse_reference(path)
    if reference is not None:
        return series_of(reference)
    file = file_of(path)
    if file is None or file.member is not None:
        raise DataError(
            f"There is no DICOM series {path}.", "Name one as FOLDER#KEY; `medseg series FOLDER` lists them."
        )
    listing = find_series(file.path)
    if len(listing.series) != 1:
        why = ", ".join(listing.counts()) or f"it holds {len(listing.series)} series"
        raise DataError(f"{path} is a DICOM file, but no image that can be read by itself: {why}.")
    return listing.series[0]


def read(path: Path, reading: Reading) -> Stack:
    """The voxels of a series.

    Raises:
        DataError: it is no volume, or its pixels cannot be read.
    """
    volume = read_volume(series_at(path), options_of(reading))
    image = volume.image
    notes = (*volume.series.notes, *image.notes)
    return Stack(image.array[None], image.affine, image.spacing_known, notes=notes, record=volume.record)


def grid_of(series: Series, options: DicomOptions) -> Image:
    """The grid that a series is read on, with an array that takes no memory; no pixels are read.

    Raises:
        DataError: it is no volume.
    """
    check_problems(series, options)
    geometry = lay_out(series.slices)
    resampling = plan_resampling(series, geometry, options)
    affine = geometry.affine if resampling is None else resampling.affine
    shape = series.shape_zyx if resampling is None else resampling.shape_zyx
    assert affine is not None
    return Image(np.broadcast_to(np.uint8(0), (1, *shape)), affine, geometry.spacing_known)


def series_size(path: Path) -> int:
    """About how many bytes a series takes once it is read.

    Raises:
        DataError: there is none.
    """
    return math.prod(series_at(path).shape_zyx) * _BYTES
