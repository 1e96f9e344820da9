"""Which DICOM objects are image planes that may make a volume, and what the others are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.io.dicom.elements import values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1."
SEGMENTATION = (f"{STORAGE}66.4", f"{STORAGE}66.7")
"""SOP classes of segmentations: binary or fractional, and label maps."""
STRUCTURE_SET = f"{STORAGE}481.3"

SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
"""What names of DICOM files end in, if in anything."""
DAMAGED = "damaged"
"""Reasons begin with this for files that should be part of a series, and cannot be read."""
_OBJECTS = {
    "1.2.840.10008.1.3.10": "DICOMDIR",
    f"{STORAGE}66.4": "segmentation",
    f"{STORAGE}66.7": "segmentation",
    f"{STORAGE}66.5": "surface segmentation",
    f"{STORAGE}66.6": "tractography",
    f"{STORAGE}66.1": "registration",
    f"{STORAGE}66.2": "fiducials",
    f"{STORAGE}66.3": "registration",
    f"{STORAGE}66": "raw data",
    f"{STORAGE}67": "real world value mapping",
    f"{STORAGE}481.2": "RT dose",
    f"{STORAGE}481.3": "RT structure set",
    f"{STORAGE}481.5": "RT plan",
    f"{STORAGE}481.8": "RT plan",
    f"{STORAGE}88.59": "key object selection",
    f"{STORAGE}4.2": "MR spectroscopy",
}
"""SOP classes that are no images, by UID (DICOM PS3.4, B.5)."""
_FAMILIES = {
    f"{STORAGE}7": "secondary capture",
    f"{STORAGE}88": "structured report",
    f"{STORAGE}11": "presentation state",
    f"{STORAGE}104": "encapsulated document",
    f"{STORAGE}9": "waveform",
    f"{STORAGE}77.1": "colour picture or video",
    f"{STORAGE}78": "ophthalmic measurement",
}
"""The same for whole branches of UIDs."""
_META_CLASS = "MediaStorageSOPClassUID"  # a DICOMDIR has no other
_GREY = ("MONOCHROME1", "MONOCHROME2", "")


def left_out_because(found: Dataset) -> str | None:
    """Why an object is no part of a volume, in two or three words; None for an image plane that may be."""
    meta = getattr(found, "file_meta", None)
    class_of_file = "" if meta is None else values.text(meta, _META_CLASS)
    sop_class = values.text(found, "SOPClassUID") or class_of_file
    if sop_class in _OBJECTS:
        return _OBJECTS[sop_class]
    family = next((name for uid, name in _FAMILIES.items() if sop_class == uid or sop_class.startswith(f"{uid}.")), "")
    if family:
        return family
    if not sop_class:
        return f"{DAMAGED}: its header breaks off" if meta else "no DICOM"
    rows, columns = values.whole(found, "Rows"), values.whole(found, "Columns")
    if not rows or not columns or not values.whole(found, "BitsAllocated"):
        return f"{DAMAGED}: an image without a size" if _is_image(sop_class) or _is_image(class_of_file) else "no image"
    if not values.text(found, "SeriesInstanceUID"):
        return f"{DAMAGED}: an image without SeriesInstanceUID"
    photometric = values.text(found, "PhotometricInterpretation").upper()
    if (values.whole(found, "SamplesPerPixel") or 1) > 1 or photometric not in _GREY:
        return "colour image"
    image_type = [part.strip().upper() for part in values.text(found, "ImageType").split("\\")]
    if "LOCALIZER" in image_type or "SCOUT" in image_type or "TOPOGRAM" in image_type:
        return "localizer"
    return None


def _is_image(sop_class: str) -> bool:
    from pydicom.uid import UID

    return "Image Storage" in UID(sop_class).name
