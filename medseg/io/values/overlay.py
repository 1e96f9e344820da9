"""Masks that may overlap, painted one after another into a label map: which structures meet in a voxel is kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.plans.sections import Overlaps

_MOST_SETS = np.iinfo(np.uint16).max

OUTSIDE = "outside of the scan"
"""What remarks say of contours and voxels that are not on the grid."""

Together = frozenset[int]
"""The values of the structures that a voxel belongs to."""


class Overlay:
    """A label map (z, y, x) in the making; voxels hold the number of a set of values, 0 being the empty set."""

    def __init__(self, shape_zyx: tuple[int, int, int]) -> None:
        self.array = np.zeros(shape_zyx, np.uint16)
        self.sets: list[Together] = [frozenset()]
        self._number: dict[Together, int] = {frozenset(): 0}

    def paint(self, plane: NDArray[np.uint16], mask: NDArray[np.bool_], value: int) -> None:
        """Add a value where the mask is set; `plane` is a view of `array` of the mask's shape."""
        under = plane[mask]
        if not under.size:
            return
        table = np.zeros(len(self.sets), np.uint16)
        for number in np.unique(under).tolist():
            table[number] = self._number_of(self.sets[number] | {value})
        plane[mask] = table[under]

    def counts(self) -> dict[Together, int]:
        """How many voxels hold each set of values that occurs, the empty one included."""
        voxels = np.bincount(self.array.reshape(-1), minlength=len(self.sets)).tolist()
        return {self.sets[number]: count for number, count in enumerate(voxels) if count}

    def values(self, rule: Overlaps, names: Mapping[int, str], source: str) -> NDArray[np.integer]:
        """The label map (z, y, x), each set of values as the one value that stands for it.

        Args:
            rule: see `Reading.overlaps`; `later` goes by the order of `names`.
            names: what the structures are called, in the order in which they are painted.
            source: the file, for messages.

        Raises:
            DataError: structures overlap and nothing says what that means.
        """
        order = {value: place for place, value in enumerate(names)}
        counts = self.counts()
        table = np.zeros(len(self.sets), np.int64)
        for number, together in enumerate(self.sets):
            if not together:
                continue
            key = set_key(together)
            if isinstance(rule, dict) and key in rule:
                table[number] = rule[key]
            elif len(together) == 1:
                table[number] = next(iter(together))
            elif rule == "later":
                table[number] = max(together, key=lambda value: order.get(value, -1))
            elif counts.get(together):
                raise _overlapping(together, counts[together], names, source)
        kind = np.min_scalar_type(int(table.max())) if table.min() >= 0 else np.int64
        return table.astype(kind)[self.array]

    def _number_of(self, together: Together) -> int:
        if together not in self._number:
            if len(self.sets) > _MOST_SETS:
                raise DataError(f"More than {_MOST_SETS} different sets of structures overlap.", kind="overlap")
            self._number[together] = len(self.sets)
            self.sets.append(together)
        return self._number[together]


def set_key(together: Together) -> str:
    """A set of values as `Reading.overlaps` names it: `1+3`."""
    return "+".join(map(str, sorted(together)))


def _overlapping(together: Together, voxels: int, names: Mapping[int, str], source: str) -> DataError:
    shown = " and ".join(names.get(value, str(value)) for value in sorted(together))
    return DataError(
        f"{source}: {shown} overlap in {voxels} voxel{'s' * (voxels != 1)}; a label map holds one structure a voxel.",
        "--overlaps regions plans for structures that overlap; --overlaps later takes the one that comes later in "
        "--segments; or choose the structures: --segments 'NAME=ROI', repeated.",
        "overlap",
    )
