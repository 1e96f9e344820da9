"""DICOM in: which series a folder holds, whether each is a volume, and its voxels with their geometry.

    listing = find_series(Path("study"))
    series, = choose(listing, "Modality=CT,SeriesDescription~thorax")
    volume = read_volume(series)            # .image, .source_slices, .record, .to_source(labels)
    path = reference_to(series).path        # study#3f2a90c1d4, one path for a case to name

Nothing is read from InstanceNumber or SliceThickness that positions say. pydicom is imported when a function is called.
"""

from __future__ import annotations

from medseg.io.dicom.choose import choose
from medseg.io.dicom.dataset import read_dataset
from medseg.io.dicom.files import File
from medseg.io.dicom.find import find_series
from medseg.io.dicom.options import DicomOptions
from medseg.io.dicom.reference import Reference, instances_of, parse_reference, reference_to, series_of
from medseg.io.dicom.series import DicomObject, LeftOut, Listing, Problem, Series, Slice
from medseg.io.dicom.volume import DicomVolume, check_problems, read_volume

__all__ = [
    "DicomObject",
    "DicomOptions",
    "DicomVolume",
    "File",
    "LeftOut",
    "Listing",
    "Problem",
    "Reference",
    "Series",
    "Slice",
    "check_problems",
    "choose",
    "find_series",
    "instances_of",
    "parse_reference",
    "read_dataset",
    "read_volume",
    "reference_to",
    "series_of",
]
