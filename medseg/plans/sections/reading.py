"""The part of `data` that says how files become scans and label maps."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from medseg.plans.sections.section import Section

Overlaps = Literal["refuse", "later"] | dict[str, int]


class Reading(Section):
    """How files become scans and label maps, as far as the files themselves do not tell.

    Attributes:
        frame: index of the point in time to take from a time series, from 0; None for files without time.
        threshold: voxels of a soft mask with at least this value belong to the structure, whose value is then 1; None
            for label files with whole numbers.
        map: value in label files (`3`), or a range of values (`100-255`) -> the value it stands for. It is applied
            after the threshold and before structures are looked up.
        colours: `#rrggbb` in label files -> the value it stands for; images with a palette are then read by colour too.
        resample_labels: bring a label map on another grid than its scan to the scan's grid, by nearest neighbour.
        segments: name of an ROI (RTSTRUCT) or segment (DICOM SEG), or a pattern of names (`GTV*`) -> its value. Those
            that match nothing are left out. If this is empty, the segments of a SEG have their numbers as values.
        overlaps: what overlapping segments mean: `refuse` makes them an error, `later` lets the later one of `segments`
            win, and a table gives each set of values (`1+2`) a value of its own.
        boundaries: value of a structure -> value of the boundary of its objects (`io.values.objects` says what they
            are); a network that knows both leaves a gap between objects that touch (`predict --instances`).
        resample_tilt: resample DICOM series with a gantry tilt onto a grid with right angles.
        allow_gaps: bridge missing slices and unequal steps of DICOM series by linear interpolation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("segments", "overlaps", "boundaries", "resample_tilt", "allow_gaps")

    frame: Annotated[int, Field(ge=0)] | None = None
    threshold: float | None = None
    map: dict[int | str, int] = {}
    colours: dict[str, int] = {}
    resample_labels: bool = False
    segments: dict[str, int] = {}
    overlaps: Overlaps = "refuse"
    boundaries: dict[int, int] = {}
    resample_tilt: bool = False
    allow_gaps: bool = False

    @field_validator("map")
    @classmethod
    def _check_map(cls, table: dict[int | str, int]) -> dict[int | str, int]:
        """Turn keys that are whole numbers into integers, and refuse ranges that overlap."""
        # the keys of JSON and of written plans are strings
        table = {
            int(source) if re.fullmatch(r"-?\d+", str(source)) else source: value for source, value in table.items()
        }
        ranges = sorted(cls.bounds(source) for source in table if isinstance(source, str))
        for (_, high), (low, _) in pairwise(ranges):
            if low <= high:
                raise ValueError(f"two ranges of map hold the value {low}")
        return table

    @field_validator("colours")
    @classmethod
    def _check_colours(cls, table: dict[str, int]) -> dict[str, int]:
        """Refuse keys that are not `#rrggbb`."""
        wrong = [colour for colour in table if not re.fullmatch("#[0-9a-f]{6}", colour)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a colour; expected #rrggbb in lower case, such as #ff0000")
        return table

    @staticmethod
    def bounds(source: int | str) -> tuple[int, int]:
        """Return the smallest and the largest value that a key of `map` stands for.

        Args:
            source: a whole number, or a range of them as text.

        Raises:
            ValueError: it is neither.

        >>> Reading.bounds(3), Reading.bounds("100-255"), Reading.bounds("-5--1")
        ((3, 3), (100, 255), (-5, -1))
        """
        parts = re.fullmatch(r"(-?\d+)(?:-(-?\d+))?", str(source))
        low, high = (int(parts[1]), int(parts[2] or parts[1])) if parts else (1, 0)  # (1, 0): not a range
        if low > high:
            raise ValueError(f"{source!r} is neither a value (3) nor a range of values (100-255)")
        return low, high
