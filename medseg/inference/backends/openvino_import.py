"""Import OpenVINO without its telemetry, which looks up google-analytics.com and writes into the user's home."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TELEMETRY = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Hide the package `openvino_telemetry` in the block, so that OpenVINO takes the empty one that it comes with.

    OpenVINO sends a message at its import and at every conversion, unless there is no such package
    (`openvino/tools/ovc/telemetry_utils.py`). Its own switch is a file in the user's home, which is not medseg's to
    write. What the caller has imported before stays as it is.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # None makes `import` raise ModuleNotFoundError
    try:
        yield
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
