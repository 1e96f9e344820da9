"""How pixels are packed: which transfer syntaxes can be read here, and what to install for the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from medseg.io.dicom.listing.series import Problem, Slice

_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "python-gdcm",
    "1.2.840.10008.1.2.4.51": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
}
"""Packages that decode a transfer syntax, by UID; all come with the extra `dicom`."""
OTHER_DECODERS = (
    "Convert the files, for example with dcmdjpeg; or pip install pylibjpeg pylibjpeg-libjpeg (under the GPL), which "
    "reads JPEG of 12 bits."
)


def problems_of_pixels(slices: Sequence[Slice]) -> tuple[Problem, ...]:
    """What keeps the pixels of slices from being read, however they lie: a mosaic, a missing decoder."""
    found = []
    if any("MOSAIC" in str(one.facts.get("image type", "")).upper() for one in slices):
        what = "each file is a mosaic of many slices, of which only the scanner's private elements say where they lie"
        found.append(Problem("mosaic", f"{what}; convert it with dcm2niix"))
    for uid in sorted({one.transfer_syntax for one in slices}):
        missing = missing_decoder(uid)
        if missing is not None:
            found.append(Problem("no decoder", missing))
    return tuple(found)


@lru_cache(maxsize=64)
def missing_decoder(uid: str) -> str | None:
    """What is missing to read pixels of a transfer syntax, and how to get it; None where nothing is."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    if not uid:
        return None
    syntax = UID(uid)
    name = f"{syntax.name} ({uid})" if syntax.name != uid else uid
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        return f"pixels are packed as {name}, which no decoder reads; convert the files, for example with dcmdjpeg"
    except Exception:  # a damaged UID
        return f"pixels are packed as {uid!r}, which is no transfer syntax"
    if available:
        return None
    install = _PACKAGES.get(uid, "'medseg[dicom]'")
    return f"pixels are packed as {name}; its decoder is missing: pip install {install}"
