"""UIDs of patients' data, which are identifiers, taken out of texts."""

from __future__ import annotations

import re

_UID = re.compile(r"(?<!\d)(?<!\d\.)(?!1\.2\.840\.10008\.)(?:2\.25\.\d{6,39}|[0-2](?:\.\d+){5,})(?!\d)")
"""Six components or more, or a UUID as one number (PS3.5, B.2). Those of the standard itself name nobody."""


def hide_uids(text: str) -> str:
    """A text with `(UID)` for each UID; version numbers, sizes and dates stay."""
    return _UID.sub("(UID)", text)
