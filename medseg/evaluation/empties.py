"""Policies for structures that the reference, the prediction or both do not have.

Every package and challenge decides this differently, and the mean over cases depends on it. So a policy is data with a
name, and `describe` says it in words beside the scores of every output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Empty = Literal["", "both", "reference", "prediction"]
"""Which side lacks a structure; "" for neither."""

DIAGONAL: Literal["diagonal"] = "diagonal"
"""Stands for the length of the image's diagonal, the largest distance that there can be."""


@dataclass(frozen=True)
class EmptyPolicy:
    """Values of scores that are not defined because a structure is empty; None leaves them undefined.

    An undefined score is not in the mean; how many there are is always counted.

    Attributes:
        name: what a plan calls the policy.
        both_overlap: Dice, IoU, NSD, lesion F1 and lesion Dice where neither side has the structure.
        one_overlap: the same scores where one side has it.
        both_distance_mm: HD, HD95 and ASSD where neither side has the structure.
        one_distance_mm: the same distances where one side has it.
    """

    name: str
    both_overlap: float | None
    one_overlap: float
    both_distance_mm: float | None
    one_distance_mm: float | Literal["diagonal"] | None

    def overlap(self, value: float | None, empty: Empty) -> float | None:
        """Return an overlap score under this policy.

        Args:
            value: the score as measured; it is returned if both sides have the structure.
            empty: which side lacks the structure; "" if both have it.

        >>> POLICIES["brats"].overlap(None, "both"), POLICIES["default"].overlap(None, "both")
        (1.0, None)
        """
        return value if not empty else self.both_overlap if empty == "both" else self.one_overlap

    def distance(self, value_mm: float | None, empty: Empty, diagonal_mm: float) -> float | None:
        """Return a distance under this policy.

        Args:
            value_mm: the distance; it counts where neither side is empty.
            empty: the side that lacks the structure.
            diagonal_mm: length of the image's diagonal.
        """
        if not empty:
            return value_mm
        stand_in = self.both_distance_mm if empty == "both" else self.one_distance_mm
        return diagonal_mm if stand_in == DIAGONAL else stand_in

    def describe(self) -> str:
        """Return the policy as a sentence."""
        both = _words(self.both_overlap, self.both_distance_mm)
        one_side = _words(self.one_overlap, self.one_distance_mm)
        return f"empty structures ({self.name}): both sides empty: {both}; one side empty: {one_side}"


def _words(overlap: float | None, distance: float | Literal["diagonal"] | None) -> str:
    if overlap is None and distance is None:
        return "not in the mean, counted"
    overlaps = "overlaps not in the mean, counted" if overlap is None else f"overlaps {overlap:g}"
    if distance is None:
        return f"{overlaps}, distances not in the mean, counted"
    return f"{overlaps}, distances {'the diagonal of the image' if distance == DIAGONAL else f'{distance:g} mm'}"


POLICIES = {
    policy.name: policy
    for policy in (
        EmptyPolicy("default", None, 0.0, None, None),
        EmptyPolicy("brats", 1.0, 0.0, 0.0, DIAGONAL),  # BraTS 2021: 373.13 mm is the diagonal of its images
        EmptyPolicy("isles", 1.0, 0.0, None, None),  # ISLES 2022: an empty answer to an empty reference is right
    )
}
"""Policies by name: medseg's own, and those of challenges."""
