"""Figures that are measured on an answer and its scan, without a reference; scores are predicted from them."""

from __future__ import annotations

from dataclasses import dataclass, field

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Sureness:
    """How sure the network is of one structure, on the network's grid; volumes in mm3 (or pixels).

    Attributes:
        volume: of the voxels that are answered as the structure.
        expected_volume: sum of its probability.
        overlap: sum of its probability where it is answered.
        doubt: sum of the smaller one of its probability and its complement: what is expected to be wrong.
        border: of the voxels of the answer that touch another answer in their plane.
        mean: of each channel (normalized) where it is answered; empty if it is not.
        deviation: standard deviation likewise.
        agreement: of mirrored copies (`medseg.inference.agreement`); None without any.
    """

    volume: float
    expected_volume: float
    overlap: float
    doubt: float
    border: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    agreement: float | None


@dataclass(frozen=True)
class Shape:
    """Figures on one structure of a label map.

    Attributes:
        volume: in ml (mm2 in pictures, pixels without a spacing); 0 if it is not there.
        parts: number of groups of voxels that touch, at corners, too.
        largest_share: share of the largest of them.
        cut: the largest share of the scan's edge in the structure: its area in the outermost plane of the scan,
            divided by its area in the plane along the same axis where it is widest. 0: it does not reach the edge.
        centre: its centre of mass (x, y, z) in mm, RAS+; None if it is not there.
        tilt: how its voxels correlate, x (to the right) with y and x with z: how it leans. A mirror image from left to
            right has the opposite signs. None if it is not there, or was not measured.
    """

    volume: float
    parts: int
    largest_share: float
    cut: float
    centre: Point | None
    tilt: tuple[float, float] | None = None


@dataclass(frozen=True)
class CaseMeasures:
    """Everything that is measured on an answer without knowing the reference.

    Attributes:
        sureness: {structure: how sure the network is}.
        shapes: {structure: what its label map is like}.
        scan: figures on the scan (`scan_measures`).
        deep: what the deepest layer of a network sees, {fold: mean of each channel}.
    """

    sureness: dict[str, Sureness]
    shapes: dict[str, Shape]
    scan: tuple[float, ...] = ()
    deep: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A case that was answered by a fold that never saw it, with its reference.

    Attributes:
        case: its id.
        group: what is left out together when a regression is tested: the fold.
        patient: whose it is, or its id: what is left out together when distances and thresholds are tested.
        measures: of the answer.
        reference: {structure: what its reference is like}; those that were not annotated are left out,
            and all of them where only some voxels were.
        dice: {structure: Dice} of these; None where answer and reference have none of it.
    """

    case: str
    group: str
    patient: str
    measures: CaseMeasures
    reference: dict[str, Shape]
    dice: dict[str, float | None]
