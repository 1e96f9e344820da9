"""Tell by its name whether a file may be a channel of a model: `p2_t1` is no FLAIR, and `p2_scan` may be anything."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.io.dicom.elements.modality import are_alike, modality_meant
from medseg.io.layouts.file_names.words import chunks

_SEQUENCES = {
    **dict.fromkeys(("t1", "t1w", "t1n", "mprage"), "t1"),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1km", "t1post"), "t1ce"),
    **dict.fromkeys(("t2", "t2w"), "t2"),
    **dict.fromkeys(("flair", "t2f", "t2flair"), "flair"),
    **dict.fromkeys(("t2star", "t2starw"), "t2star"),
    **dict.fromkeys(("dwi", "dti"), "dwi"),
    **dict.fromkeys(("pdw", "adc", "swi", "dce", "bold", "asl", "tof", "mra"), ""),
}
"""Words for sequences of MR -> the sequence; "" for the word itself."""
_CONTRAST = frozenset(("ce", "gd", "km", "post", "contrast"))
"""Words beside T1 for a contrast agent."""
_SHORT = 2
"""Words of so few letters may be anything (`pt_01` is a patient), unless a name ends in them (`p1_pt` is PET)."""
_PLAIN = ("ct", "mr")
"""Short words that are modalities wherever they stand."""

Kind = tuple[str, str]
"""A modality of DICOM's, and the sequence; "" where the name does not say one."""


def kinds_named(name: str) -> set[Kind]:
    """Return the kinds of scans that a name speaks of; empty where it speaks of none.

    Args:
        name: of a file without suffix, of its role in a case, or of a channel.

    >>> kinds_named("p2_T1w"), kinds_named("T1-ce"), kinds_named("T2_FLAIR"), kinds_named("CT001")
    ({('MR', 't1')}, {('MR', 't1ce')}, {('MR', 'flair')}, {('CT', '')})
    >>> kinds_named("pt_01"), kinds_named("p1_pt"), kinds_named("imaging")
    (set(), {('PT', '')}, set())
    """
    parts = chunks(name.lower())
    kinds = {_kind(part, last=number == len(parts) - 1) for number, part in enumerate(parts)} - {None}
    sequences = {kind[1] for kind in kinds if kind is not None}
    if "t1" in sequences and not _CONTRAST.isdisjoint(parts):
        kinds = kinds - {("MR", "t1")} | {("MR", "t1ce")}
    if "flair" in sequences:
        kinds -= {("MR", "t2")}
    return {kind for kind in kinds if kind is not None}


def may_be(name: str, channels: Sequence[str]) -> bool:
    """Return whether a name leaves it open that a file is each of some channels.

    It does not where it speaks of another modality or sequence. A channel whose own name speaks of none (`image`,
    `channel_0`) may be any.

    Args:
        name: of the file, or its role in a case.
        channels: names of the channels.

    >>> may_be("p2_t1", ["flair"]), may_be("p2_scan", ["flair"]), may_be("p2_t1", ["image"]), may_be("t1", ["MRI"])
    (False, True, True, True)
    """
    said = kinds_named(name)
    return not said or all(_may_be(said, kinds_named(channel)) for channel in channels)


def says(name: str, channels: Sequence[str]) -> bool:
    """Return whether a name says each of some channels, with other words around it or in another spelling.

    Args:
        name: of a file, or its role in a case.
        channels: names of the channels.

    >>> says("acq-3D_FLAIR", ["flair"]), says("t1w", ["T1"]), says("mri", ["flair"]), says("flair_t1", ["t1", "flair"])
    (True, True, False, True)
    """
    parts, said = {*chunks(name.lower())}, kinds_named(name)
    return all({*chunks(channel.lower())} <= parts or said & kinds_named(channel) for channel in channels)


def _may_be(said: set[Kind], meant: set[Kind]) -> bool:
    """Return whether one kind that a name speaks of may be one that a channel does; it may if that speaks of none."""
    pairs = [(one, other) for one in said for other in meant]
    return not meant or any(
        are_alike(one[0], [other[0]]) and (one[1] == other[1] or not one[1] or not other[1]) for one, other in pairs
    )


def _kind(part: str, last: bool) -> Kind | None:
    """Return the kind of scan that a part of a name speaks of, in lower case; None where it speaks of none."""
    word = part if part in _SEQUENCES else part.rstrip("0123456789")  # flair2, CT001
    if word in _SEQUENCES:
        return "MR", _SEQUENCES[word] or word
    if len(word) <= _SHORT and word not in _PLAIN and not (last and word == part):
        return None
    modality = modality_meant(word)
    return (modality, "") if modality else None
