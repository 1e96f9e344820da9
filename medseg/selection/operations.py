"""Operations on answers: what is removed from a label map, and what is filled.

Each operation gives the same answer when it is applied again, and on flipped scans the flipped answer. All but
`fill_holes` only take voxels away from structures. Components are groups of voxels that touch at faces, edges or
corners, as in nnU-Net (`remove_connected_components.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import ModelError
from medseg.core.labels import Labels
from medseg.selection.record import Step, Unit


@dataclass(frozen=True)
class Frame:
    """The facts on the grid of an answer that operations need.

    Attributes:
        voxel_size: of a voxel, in `unit`.
        unit: ml, mm2 for pictures, or voxels where spacings are unknown.
        right_axis: the axis of the array that runs from the patient's left to right; None where that is not known.
        content: first and last voxel of the scan's content along that axis.
        reversed: whether that axis runs from right to left.
    """

    voxel_size: float = 1.0
    unit: Unit = "voxels"
    right_axis: int | None = None
    content: tuple[int, int] = (0, 0)
    reversed: bool = False


def apply_steps(
    answer: NDArray[np.integer], steps: Sequence[Step], labels: Labels, frame: Frame
) -> NDArray[np.integer]:
    """Return a label map after some operations; the one that was handed in stays as it is.

    Args:
        answer: (z, y, x) label values as they are written.
        steps: the operations, in this order.
        labels: the structures.
        frame: of the grid.

    Raises:
        ModelError: a step has a size in another unit than the grid.
    """
    for step in steps:
        answer = apply_step(answer, step, labels, frame)
    return answer


def apply_step(answer: NDArray[np.integer], step: Step, labels: Labels, frame: Frame) -> NDArray[np.integer]:
    """Return a label map after one operation; the one that was handed in stays as it is.

    Args:
        answer: (z, y, x) label values as they are written.
        step: the operation.
        labels: the structures.
        frame: of the grid.

    Raises:
        ModelError: the step has a size in another unit than the grid.
    """
    values = sorted({value for name in step.structures for value in labels.members[name]})
    mask = np.isin(answer, values)
    box = _box(mask)
    if box is None or labels.background is None:
        return answer
    mask = mask[box]
    if step.operation == "fill_holes":
        added = _holes(mask) & (answer[box] == labels.background)
        return _with(answer, box, added, labels.written_values[step.structures[0]])
    removed = mask & ~_kept(mask, box, step, frame)
    return _without(answer, box, removed, step, labels)


def component_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of voxels of each component of a mask, in no order."""
    box = _box(mask)
    return np.zeros(0, np.int64) if box is None else np.bincount(_components(mask[box]).ravel())[1:]


def component_middles(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.float64]:
    """Return where from the patient's left to right the middle of each component lies: as `Step.range` counts.

    Args:
        mask: (z, y, x).
        frame: of the grid; it must know the axis.
    """
    box = _box(mask)
    if box is None:
        return np.zeros(0)
    return _middles(_components(mask[box]), box, frame)


def _kept(mask: NDArray[np.bool_], box: tuple[slice, ...], step: Step, frame: Frame) -> NDArray[np.bool_]:
    """Return which voxels of a mask an operation keeps."""
    numbers = _components(mask)
    if step.operation == "position":
        if frame.right_axis is None:  # the plan does not turn scans: nothing says which side is which
            return mask
        assert step.range is not None
        middles = _middles(numbers, box, frame)
        keep = (middles >= step.range[0]) & (middles <= step.range[1])
    else:
        sizes = np.bincount(numbers.ravel())[1:]
        if step.operation == "largest_component":
            keep = sizes == sizes.max(initial=0)  # of equals all, as in nnU-Net: flipped scans have the same answer
        else:
            assert step.size is not None
            if step.unit != frame.unit:
                raise ModelError(
                    f"The selection removes components below {step.size:g} {step.unit}, and this scan is measured in "
                    f"{frame.unit}.",
                    "Correct the unit in selection.yaml, or leave the selection out: --no-selection",
                )
            keep = sizes * frame.voxel_size >= step.size * (1 - 1e-9)  # sizes are sums of rounded numbers
    return np.concatenate([[False], keep])[numbers]


def _middles(numbers: NDArray[np.int32], box: tuple[slice, ...], frame: Frame) -> NDArray[np.float64]:
    """Return where the middle of each numbered component lies within the scan's content, 0 to 1 from left to right."""
    axis = frame.right_axis
    assert axis is not None
    count = int(numbers.max(initial=0))
    where = np.arange(box[axis].start, box[axis].stop, dtype=np.float64)
    shape = [1] * numbers.ndim
    shape[axis] = len(where)
    places = np.broadcast_to(where.reshape(shape), numbers.shape)
    totals = np.bincount(numbers.ravel(), places.ravel(), count + 1)[1:]
    first, last = frame.content
    middles = (totals / np.bincount(numbers.ravel(), minlength=count + 1)[1:] - first) / max(last - first, 1)
    return np.clip(1 - middles if frame.reversed else middles, 0.0, 1.0)


def _holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a mask encloses voxels: those that no path over faces leads from to the border of the image."""
    from scipy import ndimage

    flat = mask.squeeze()  # of pictures: across their single plane everything is open
    if flat.ndim == 0:
        return np.zeros_like(mask)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(flat)
    return filled.reshape(mask.shape) & ~mask


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    from scipy import ndimage

    numbers: NDArray[np.int32] = ndimage.label(mask, np.ones((3,) * mask.ndim), output=np.int32)[0]
    return numbers


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box around a mask; None for an empty one."""
    box = []
    for axis in range(mask.ndim):
        other = tuple(number for number in range(mask.ndim) if number != axis)
        inside = np.flatnonzero(mask.any(axis=other))
        if not inside.size:
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _with(
    answer: NDArray[np.integer], box: tuple[slice, ...], added: NDArray[np.bool_], value: int
) -> NDArray[np.integer]:
    if not added.any():
        return answer
    answer = answer.copy()
    answer[box][added] = value
    return answer


def _without(
    answer: NDArray[np.integer],
    box: tuple[slice, ...],
    removed: NDArray[np.bool_],
    step: Step,
    labels: Labels,
) -> NDArray[np.integer]:
    """Return a label map from which a step's structures are taken away at some voxels; what else is there stays."""
    if not removed.any():
        return answer
    answer = answer.copy()
    inside = answer[box]
    values = inside[removed]
    for value, other in _replacements(step, labels):
        values[inside[removed] == value] = other
    inside[removed] = values
    return answer


def _replacements(step: Step, labels: Labels) -> Iterator[tuple[int, int]]:
    """Yield (value, the value that a voxel of it has without a step's structures).

    That is the background or, of overlapping regions, the value of the last painted one that the voxel is in as well,
    as long as that value stands for no other region than the voxel was in.
    """
    assert labels.background is not None
    gone = {value for name in step.structures for value in labels.members[name]}
    regions = {value: {name for name, members in labels.members.items() if value in members} for value in labels.values}
    for value in gone:
        fitting = [
            written
            for name, written in labels.written_values.items()
            if not step.to_background
            and name in regions[value]
            and written not in gone
            and regions.get(written, {name}) <= regions[value]
        ]
        yield value, (fitting[-1] if fitting else labels.background)
