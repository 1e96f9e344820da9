"""Pixels of one slice, as they are meant: stored bits, then the modality's transformation, padding told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import quiet, read_dataset, why
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.uids import hide_uids
from medseg.io.dicom.listing.series import Slice
from medseg.io.dicom.pixels.packing import OTHER_DECODERS, missing_decoder

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROJECTIONS = ("CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF", "XC")
"""Modalities whose values are no quantity: MONOCHROME1 ones are inverted, so that the same tissue is bright in all."""
_BY_SAMPLE = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203))
"""Transfer syntaxes of JPEG and its successors: they pack samples; RLE packs bytes, whatever is in them."""
_MOST_PIXELS = 1 << 31


@dataclass(frozen=True)
class Plane:
    """The pixels of a slice.

    Attributes:
        array: (y, x); integers where the transformation keeps them whole, else float32.
        padding: where pixels are padding and no measurement; None where there is none.
        done: what was done to the stored values, by name, for the record.
    """

    array: NDArray
    padding: NDArray[np.bool_] | None
    done: dict[str, Any]


def read_planes(file: File, slices: Sequence[Slice]) -> list[Plane]:
    """The pixels of some slices of one file, which is opened once.

    Raises:
        DataError: naming the file: its pixels are absent, damaged or cut off, or no decoder is installed.
    """
    syntax, name = slices[0].transfer_syntax, _called(slices[0])
    missing = missing_decoder(syntax)
    if missing is not None:
        raise DataError(f"{name}: {missing}.", kind="no decoder")
    found = read_dataset(file, pixels=True)
    with quiet():
        try:
            return [_plane(found, one) for one in slices]
        except MedsegError:
            raise
        except MemoryError:
            raise DataError(f"{name} needs more memory than there is.", "Close other programs.") from None
        except Exception as error:  # decoders raise a dozen unrelated types
            if "does not support" in str(error):
                told = f"The pixels of {name} are packed in a way that no installed decoder reads: {why(error)}"
                raise DataError(told, OTHER_DECODERS, "no decoder") from None
            raise DataError(
                f"The pixels of {name} cannot be read: {why(error).removesuffix('.')}.",
                "The file is damaged or was cut off: copy or send it again.",
                "damaged",
            ) from None


def _called(one: Slice) -> str:
    """The file of a slice for messages; where UIDs are names, as the slice is called."""
    return one.file.name if hide_uids(one.file.name) == one.file.name else one.name


def _plane(found: Dataset, one: Slice) -> Plane:
    raw = _decoded(found, one)
    stored = raw if raw.dtype.kind == "f" else _own_bits(raw, found)
    done: dict[str, Any] = {}
    padding = _padding(found, stored)
    if padding is None and stored is not raw:
        padding = _padding(found, raw)  # a padding value may use the bits that are cut
    array = _meant(found, one, _inverted(found, stored, done), done)
    return Plane(array, padding, done)


def _decoded(found: Dataset, one: Slice) -> NDArray:
    """Stored values (y, x), signed or not, with bits that are not the image's."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if one.rows * one.columns > _MOST_PIXELS:
        raise DataError(f"{one.name} declares {one.rows} x {one.columns} pixels: it is damaged.", kind="damaged")
    keyword = next((name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in found), None)
    if keyword is None:
        raise DataError(f"{_called(one)} holds no pixels.", "It was cut off, or is a header only.", "damaged")
    syntax = UID(one.transfer_syntax) if one.transfer_syntax else None
    if syntax is None:
        implicit, little = found.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        found.file_meta.TransferSyntaxUID = syntax
    decoder = get_decoder(syntax)
    options: Any = {"raw": True, "correct_unused_bits": False}
    decoded, _ = decoder.as_array(found, index=one.frame or 0, **options)
    array = np.asarray(decoded).reshape(one.rows, one.columns)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f":
        return array
    signed = bool(values.whole(found, "PixelRepresentation"))
    return array.view(np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}"))


def _own_bits(array: NDArray, found: Dataset) -> NDArray:
    """Integers of which only `BitsStored` bits up to `HighBit` count, with their sign."""
    width = array.dtype.itemsize * 8
    stored = values.whole(found, "BitsStored") or width
    high = values.whole(found, "HighBit")
    high = stored - 1 if high is None else high
    if not 0 < stored <= width or not stored - 1 <= high < width:
        raise ValueError(f"{stored} bits up to bit {high} do not fit into {width} bits")
    if stored == width:
        return array
    if found.file_meta.TransferSyntaxUID in _BY_SAMPLE:
        return _in_range(array, stored)
    return (array << (width - 1 - high)) >> (width - stored)


def _in_range(array: NDArray, stored: int) -> NDArray:
    """Samples of a codec, which holds no other bits: lossy ones that overshoot are clipped, not wrapped round."""
    if array.dtype.kind == "u":
        return array.clip(0, (1 << stored) - 1)
    half = 1 << (stored - 1)
    if array.min() >= 0 and array.max() >= half:  # a decoder that knows of no signs
        return np.where(array >= half, array - 2 * half, array).astype(array.dtype)
    return array.clip(-half, half - 1)


def _padding(found: Dataset, stored: NDArray) -> NDArray[np.bool_] | None:
    """Pixels that hold PixelPaddingValue, or lie between it and PixelPaddingRangeLimit (PS3.3, C.7.5.1.1.2)."""
    value = _padding_number(found, "PixelPaddingValue", stored)
    if value is None:
        return None
    limit = _padding_number(found, "PixelPaddingRangeLimit", stored)
    low, high = (value, value) if limit is None else (min(value, limit), max(value, limit))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _padding_number(found: Dataset, keyword: str, stored: NDArray) -> int | None:
    """A padding value in the type of the pixels: writers confuse its sign (63536 for -2000)."""
    value = values.number(found, keyword)
    if value is None or stored.dtype.kind not in "iu":
        return None
    limits = np.iinfo(stored.dtype)
    bits = limits.bits
    if value > limits.max and stored.dtype.kind == "i":
        value -= 1 << bits
    if value < 0 and stored.dtype.kind == "u":
        value += 1 << bits
    return int(value)


def _inverted(found: Dataset, stored: NDArray, done: dict[str, Any]) -> NDArray:
    if values.text(found, "PhotometricInterpretation").upper() != "MONOCHROME1":
        return stored
    if values.text(found, "Modality") not in PROJECTIONS or stored.dtype.kind not in "iu":
        done["MONOCHROME1"] = "values as stored"
        return stored
    done["MONOCHROME1"] = "inverted"
    bits = values.whole(found, "BitsStored") or stored.dtype.itemsize * 8
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if stored.dtype.kind == "i" else (0, (1 << bits) - 1)
    return (low + high - stored.astype(np.int64)).astype(stored.dtype)


def _meant(found: Dataset, one: Slice, stored: NDArray, done: dict[str, Any]) -> NDArray:
    """Values after the modality LUT, which is a table or a line; whole numbers stay integers."""
    table = values.items(found, "ModalityLUTSequence")
    if table:
        from pydicom.pixels import apply_modality_lut

        done["modality LUT"] = True
        return np.asarray(apply_modality_lut(stored, found))
    slope, intercept = one.rescale
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if slope == 0:
        raise DataError(f"{one.name} has a rescale slope of 0: all its values would be the same.", kind="damaged")
    if stored.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept):
        return _narrow(stored.astype(np.int64) * int(slope) + int(intercept))
    meant = stored.astype(np.float64) * slope + intercept
    return meant if np.abs(meant).max() > np.finfo(np.float32).max else meant.astype(np.float32)


def _narrow(array: NDArray) -> NDArray:
    """Integers in the smallest signed type of at least 16 bits that holds them."""
    low, high = int(array.min()), int(array.max())
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array
