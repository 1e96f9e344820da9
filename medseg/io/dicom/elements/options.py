"""What a user allows to be done to a series that is not a regular volume."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.plans.sections.reading import Reading


@dataclass(frozen=True)
class DicomOptions:
    """How irregular series are read; each irregularity is refused unless it is allowed here.

    Attributes:
        resample_tilt: undo a gantry tilt by shifting each slice in its plane (`--resample-tilt`).
        allow_gaps: bridge missing slices and unequal steps by linear interpolation (`--allow-gaps`).
    """

    resample_tilt: bool = False
    allow_gaps: bool = False

    @classmethod
    def of(cls, reading: Reading) -> DicomOptions:
        """Return what a plan allows."""
        return cls(resample_tilt=reading.resample_tilt, allow_gaps=reading.allow_gaps)
