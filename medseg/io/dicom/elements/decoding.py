"""Decode the pixels of one slice to the words that are stored, before what they mean is applied (`pixels`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.kinds import COLOUR
from medseg.io.dicom.elements.series import Slice
from medseg.io.dicom.elements.uids import hide_uids

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_PIXELS = 1 << 31


def decode(dataset: Dataset, slice_: Slice) -> NDArray:
    """Return the words of the pixels (row, column), signed or not, with the bits that are not the image's.

    Three equal channels are one.

    Args:
        dataset: the file, with its pixels.
        slice_: the plane of it that is meant.

    Raises:
        DataError: there are no pixels, their size is absurd, or their channels differ: the image is in colour.
        Exception: whatever a decoder raises for damaged pixels.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if slice_.rows * slice_.columns > _MAX_PIXELS:
        raise DataError(
            f"{slice_.name} declares {slice_.rows} x {slice_.columns} pixels: it is damaged.", kind="damaged"
        )
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DataError(f"{file_name(slice_)} holds no pixels.", "It was cut off, or is a header only.", "damaged")
    syntax = UID(slice_.transfer_syntax) if slice_.transfer_syntax else None
    if syntax is None:  # no file meta information: pydicom guessed the encoding
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    # channels are brought to red, green and blue first: in YBR grey is a luminance beside two constants
    options: Any = {} if slice_.has_channels else {"raw": True, "correct_unused_bits": False}
    decoded, _ = get_decoder(syntax).as_array(dataset, index=slice_.frame or 0, **options)
    array = np.asarray(decoded)
    if slice_.has_channels:
        array = array.reshape(slice_.rows, slice_.columns, 3)
        if (array != array[..., :1]).any():
            raise DataError(
                f"{file_name(slice_)} is in colour: its three channels differ.",
                "Expected a grey image; export it as one, or convert it to a picture format for a model of colours.",
                COLOUR,
            )
        array = array[..., 0]
    array = array.reshape(slice_.rows, slice_.columns)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f":
        return array
    signed = bool(values.integer(dataset, "PixelRepresentation"))
    return array.view(np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}"))


def file_name(slice_: Slice) -> str:
    """Return the name of a slice's file in messages; where files are named by UIDs, that of the slice."""
    return slice_.file.name if hide_uids(slice_.file.name) == slice_.file.name else slice_.name
