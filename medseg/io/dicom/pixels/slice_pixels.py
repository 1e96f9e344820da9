"""Decode the pixels of one slice to the values that they mean.

In order: the stored bits (PS3.5 8.1.1), padding (PS3.3 C.7.5.1.1.2), the inversion of MONOCHROME1 (PS3.3 C.7.6.3.1.2),
the modality LUT or rescale (PS3.3 C.11.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, MedsegError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import read_dataset, reason_of, without_warnings
from medseg.io.dicom.elements.decoding import decode, file_name
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.kinds import PROJECTIONS
from medseg.io.dicom.elements.series import Slice
from medseg.io.dicom.elements.transfer_syntax import JPEG_FAMILY, OTHER_DECODERS, missing_decoder

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class SlicePixels:
    """The pixels of a slice.

    Attributes:
        array: (row, column) values after the modality LUT; integers where it keeps them whole, else floating point.
        padding: (row, column), where pixels are padding and no measurement; None if there is none.
        record: what was done to the stored values, by name, for the record of the case.
    """

    array: NDArray
    padding: NDArray[np.bool_] | None
    record: dict[str, Any]


def read_pixels(file: File, slices: Sequence[Slice]) -> list[SlicePixels]:
    """Return the pixels of some slices of one file, which is opened once.

    Args:
        file: where they are stored.
        slices: the slices of this file.

    Raises:
        DataError: the file's pixels are absent, damaged or cut off, or no decoder is installed.
    """
    syntax, name = slices[0].transfer_syntax, file_name(slices[0])
    missing = missing_decoder(syntax)
    if missing is not None:
        raise DataError(f"{name}: {missing}.", kind="no decoder")
    dataset = read_dataset(file, pixels=True)
    with without_warnings():
        try:
            return [_slice_pixels(dataset, slice_) for slice_ in slices]
        except MedsegError:
            raise
        except MemoryError:
            raise DataError(f"{name} needs more memory than there is.", "Close other programs.") from None
        except Exception as error:  # decoders raise a dozen unrelated types
            reason = reason_of(error)
            if "does not support" in str(error):
                raise DataError(
                    f"The pixels of {name} are packed in a way that no installed decoder reads: {reason}",
                    OTHER_DECODERS,
                    "no decoder",
                ) from None
            raise DataError(
                f"The pixels of {name} cannot be read: {reason.removesuffix('.')}.",
                "The file is damaged or was cut off: copy or send it again.",
                "damaged",
            ) from None


def _slice_pixels(dataset: Dataset, slice_: Slice) -> SlicePixels:
    raw = decode(dataset, slice_)
    stored = raw if raw.dtype.kind == "f" else _stored_values(raw, dataset)
    record: dict[str, Any] = {}
    padding = _padding(dataset, stored)
    if padding is None and stored is not raw:
        padding = _padding(dataset, raw)  # a padding value may use the bits that are cut
    array = _apply_modality_lut(dataset, slice_, _invert(dataset, stored, record), record)
    return SlicePixels(array, padding, record)


def _stored_values(words: NDArray, dataset: Dataset) -> NDArray:
    """Return the BitsStored bits up to HighBit of each word, with their sign; the other bits may hold overlays."""
    width = words.dtype.itemsize * 8
    bits = values.integer(dataset, "BitsStored") or width
    high = values.integer(dataset, "HighBit")
    high = bits - 1 if high is None else high
    if not 0 < bits <= width or not bits - 1 <= high < width:
        raise ValueError(f"{bits} bits up to bit {high} do not fit into {width} bits")
    if bits == width:
        return words
    if dataset.file_meta.TransferSyntaxUID in JPEG_FAMILY:
        return _clip_samples(words, bits)
    below = high - bits + 1
    if below and (words & ((1 << below) - 1)).any() and not _has_overlay_bits(dataset):
        raise DataError(
            f"It stores {bits} bits up to bit {high} (BitsStored, HighBit), but its bits below bit {below} are set, "
            "too, and no overlay is declared there: which bits are the values is not known.",
            f"Export it again; if its values are the lowest {bits} bits, correct HighBit to {bits - 1}.",
            "damaged",
        )
    # shifted up and down again: the type's own shift extends the sign
    return (words << (width - 1 - high)) >> (width - bits)


def _has_overlay_bits(dataset: Dataset) -> bool:
    """Return whether an overlay lies in bits of the pixels (OverlayBitsAllocated, PS3.3-2004 C.9.2)."""
    groups = range(0x6000, 0x6020, 2)
    return any((group, 0x0100) in dataset and dataset[group, 0x0100].value != 1 for group in groups)


def _clip_samples(samples: NDArray, bits: int) -> NDArray:
    """Return samples of a codec, which holds no other bits: lossy ones that overshoot are clipped, not wrapped."""
    if samples.dtype.kind == "u":
        return samples.clip(0, (1 << bits) - 1)
    half = 1 << (bits - 1)
    if samples.min() >= 0 and samples.max() >= half:  # a decoder that does not know signs
        return np.where(samples >= half, samples - 2 * half, samples).astype(samples.dtype)
    return samples.clip(-half, half - 1)


def _padding(dataset: Dataset, stored: NDArray) -> NDArray[np.bool_] | None:
    """Return where pixels hold PixelPaddingValue, or lie between it and PixelPaddingRangeLimit; None if nowhere."""
    value = _padding_number(dataset, "PixelPaddingValue", stored)
    if value is None:
        return None
    limit = _padding_number(dataset, "PixelPaddingRangeLimit", stored)
    low, high = (value, value) if limit is None else (min(value, limit), max(value, limit))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _padding_number(dataset: Dataset, keyword: str, stored: NDArray) -> int | None:
    """Return a padding value in the type of the pixels: writers confuse its sign (63536 for -2000)."""
    value = values.number(dataset, keyword)
    if value is None or stored.dtype.kind not in "iu":
        return None
    limits = np.iinfo(stored.dtype)
    if value > limits.max and stored.dtype.kind == "i":
        value -= 1 << limits.bits
    if value < 0 and stored.dtype.kind == "u":
        value += 1 << limits.bits
    return int(value)


def _invert(dataset: Dataset, stored: NDArray, record: dict[str, Any]) -> NDArray:
    """Return MONOCHROME1 values of radiographs inverted within the stored bits, and all others as they are."""
    if values.text(dataset, "PhotometricInterpretation").upper() != "MONOCHROME1":
        return stored
    # in radiographs the same tissue is to be bright in all files
    if values.text(dataset, "Modality") not in PROJECTIONS or stored.dtype.kind not in "iu":
        record["MONOCHROME1"] = "values as stored"
        return stored
    record["MONOCHROME1"] = "inverted"
    bits = values.integer(dataset, "BitsStored") or stored.dtype.itemsize * 8
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if stored.dtype.kind == "i" else (0, (1 << bits) - 1)
    return (low + high - stored.astype(np.int64)).astype(stored.dtype)


def _apply_modality_lut(dataset: Dataset, slice_: Slice, stored: NDArray, record: dict[str, Any]) -> NDArray:
    """Return values after the modality LUT, a table or slope and intercept; whole numbers stay integers."""
    if values.items(dataset, "ModalityLUTSequence"):
        from pydicom.pixels import apply_modality_lut

        record["modality LUT"] = True
        return np.asarray(apply_modality_lut(stored, dataset))
    slope, intercept = slice_.rescale
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if slope == 0:
        raise DataError(f"{slice_.name} has a rescale slope of 0: all its values would be the same.", kind="damaged")
    if stored.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept):
        return _narrow(stored.astype(np.int64) * int(slope) + int(intercept))
    rescaled = stored.astype(np.float64) * slope + intercept
    return rescaled if np.abs(rescaled).max() > np.finfo(np.float32).max else rescaled.astype(np.float32)


def _narrow(array: NDArray) -> NDArray:
    """Return integers in the smallest signed type of at least 16 bits that holds them."""
    low, high = int(array.min()), int(array.max())
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array
