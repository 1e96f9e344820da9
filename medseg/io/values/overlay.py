"""Paint masks that may overlap into a label map, keeping for each voxel the set of structures that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.plans.sections.reading import Overlaps

_MOST_SETS = np.iinfo(np.uint16).max

OUTSIDE = "outside of the scan"
"""Words in remarks for contours and voxels that are not on the grid."""

Together = frozenset[int]
"""The values of the structures that a voxel belongs to."""


class Overlay:
    """A label map that is being painted.

    Attributes:
        array: (z, y, x), the number of each voxel's set of values.
        sets: the sets by their number; 0 is the empty set.
    """

    def __init__(self, shape_zyx: tuple[int, int, int]) -> None:
        self.array = np.zeros(shape_zyx, np.uint16)
        self.sets: list[Together] = [frozenset()]
        self._number: dict[Together, int] = {frozenset(): 0}

    def paint(self, plane: NDArray[np.uint16], mask: NDArray[np.bool_], value: int) -> None:
        """Add a value to the voxels of a mask.

        Args:
            plane: a view of `array`.
            mask: the voxels, in the shape of the plane.
            value: the structure's value.
        """
        covered = plane[mask]
        if not covered.size:
            return
        new_number = np.zeros(len(self.sets), np.uint16)
        for number in np.unique(covered).tolist():
            new_number[number] = self._number_of(self.sets[number] | {value})
        plane[mask] = new_number[covered]

    def counts(self) -> dict[Together, int]:
        """Return how many voxels hold each set of values that occurs, the empty one included."""
        voxels = np.bincount(self.array.reshape(-1), minlength=len(self.sets)).tolist()
        return {self.sets[number]: count for number, count in enumerate(voxels) if count}

    def values(self, rule: Overlaps, names: Mapping[int, str], source: str) -> NDArray[np.integer]:
        """Return the label map (z, y, x), with one value for each set of values.

        Args:
            rule: what overlaps mean, see `Reading.overlaps`; `later` goes by the order of `names`.
            names: {value: name} of the structures, in the order in which they are painted.
            source: the file, for messages.

        Raises:
            DataError: structures overlap and the rule does not say what that means.
        """
        order = {value: number for number, value in enumerate(names)}
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
    """Return a set of values as `Reading.overlaps` names it: `1+3`."""
    return "+".join(map(str, sorted(together)))


def _overlapping(together: Together, voxels: int, names: Mapping[int, str], source: str) -> DataError:
    """Return the error for structures that overlap."""
    shown = " and ".join(names.get(value, str(value)) for value in sorted(together))
    return DataError(
        f"{source}: {shown} overlap in {voxels} voxel{'s' * (voxels != 1)}; a label map holds one structure per voxel.",
        "--overlaps regions plans for structures that overlap; --overlaps later takes the one that comes later in "
        "--segments; or choose the structures: --segments 'NAME=ROI', repeated.",
        "overlap",
    )
