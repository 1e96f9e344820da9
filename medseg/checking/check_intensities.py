"""Rules on the intensities of a data set: empty scans, and scans unlike the rest in scale, offset, contrast or sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path

import numpy as np

from medseg.checking.outliers import FEWEST, company_needed, shifted_alone, stand_alone, tolerance, usual
from medseg.core.case import Case
from medseg.planning.content import ChannelContent
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

# With these limits the scans that tests/helpers damages are found, and the public data sets of the tests pass.
_MOST_EMPTY = 0.2
"""If a channel is empty in a larger share of the cases, that is how the set is made."""
_FEWEST_COMPARED = 10
"""Of fewer cases, intensities are not compared: scans differ more in them than in their grids."""
_SCALE_LIMITS = (log(2), log(5))
"""A spread that differs by less than the first factor is never odd, by more than the second always."""
_LEAST_SHIFT = 0.5
"""A shift of all quantiles by this share of the spread is odd."""
_RANK_LIMITS = (0.15, 0.5)
"""A rank of the foreground's median that differs by less is never odd, by more always."""
_NEGATIVE, _HARDLY_NEGATIVE = 0.01, 0.001
"""Shares of voxels below zero: of a scan with negative values, and of one without."""
_SATURATED, _HARDLY_SATURATED = 0.05, 0.02
"""Shares of voxels at the highest value: of a scan that was cut off, and of one that was not."""
_REMEDIES = {
    "intensity": "Look at it beside another case. A wrong scale, offset or sign has to be undone in the file; if the "
    "scan is like that, keep it.",
    "saturation": "Export it again with a type that holds its range, if structures lie where it is cut off.",
}

Remark = tuple[int, str]
"""Index of a case in a list, and what is odd about it."""


def check_intensities(facts: Sequence[CaseFacts], cases: Mapping[str, Case], channels: Sequence[str]) -> list[Finding]:
    """Return findings on intensities: at most one for each case and kind, on its first odd channel.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
        channels: names of the channels.
    """
    findings: list[Finding] = []
    remarks: dict[tuple[str, str], list[tuple[int, str]]] = {}  # (case, kind) -> (channel, text) of each odd channel
    for channel, name in enumerate(channels):
        findings += _empty_channels(facts, cases, channel, name)
        compared = [case for case in facts if not case.content.channels[channel].constant]
        for kind, texts in _remarks([case.content.channels[channel] for case in compared]).items():
            for index, text in texts.items():
                remarks.setdefault((compared[index].id, kind), []).append((channel, text))
    for (id, kind), of_channels in remarks.items():
        channel, text = of_channels[0]
        file = _channel_file(cases[id], channel)
        name = f" ({channels[channel]})" * (len(channels) > 1)
        others = ", ".join(channels[other] for other, _ in of_channels[1:])
        message = f"{file}{name} {text}" + f"; {others} likewise" * bool(others) + "."
        findings.append(Finding(kind, id, message, _REMEDIES[kind], file))
    return findings


def empty_scans(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Return an error for each scan that has only one value.

    Args:
        facts: facts on the cases that could be read.
        cases: the cases by id.
    """
    findings = []
    for case in facts:
        if all(channel.constant for channel in case.content.channels):
            paths = cases[case.id].channels
            files = " and ".join(str(path) for path in paths)
            value = f"{case.content.channels[0].low:g}"
            message = f"{files} hold{'s' * (len(paths) == 1)} the value {value} in every voxel."
            remedy = "The scan was lost in an export: export it again, or leave the case out with --exclude IDS.txt."
            findings.append(Finding("empty image", case.id, message, remedy, paths[0]))
    return findings


def _empty_channels(facts: Sequence[CaseFacts], cases: Mapping[str, Case], channel: int, name: str) -> list[Finding]:
    """Return findings on cases in which a channel has one value, if these are few."""
    empty = [case for case in facts if case.content.channels[channel].constant]
    if len(empty) > _MOST_EMPTY * len(facts):
        return []
    remedy = "If it stands in for a scan that is missing, the network learns that such scans exist."
    findings = []
    for case in empty:
        file = _channel_file(cases[case.id], channel)
        message = f"{file}: the channel {name} has one value in every voxel, unlike in other cases."
        findings.append(Finding("empty channel", case.id, message, remedy, file))
    return findings


def _channel_file(case: Case, channel: int) -> Path:
    """Return the file of a channel, which may hold all channels."""
    return case.channels[channel] if channel < len(case.channels) else case.channels[0]


def _remarks(contents: Sequence[ChannelContent]) -> dict[str, dict[int, str]]:
    """Return all remarks on one channel: kind of finding -> index of the case -> text."""
    if len(contents) < _FEWEST_COMPARED:
        return {}
    texts: dict[int, list[str]] = {}
    for index, text in [*_odd_scale(contents), *_odd_offset(contents), *_odd_contrast(contents), *_odd_sign(contents)]:
        texts.setdefault(index, []).append(text)
    odd = {index: " and ".join(several) for index, several in sorted(texts.items())}
    return {"intensity": odd, "saturation": dict(_cut_off(contents))}


def _odd_scale(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Return remarks on channels whose range of intensities is of another order of magnitude than in other cases."""
    spreads = np.array([channel.spread for channel in contents])
    logarithm = np.log(spreads)
    alone = stand_alone(logarithm, tolerance(logarithm, *_SCALE_LIMITS))
    low, high = usual(spreads, alone)
    return [
        (index, f"has intensities that spread over {spreads[index]:.3g}; usual are {low:.3g} to {high:.3g}")
        for index in np.flatnonzero(alone).tolist()
    ]


def _odd_offset(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Return remarks on channels whose intensities are all shifted, compared with other cases."""
    quantiles = np.array([channel.quantiles for channel in contents])
    alone = shifted_alone(quantiles, _LEAST_SHIFT)
    low, high = usual(quantiles[:, 2], alone)
    return [
        (
            index,
            f"has intensities shifted as a whole: their median is {quantiles[index, 2]:.4g}; usual are {low:.4g} to "
            f"{high:.4g}",
        )
        for index in np.flatnonzero(alone).tolist()
    ]


def _odd_contrast(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Return remarks on structures whose brightness within their image is far from that of other cases."""
    labelled = [index for index, channel in enumerate(contents) if channel.foreground_rank is not None]
    ranks = np.array([contents[index].foreground_rank for index in labelled], float)
    if len(ranks) < FEWEST:
        return []
    alone = stand_alone(ranks, tolerance(ranks, *_RANK_LIMITS))
    low, high = usual(ranks, alone)
    return [
        (
            labelled[index],
            f"has structures that are brighter than {ranks[index]:.0%} of the image; usual are {low:.0%} to {high:.0%}"
            " (inverted intensities, or a label of another scan?)",
        )
        for index in np.flatnonzero(alone).tolist()
    ]


def _odd_sign(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Return remarks on values below zero, if the other cases have none."""
    shares = [channel.share_negative for channel in contents]
    negative = [index for index, share in enumerate(shares) if share > _NEGATIVE]
    somewhat_negative = sum(share > _HARDLY_NEGATIVE for share in shares)
    if len(negative) > company_needed(len(shares)) or somewhat_negative > len(negative):
        return []
    return [
        (index, f"has negative values in {shares[index]:.0%} of its voxels, which the other cases do not have")
        for index in negative
    ]


def _cut_off(contents: Sequence[ChannelContent]) -> list[Remark]:
    """Return remarks on scans with many voxels at their highest value, if hardly any other is like that."""
    if sum(channel.share_high > _HARDLY_SATURATED for channel in contents) > company_needed(len(contents)):
        return []
    return [
        (
            index,
            f"has its highest value, {channel.high:g}, in {channel.share_high:.0%} of its voxels: it was cut off there",
        )
        for index, channel in enumerate(contents)
        if channel.share_high > _SATURATED
    ]
