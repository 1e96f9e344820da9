"""Rules on the intensities of a set: scans that are empty, or unlike the rest in scale, offset, contrast or sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.checking.intensity_rules import contrast, saturated, scale, shift, sign
from medseg.core.case import Case
from medseg.planning.content import ChannelContent
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts

_FEW = 0.2
_FEWEST = 10
_REMEDIES = {
    "intensity": "Look at it beside another case. A wrong scale, offset or sign has to be undone in the file; if the "
    "scan is like that, keep it.",
    "saturation": "Export it again with a type that holds its range, if structures lie where it is cut off.",
}


def check_intensities(facts: Sequence[CaseFacts], cases: Mapping[str, Case], channels: Sequence[str]) -> list[Finding]:
    """Findings on the intensities of the cases that could be read: one a case and kind, on its first odd channel."""
    found: list[Finding] = []
    seen: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, name in enumerate(channels):
        found += _empty_channels(facts, cases, number, name)
        with_content = [one for one in facts if not one.content.channels[number].constant]
        for kind, texts in _remarks([one.content.channels[number] for one in with_content]).items():
            for place, text in texts.items():
                seen.setdefault((with_content[place].id, kind), []).append((number, text))
    for (id, kind), remarks in seen.items():
        number, text = remarks[0]
        file = _channel_file(cases[id], number)
        name = f" ({channels[number]})" * (len(channels) > 1)
        others = ", ".join(channels[other] for other, _ in remarks[1:])
        message = f"{file}{name} {text}" + f"; {others} likewise" * bool(others) + "."
        found.append(Finding(kind, id, message, _REMEDIES[kind], file))
    return found


def empty_scans(facts: Sequence[CaseFacts], cases: Mapping[str, Case]) -> list[Finding]:
    """Errors: scans of one value."""
    found = []
    for one in facts:
        if all(channel.constant for channel in one.content.channels):
            paths = cases[one.id].channels
            files = " and ".join(str(path) for path in paths)
            value = f"{one.content.channels[0].low:g}"
            message = f"{files} hold{'s' * (len(paths) == 1)} the value {value} in every voxel."
            remedy = "The scan was lost in an export: export it again, or leave the case out with --exclude."
            found.append(Finding("empty image", one.id, message, remedy, paths[0]))
    return found


def _empty_channels(facts: Sequence[CaseFacts], cases: Mapping[str, Case], number: int, name: str) -> list[Finding]:
    """A channel of one value in a few cases."""
    empty = [one for one in facts if one.content.channels[number].constant]
    if len(empty) > _FEW * len(facts):
        return []
    remedy = "If it stands in for a scan that is missing, the network learns that such scans exist."
    found = []
    for one in empty:
        file = _channel_file(cases[one.id], number)
        message = f"{file}: the channel {name} has one value in every voxel, unlike in other cases."
        found.append(Finding("empty channel", one.id, message, remedy, file))
    return found


def _remarks(contents: Sequence[ChannelContent]) -> dict[str, dict[int, str]]:
    """What is odd in one channel: kind of finding -> place -> text."""
    if len(contents) < _FEWEST:
        return {}
    texts: dict[int, list[str]] = {}
    for place, text in [*scale(contents), *shift(contents), *contrast(contents), *sign(contents)]:
        texts.setdefault(place, []).append(text)
    odd = {place: " and ".join(several) for place, several in sorted(texts.items())}
    return {"intensity": odd, "saturation": dict(saturated(contents))}


def _channel_file(case: Case, number: int) -> Path:
    return case.channels[number] if number < len(case.channels) else case.channels[0]
