"""Transfer syntaxes: which ones can be decoded here, and which package to install for the others (PS3.5 annex A)."""

from __future__ import annotations

from functools import lru_cache

from medseg.core.installing import pip_install

_JPEG = "1.2.840.10008.1.2.4."
JPEG_FAMILY = tuple(f"{_JPEG}{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203))
"""JPEG, JPEG-LS, JPEG 2000 and HTJ2K. They compress samples, so that no bits outside BitsStored survive; RLE compresses
bytes, whatever is in them."""
_PACKAGES = {
    **dict.fromkeys((f"{_JPEG}50", f"{_JPEG}51", f"{_JPEG}57", f"{_JPEG}70"), "python-gdcm"),
    **dict.fromkeys((f"{_JPEG}80", f"{_JPEG}81"), "pyjpegls"),
    **dict.fromkeys((f"{_JPEG}{number}" for number in (90, 91, 201, 202, 203)), "pylibjpeg pylibjpeg-openjpeg"),
}
"""Packages that decode a transfer syntax, by UID; all come with the extra `dicom`."""
OTHER_DECODERS = (
    "Convert the files, for example with dcmdjpeg; or pip install pylibjpeg pylibjpeg-libjpeg (under the GPL), which "
    "reads JPEG of 12 bits."
)
"""A hint for pixels that no decoder of the extra `dicom` reads."""


@lru_cache(maxsize=64)
def missing_decoder(uid: str) -> str | None:
    """Return which decoder is missing to read pixels of a transfer syntax, and how to install it; None if none is.

    Args:
        uid: TransferSyntaxUID; empty for a file that states none, which is uncompressed.
    """
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
        return f"pixels are packed as {uid!r}, which is not a transfer syntax"
    if available:
        return None
    install = f"pip install {_PACKAGES[uid]}" if uid in _PACKAGES else pip_install("dicom")
    return f"pixels are packed as {name}; its decoder is missing: {install}"
