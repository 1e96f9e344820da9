"""Write the picture of an answer as a Secondary Capture (PS3.3 A.8.1), for viewers that show no segmentations."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from medseg.delivery.dicom.common import RESEARCH, Maker, character_set, common_header, explaining_failure
from medseg.delivery.dicom.source import Source

if TYPE_CHECKING:
    from highdicom.sc import SCImage

    from medseg.delivery.pictures.overlay import Overlay

_ANY = ("L", "P")
"""Directions that highdicom asks for where they are not known, and are then left empty."""


def make_sheet(picture: Overlay, source: Source, maker: Maker) -> SCImage:
    """Make a Secondary Capture in memory, in the study of the source.

    Args:
        picture: what `draw_overlay` returned.
        source: the series that it shows.
        maker: who made the labels.

    Returns:
        The picture, as a data set of pydicom.

    Raises:
        DataError: it cannot be made of the source's header.
    """
    import highdicom as hd
    from PIL import Image as pillow
    from pydicom.uid import ExplicitVRLittleEndian

    pixels = np.asarray(pillow.open(io.BytesIO(picture.png)).convert("RGB"))
    # an image that does not say where it lies is drawn as it is stored, and nothing is known of its sides
    directions = picture.directions if source.has_positions else None
    header = common_header(source.first, "OT", maker)
    with explaining_failure("A secondary capture"):
        sheet = hd.sc.SCImage.from_ref_dataset(
            ref_dataset=source.first,
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=directions or _ANY,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **header,
        )
        if directions is None:
            sheet.PatientOrientation = []  # of type 2C: it may be unknown
        characters = character_set(source.first, [])
        if characters is not None:
            sheet.SpecificCharacterSet = characters
        sheet.Laterality = ""  # of type 2C: it may be unknown
        sheet.ImageComments = f"{RESEARCH}. Not for diagnosis."
        sheet.BurnedInAnnotation = "NO"  # it names structures, and no patient
        return sheet
