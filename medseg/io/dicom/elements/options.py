"""Options on series that are not regular volumes: what may be done to them."""

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
        """Return the options that a plan sets."""
        return cls(resample_tilt=reading.resample_tilt, allow_gaps=reading.allow_gaps)
