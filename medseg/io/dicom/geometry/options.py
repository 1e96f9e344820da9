"""What a user allows to be done to a series that is no regular volume."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DicomOptions:
    """How irregular series are read; each is refused unless allowed here.

    Attributes:
        resample_tilt: a gantry tilt is undone by shifting each slice in its plane (`--resample-tilt`).
        allow_gaps: missing slices and unequal steps are bridged by linear interpolation (`--allow-gaps`).
    """

    resample_tilt: bool = False
    allow_gaps: bool = False
