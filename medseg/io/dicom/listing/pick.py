"""Which series of a study is a model's channel: the one that fits; none or several are refused with the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.core.errors import DataError
from medseg.io.dicom.geometry.options import DicomOptions
from medseg.io.dicom.listing.choose import choose
from medseg.io.dicom.listing.series import Listing, Problem, Series
from medseg.io.dicom.pixels.volume import check_problems

_MODALITIES = ("CT", "MR", "PT", "US", "NM", "MG", "XA", "CR", "DX")
_MOST_LISTED = 20
_MOST_REASONS = 6


@dataclass(frozen=True)
class Picked:
    """A series, and why it is the one: a few words without a patient's data."""

    series: Series
    why: str


def pick(
    listing: Listing, channel: str, rule: str | None, options: DicomOptions, preferred: Sequence[str] = ()
) -> Picked:
    """The series for a channel.

    Without a rule, a channel called by a modality (CT, MR) takes series of that modality, and where the labels of the
    study say which series they were drawn on, it is that one. Of several, one is taken only if nothing can be done
    about the others, which are no volumes.

    Args:
        listing: what the study holds.
        channel: what the model or plan calls it.
        rule: see `choose`.
        options: what is allowed to be done to irregular series.
        preferred: UIDs of the series that labels refer to.

    Raises:
        DataError: no series fits, or several do, or the one that fits is no volume; with the list, or the reason.
    """
    found, what = _fitting(listing, channel, rule, preferred)
    if not found:
        raise DataError(
            f"{listing.container} has no series{f' that fits {rule!r}' if rule else ''}"
            f"{f' of modality {channel.upper()}' if not rule and listing.series else ''}. {_there(listing)}",
            "A rule chooses among them: --series 'Modality=MR,SeriesDescription~T2', or a number or key of the list."
            if listing.series
            else "Expected the folder or zip of a study with images.",
            "missing image",
        )
    readable = [one for one in found if not in_the_way(one, options)]
    hopeful = [one for one in found if one in readable or all(p.option for p in in_the_way(one, options))]
    if len(found) > 1 and (len(readable) != 1 or len(hopeful) > 1) and (len(hopeful) != 1 or readable):
        raise DataError(
            f"{listing.container} has {len(found)} series for the channel {channel}: {_listed(found)}",
            "Choose one by its number, its key or what its attributes say: "
            f"--series {found[0].key}, --series 'Modality={found[0].modality},SeriesDescription~T2'.",
            "ambiguous",
        )
    one = found[0] if len(found) == 1 else (readable or hopeful)[0]
    check_problems(one, options)
    return Picked(one, what if len(found) == 1 else f"the only readable one of {len(found)} series")


def in_the_way(series: Series, options: DicomOptions) -> list[Problem]:
    """The problems of a series that no given option deals with."""
    return [problem for problem in series.problems if not (problem.option and getattr(options, problem.option))]


def describe(series: Series) -> str:
    """A series in a line: number, description, key, modality, plane, grid, and what is wrong with it."""
    z, y, x = series.shape_zyx
    spacing = " x ".join(f"{size:.3g}" for size in series.spacing_mm[::-1])
    wrong = "".join(f"; {problem.kind}" for problem in series.problems)
    return f"{series.title}: {series.modality} {series.plane}, {x} x {y} x {z} voxels of {spacing} mm{wrong}"


def _fitting(listing: Listing, channel: str, rule: str | None, preferred: Sequence[str]) -> tuple[list[Series], str]:
    """The series that may be meant, and in words what they have in common if it is one."""
    if rule:
        return choose(listing, rule), f"the only series that fits {_without_uid(rule)}"
    named = [one for one in listing.series if one.uid in preferred]
    if named:
        return named, "the series that the labels refer to"
    gone = "; the labels refer to one that is not there" if preferred else ""
    if channel.upper() in _MODALITIES:
        found = [one for one in listing.series if one.modality.upper() == channel.upper()]
        return found, f"the only series of modality {channel.upper()}{gone}"
    return list(listing.series), f"the only series{gone}"


def _without_uid(rule: str) -> str:
    """A rule as it may stand in a record; a UID would name the patient's data."""
    return "the UID that was given" if rule.replace(".", "").isdigit() and "." in rule else rule


def _there(listing: Listing) -> str:
    parts = [f"It holds {_listed(listing.series)}"] if listing.series else ["It holds no image series"]
    if listing.left_out:
        some = [f"{count} x {why}" for why, count in [*listing.counts().items()][:_MOST_REASONS]]
        parts.append(f"left out: {', '.join(some)}")
    return "; ".join(parts) + "."


def _listed(series: Sequence[Series]) -> str:
    shown = "".join(f"\n  {describe(one)}" for one in series[:_MOST_LISTED])
    return shown + f"\n  and {len(series) - _MOST_LISTED} more" * (len(series) > _MOST_LISTED)
