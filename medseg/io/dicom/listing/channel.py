"""Choose the series of a study that is a model's channel; if none or several fit, refuse and list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.core.errors import DataError
from medseg.io.dicom.elements.kinds import is_secondary_capture
from medseg.io.dicom.elements.modality import modality_named
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Listing, Series
from medseg.io.dicom.elements.uids import hide_uids
from medseg.io.dicom.listing.rules import matching_series

_DATE_DIGITS = 8
_MAX_LISTED = 20
_MAX_REASONS = 6


@dataclass(frozen=True)
class ChosenSeries:
    """The series that is a channel.

    Attributes:
        series: the series.
        reason: why it was chosen, in a few words without a patient's data.
    """

    series: Series
    reason: str


def choose_series(
    listing: Listing, channel: str, rule: str | None, options: DicomOptions, preferred: Sequence[str] = ()
) -> ChosenSeries:
    """Choose the series for a channel.

    Without a rule, the series that the study's labels refer to are meant, else, for a channel named after a modality
    (CT, MR), those of that modality, else all. Of several, one is chosen only if no option makes volumes of the others.

    Args:
        listing: what the study holds.
        channel: the channel's name in the model or plan.
        rule: see `matching_series`; None for none.
        options: what is allowed to be done to irregular series.
        preferred: SeriesInstanceUIDs that labels refer to.

    Returns:
        The series, with the reason for choosing it.

    Raises:
        DataError: no series fits, or several do, or the one that fits is not a volume; with the list, or the reason.
    """
    fitting, reason = _fitting(listing, channel, rule, preferred)
    fitting = [series for series in fitting if not is_copy_of_radiograph(series)] or fitting
    if not fitting:
        raise DataError(
            f"{listing.container} has no series{f' that fits {rule!r}' if rule else ''}"
            f"{f' of modality {modality_named(channel)}' if not rule and listing.series else ''}. {_contents(listing)}",
            "A rule chooses among them: --series 'Modality=MR,SeriesDescription~T2', or a number or key of the list."
            if listing.series
            else "Expected the folder or zip of a study with images.",
            "missing image",
        )
    # those that are volumes, or would be with an option: the others nobody can mean
    possible = [series for series in fitting if all(problem.option for problem in series.open_problems(options))]
    if len(fitting) == 1:
        chosen = fitting[0]
    elif len(possible) == 1:
        chosen, reason = possible[0], f"the only readable one of {len(fitting)} series"
    else:
        raise _several(listing, channel, fitting)
    chosen.check(options)
    return ChosenSeries(chosen, reason)


def _several(listing: Listing, channel: str, fitting: list[Series]) -> DataError:
    """Return the error for several series that may be a channel."""
    choice = (
        f"choose one by its number, its key or what its attributes say: --series {fitting[0].key}, "
        f"--series 'Modality={fitting[0].modality},SeriesDescription~T2'."
    )
    has = f"{listing.container} has"
    hint = f"C{choice[1:]}"
    if len({series.study_uid for series in fitting}) > 1:
        has = f"{listing.container} holds {_studies(fitting)}, and"
        hint = (
            "Give each study as a case of its own: a folder or zip that holds no other one. For one answer, choose "
            f"a series: --series {fitting[0].key}."
        )
    if listing.container.is_file() and all(map(is_radiograph, fitting)):
        hint = f"Unpack it and give the folder: each of the radiographs in it is then a case. Or {choice}"
    message = f"{has} {len(fitting)} series for the channel {channel}: {_listed(fitting)}"
    return DataError(message, hint, "ambiguous")


def is_copy_of_radiograph(series: Series) -> bool:
    """Return whether a series is a secondary capture without a position: a radiograph only where there is no other."""
    first = series.slices[0]
    return first.position is None and is_secondary_capture(first.sop_class_uid)


def is_radiograph(series: Series) -> bool:
    """Return whether a series is one image that no section of a volume is."""
    first = series.slices[0]
    return len(series.slices) == 1 and first.position is None and first.frame is None and not first.is_section


def describe(series: Series) -> str:
    """Return a series in a line: number, description, key, modality, plane, grid, and what is wrong with it."""
    z, y, x = series.shape_zyx
    spacing = " x ".join(f"{size:.3g}" for size in series.spacing_mm[::-1])
    problems = "".join(f"; {problem.kind}" for problem in series.problems)
    return f"{series.title}: {series.modality} {series.plane}, {x} x {y} x {z} voxels of {spacing} mm{problems}"


def _fitting(listing: Listing, channel: str, rule: str | None, preferred: Sequence[str]) -> tuple[list[Series], str]:
    """Return the series that may be meant, and the reason for taking it if it is one."""
    if rule:
        return matching_series(listing, rule), f"the only series that fits {_without_uid(rule)}"
    named = [series for series in listing.series if series.uid in preferred]
    if named:
        return named, "the series that the labels refer to"
    absent = "; the labels refer to one that is not there" if preferred else ""
    modality = modality_named(channel)
    if modality is None:
        return list(listing.series), f"the only series{absent}"
    of_modality = [series for series in listing.series if series.modality.upper() == modality]
    if not of_modality and channel.upper() != modality:  # a name of nnU-Net's, whose files state no modality
        modalities = ", ".join(sorted({series.modality or "unknown" for series in listing.series}))
        return list(listing.series), f"the only series, though of modality {modalities} and not {modality}{absent}"
    return of_modality, f"the only series of modality {modality}{absent}"


def _without_uid(rule: str) -> str:
    """Return a rule as it may stand in a record: a UID would identify the patient."""
    return "the UID that was given" if rule.replace(".", "").isdigit() and "." in rule else rule


def _study(series: Series) -> str:
    """Return the words for a series' study in messages: its date and its folder."""
    try:
        date = str(series.attributes.get("StudyDate") or "")
    except DataError:
        date = ""
    of_date = f"of {date[:4]}-{date[4:6]}-{date[6:]} " if len(date) == _DATE_DIGITS and date.isdigit() else ""
    return f"{of_date}in {hide_uids(series.folder)}"


def _studies(series: Sequence[Series]) -> str:
    """Return how many studies series are of, with the date and folder of each."""
    firsts = {image_series.study_uid: image_series for image_series in series}
    shown = ", ".join(sorted(map(_study, firsts.values()))[:_MAX_REASONS])
    return f"{len(firsts)} studies ({shown}{', ...' * (len(firsts) > _MAX_REASONS)})"


def _contents(listing: Listing) -> str:
    parts = ["It holds no image series"]
    if listing.series:
        several = len({series.study_uid for series in listing.series}) > 1
        in_studies = f" of {_studies(listing.series)}" if several else ""
        parts = [f"It holds {len(listing.series)} series{in_studies}: {_listed(listing.series)}"]
    if listing.left_out:
        counts = [f"{count} x {reason}" for reason, count in [*listing.counts().items()][:_MAX_REASONS]]
        parts.append(f"left out: {', '.join(counts)}")
    return "; ".join(parts) + "."


def _listed(series: Sequence[Series]) -> str:
    several = len({candidate.study_uid for candidate in series}) > 1
    shown = "".join(
        f"\n  {describe(candidate)}{f'; study {_study(candidate)}' * several}" for candidate in series[:_MAX_LISTED]
    )
    return shown + f"\n  and {len(series) - _MAX_LISTED} more" * (len(series) > _MAX_LISTED)
