"""What is odd about the intensities of a channel in some cases of a set, as remarks: (place in the list, text)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

from medseg.checking.outliers import FEWEST, company_needed, shifted_alone, stand_alone, tolerance, usual
from medseg.planning.content import ChannelContent

Remark = tuple[int, str]

_SCALE_LIMITS = (log(2), log(5))
_SHIFT = 0.5
_RANK_LIMITS = (0.15, 0.5)
_NEGATIVE, _NOT_NEGATIVE = 0.01, 0.001
_SATURATED, _PILED = 0.05, 0.02


def scale(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Intensities that spread over a range of another order."""
    spreads = np.array([channel.spread for channel in contents])
    logarithm = np.log(spreads)
    alone = stand_alone(logarithm, tolerance(logarithm, *_SCALE_LIMITS))
    low, high = usual(spreads, alone)
    return [
        (index, f"has intensities that spread over {spreads[index]:.3g}; usual are {low:.3g} to {high:.3g}")
        for index in np.flatnonzero(alone).tolist()
    ]


def shift(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Intensities with another offset."""
    quantiles = np.array([channel.quantiles for channel in contents])
    alone = shifted_alone(quantiles, _SHIFT)
    low, high = usual(quantiles[:, 2], alone)
    return [
        (
            index,
            f"has intensities shifted as a whole: their median is {quantiles[index, 2]:.4g}; usual are {low:.4g} to "
            f"{high:.4g}",
        )
        for index in np.flatnonzero(alone).tolist()
    ]


def contrast(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Structures that are bright where they are dark in the others, or the reverse."""
    marked = [index for index, channel in enumerate(contents) if channel.foreground_rank is not None]
    ranks = np.array([contents[index].foreground_rank for index in marked], float)
    if len(ranks) < FEWEST:
        return []
    alone = stand_alone(ranks, tolerance(ranks, *_RANK_LIMITS))
    low, high = usual(ranks, alone)
    return [
        (
            marked[index],
            f"has structures that are brighter than {ranks[index]:.0%} of the image; usual are {low:.0%} to {high:.0%}"
            " (inverted intensities, or a label that does not belong to it?)",
        )
        for index in np.flatnonzero(alone).tolist()
    ]


def sign(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Values below zero, where the others have none."""
    shares = [channel.share_negative for channel in contents]
    negative = [index for index, share in enumerate(shares) if share > _NEGATIVE]
    if len(negative) > company_needed(len(shares)) or sum(share > _NOT_NEGATIVE for share in shares) > len(negative):
        return []
    return [
        (index, f"has negative values in {shares[index]:.0%} of its voxels, which the other cases have not")
        for index in negative
    ]


def saturated(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Scans that pile up at their highest value, where hardly any other does."""
    if sum(channel.share_high > _PILED for channel in contents) > company_needed(len(contents)):
        return []
    return [
        (
            index,
            f"has its highest value, {channel.high:g}, in {channel.share_high:.0%} of its voxels: it was cut off there",
        )
        for index, channel in enumerate(contents)
        if channel.share_high > _SATURATED
    ]
