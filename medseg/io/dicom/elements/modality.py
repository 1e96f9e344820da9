"""Which modality a channel is meant to have by its name, and which one the series of an image have.

Modalities are those of DICOM (Modality, PS3.3 C.7.3.1.1.1). Files of other formats do not state one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from medseg.core.image import Image

MODALITIES = ("CT", "MR", "PT", "US", "NM", "MG", "XA", "CR", "DX")
"""Modalities that may be the name of a channel."""

RECORDED = "modality"
"""Key of the modality in `Image.record`."""

_OTHER_SPELLINGS = {"MRI": "MR", "PET": "PT"}
"""Modalities as models of nnU-Net call their channels."""

_WORDS = {
    **dict.fromkeys(("ct", "cbct", "cta"), "CT"),
    **dict.fromkeys(("mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t2", "t2w", "t2f", "pdw"), "MR"),
    **dict.fromkeys(("flair", "dwi", "adc", "swi", "dce", "mprage", "bold"), "MR"),
    **dict.fromkeys(("pt", "pet", "suv", "fdg"), "PT"),
    **dict.fromkeys(("us", "ultrasound"), "US"),
}
"""Words of a channel's name -> the modality that they speak of."""
_WORD = re.compile(r"[a-z0-9]+")

_ALIKE = {"DX": "CR", "RG": "CR", "RF": "XA"}
"""Modalities of which a scanner's maker may write either."""


COMPARABLE = frozenset({*MODALITIES, *_ALIKE})
"""Modalities that say how a scan was made. Others do not: converters write OT (other), SC or DOC."""


def modality_named(channel: str) -> str | None:
    """Return the modality that a channel is called by; None if its name is no modality.

    >>> modality_named("ct"), modality_named("MRI"), modality_named("T1")
    ('CT', 'MR', None)
    """
    name = channel.upper()
    modality = _OTHER_SPELLINGS.get(name, name)
    return modality if modality in MODALITIES else None


def modality_meant(channel: str) -> str | None:
    """Return the modality that a channel's name speaks of; None if it speaks of none, or of several.

    >>> modality_meant("T1_ce"), modality_meant("FLAIR"), modality_meant("PET/CT"), modality_meant("image")
    ('MR', 'MR', None, None)
    """
    meant = {_WORDS[word] for word in _WORD.findall(channel.lower()) if word in _WORDS}
    return modality_named(channel) or (meant.pop() if len(meant) == 1 else None)


def modalities_of(image: Image) -> tuple[str, ...]:
    """Return the modality of each channel of an image, as its series state it; empty where they do not.

    >>> import numpy as np
    >>> modalities_of(Image(np.zeros((2, 1, 1, 1)), np.eye(4), record={"channel 1": {"modality": "PT"}}))
    ('', 'PT')
    """
    parts = [image.record.get(f"channel {number}", {}) for number in range(len(image.array))]
    return tuple(str(part.get(RECORDED) or image.record.get(RECORDED) or "") for part in parts)


def are_alike(modality: str, others: Sequence[str]) -> bool:
    """Return whether a modality is among others, or one of the two kinds of a radiograph or of fluoroscopy that are."""
    return _ALIKE.get(modality, modality) in {_ALIKE.get(other, other) for other in others}
