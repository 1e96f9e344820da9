"""Remove UIDs from texts: the UIDs in a patient's images identify the patient."""

from __future__ import annotations

import re

_UID = re.compile(r"(?<!\d)(?<!\d\.)(?!1\.2\.840\.10008\.)(?:2\.25\.\d{6,39}|[0-2](?:\.\d+){5,})(?!\d)")
"""Six components or more, or a UUID as one number (PS3.5 B.2). The standard's own UIDs (1.2.840.10008) are kept."""


def hide_uids(text: str) -> str:
    """Return a text with `(UID)` in place of each UID; version numbers, sizes and dates stay.

    >>> hide_uids("1.2.826.0.1.3680043.8.498.1/slice 3.dcm of version 2.13.0")
    '(UID)/slice 3.dcm of version 2.13.0'
    """
    return _UID.sub("(UID)", text)
