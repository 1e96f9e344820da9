"""Tell grey images that are stored with three equal channels from images in colour, by the pixels of a few of them."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.io.dicom.elements.dataset import read_dataset, without_warnings
from medseg.io.dicom.elements.decoding import decode
from medseg.io.dicom.elements.kinds import COLOUR
from medseg.io.dicom.elements.series import LeftOut, Slice


def without_colour(slices: Sequence[Slice]) -> tuple[list[Slice], list[LeftOut]]:
    """Leave out the slices of a series that are in colour.

    Of those with three channels the first, the middle and the last one are decoded: pixels take long. Where these are
    grey, reading the series refuses any other that is not.

    Args:
        slices: the slices of a series.

    Returns:
        The slices that are grey, and the files that are left out.
    """
    with_channels = [slice_ for slice_ in slices if slice_.has_channels]
    if not with_channels:
        return list(slices), []
    tried = {0, len(with_channels) // 2, len(with_channels) - 1}
    if all(_is_grey(with_channels[number]) for number in sorted(tried)):
        return list(slices), []
    files = dict.fromkeys(slice_.file for slice_ in with_channels)
    return [slice_ for slice_ in slices if not slice_.has_channels], [LeftOut(file.name, COLOUR) for file in files]


def _is_grey(slice_: Slice) -> bool:
    try:
        with without_warnings():
            decode(read_dataset(slice_.file, pixels=True), slice_)
    except Exception:  # decoders raise a dozen unrelated types; as before, such a file is no slice
        return False
    return True
