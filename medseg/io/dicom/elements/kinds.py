"""SOP classes: which DICOM objects are images that may make a volume, which are label maps, and what the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.io.dicom.elements import values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORAGE = "1.2.840.10008.5.1.4.1.1."
SEGMENTATION_CLASSES = (f"{_STORAGE}66.4", f"{_STORAGE}66.7")
"""SOP classes of segmentations: binary or fractional, and label maps (PS3.4 B.5)."""
STRUCTURE_SET_CLASS = f"{_STORAGE}481.3"
"""SOP class of an RT Structure Set."""
LABEL_CLASSES = (*SEGMENTATION_CLASSES, STRUCTURE_SET_CLASS)
"""SOP classes of the objects that are read as label maps."""

DAMAGED = "damaged"
"""Reasons begin with this for files that should be part of a series and cannot be read."""
COLOUR = "colour image"
"""The reason for which images in colour are left out."""

_OBJECTS = {
    "1.2.840.10008.1.3.10": "DICOMDIR",
    f"{_STORAGE}66.4": "segmentation",
    f"{_STORAGE}66.7": "segmentation",
    f"{_STORAGE}66.5": "surface segmentation",
    f"{_STORAGE}66.6": "tractography",
    f"{_STORAGE}66.1": "registration",
    f"{_STORAGE}66.2": "fiducials",
    f"{_STORAGE}66.3": "registration",
    f"{_STORAGE}66": "raw data",
    f"{_STORAGE}67": "real world value mapping",
    f"{_STORAGE}481.2": "RT dose",
    f"{_STORAGE}481.3": "RT structure set",
    f"{_STORAGE}481.5": "RT plan",
    f"{_STORAGE}481.8": "RT plan",
    f"{_STORAGE}88.59": "key object selection",
    f"{_STORAGE}4.2": "MR spectroscopy",
}
"""SOP classes that are not images of a volume, by UID (PS3.4 B.5)."""
_SECONDARY_CAPTURE = f"{_STORAGE}7"
_FAMILIES = {
    _SECONDARY_CAPTURE: "secondary capture",
    f"{_STORAGE}88": "structured report",
    f"{_STORAGE}11": "presentation state",
    f"{_STORAGE}104": "encapsulated document",
    f"{_STORAGE}9": "waveform",
    f"{_STORAGE}77.1": "colour picture or video",
    f"{_STORAGE}78": "ophthalmic measurement",
}
"""The same for all SOP classes whose UIDs begin so."""
_RGB_SAMPLES = 3
_GREY = ("MONOCHROME1", "MONOCHROME2", "")  # PhotometricInterpretation, PS3.3 C.7.6.3.1.2
_LOCALIZERS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
"""Value 3 of ImageType for CT is LOCALIZER (PS3.3 C.8.2.1.1.1); vendors write the other words."""


PROJECTIONS = ("CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF", "XC")
"""Modalities of radiographs and pictures, which show no section and whose values are not a quantity."""
_SECTION_CLASSES = tuple(
    f"{_STORAGE}{end}"
    for end in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "128", "128.1", "130", "13.1.1", "13.1.2", "13.1.3")
)
"""SOP classes of CT, MR, PET and tomosynthesis (PS3.4 B.5), which must say where they lie (PS3.3 C.7.6.2)."""


def is_section(dataset: Dataset) -> bool:
    """Return whether an image shows a section of the patient, which cannot be placed without a position.

    Args:
        dataset: the header of a file.
    """
    is_projection = values.text(dataset, "Modality").upper() in PROJECTIONS
    return values.text(dataset, "SOPClassUID") in _SECTION_CLASSES and not is_projection


def why_no_slice(dataset: Dataset) -> str | None:
    """Return why an object cannot be a slice of a volume, in two or three words; None for an image that may be one.

    Args:
        dataset: the header of a file, with its file meta information.
    """
    meta = getattr(dataset, "file_meta", None)
    # a DICOMDIR states its class in the file meta information only (PS3.10 8.6)
    meta_class = "" if meta is None else values.text(meta, "MediaStorageSOPClassUID")
    sop_class = values.text(dataset, "SOPClassUID") or meta_class
    if sop_class in _OBJECTS:
        return _OBJECTS[sop_class]
    family = next((name for uid, name in _FAMILIES.items() if sop_class == uid or sop_class.startswith(f"{uid}.")), "")
    modality = values.text(dataset, "Modality").upper()
    if family and not (is_secondary_capture(sop_class) and (_says_where_it_lies(dataset) or modality in PROJECTIONS)):
        return family
    if not sop_class:
        return f"{DAMAGED}: its header breaks off" if meta else "no DICOM"
    rows, columns = values.integer(dataset, "Rows"), values.integer(dataset, "Columns")
    if not rows or not columns or not values.integer(dataset, "BitsAllocated"):
        return f"{DAMAGED}: an image without a size" if _is_image(sop_class) or _is_image(meta_class) else "no image"
    if not values.text(dataset, "SeriesInstanceUID"):
        return f"{DAMAGED}: an image without SeriesInstanceUID"
    photometric = values.text(dataset, "PhotometricInterpretation").upper()
    several_channels = (values.integer(dataset, "SamplesPerPixel") or 1) > 1
    if (several_channels or photometric not in _GREY) and not may_be_grey(dataset):
        return COLOUR
    image_type = [part.strip().upper() for part in values.text(dataset, "ImageType").split("\\")]
    return "localizer" if any(word in image_type for word in _LOCALIZERS) else None


def may_be_grey(dataset: Dataset) -> bool:
    """Return whether an image has three channels, which may be equal: some programs store grey images so.

    Args:
        dataset: the header of a file.
    """
    photometric = values.text(dataset, "PhotometricInterpretation").upper()
    return values.integer(dataset, "SamplesPerPixel") == _RGB_SAMPLES and photometric.startswith(("RGB", "YBR_"))


def is_secondary_capture(sop_class: str) -> bool:
    """Return whether a SOP class is that of secondary captures, which workstations make of other images."""
    return sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")


def _says_where_it_lies(dataset: Dataset) -> bool:
    """Return whether an image has position, orientation and spacing, which no screenshot has.

    Workstations store derived maps as secondary captures on the grid of the scan.
    """
    if values.items(dataset, "PerFrameFunctionalGroupsSequence"):
        return True
    needed = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    return all(values.numbers(dataset, keyword, count) for keyword, count in needed.items())


def _is_image(sop_class: str) -> bool:
    from pydicom.uid import UID

    return "Image Storage" in UID(sop_class).name
