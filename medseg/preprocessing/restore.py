"""From logits on the network's grid back to labels on the scan's own grid, slab by slab.

Logits are never held on the scan's grid: nothing here is as large as outputs times the scan. `cells` explains why the
labels are exact all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.plans.schema import Configuration
from medseg.preprocessing.cells import Put, answer_window
from medseg.preprocessing.dense import dense_blocks
from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.resample import separate_axis
from medseg.preprocessing.volume import Geometry
from medseg.preprocessing.windows import windows

Sink = Callable[[int, torch.Tensor], None]
"""Called with consecutive planes of `Geometry.box`: number of the first one, logits (outputs, planes, y, x) float32."""


def restore(
    slabs: Iterable[torch.Tensor],
    geometry: Geometry,
    labels: Labels,
    configuration: Configuration,
    sinks: Sequence[Sink] = (),
) -> NDArray:
    """Return label values (z, y, x) as they are written, on the grid of the stored scan.

    Voxels outside the nonzero box are background.

    Args:
        slabs: logits in consecutive blocks (outputs, planes, y, x) along the first axis of the network's grid, which
            together make it up, on any device; each is released before the next one is requested.
        geometry: how the scan came to the network's grid.
        labels: say which value is written for which logits.
        configuration: says how logits are resampled.
        sinks: also receive the interpolated logits, a few planes at a time; then every voxel is interpolated.

    Raises:
        ValueError: the slabs do not make up the network's grid.
    """
    stored = np.full(geometry.stored_shape, labels.decisions[0], labels.dtype)
    inside = geometry.turn(stored[None])[0][geometry.box]
    written = np.array(labels.decisions, labels.dtype)

    def put(planes: range, chosen: NDArray[np.integer]) -> None:
        inside[planes.start : planes.stop] = written[chosen]

    _decide(slabs, way_back(geometry, configuration), labels, put, sinks)
    return stored


def restore_onto(
    slabs: Iterable[torch.Tensor],
    geometry: Geometry,
    labels: Labels,
    configuration: Configuration,
    shape: Sequence[int],
) -> NDArray[np.int16]:
    """Return label indices (z, y, x) on another grid of the same box: that of a cascade's later stage.

    As in nnU-Net (`export_prediction.py`, `resample_and_save`) the spacing of the network's grid alone decides whether
    slices are resampled separately.

    Args:
        slabs: as in `restore`.
        geometry: how the scan came to the network's grid.
        labels: say which index stands for which logits.
        configuration: says how logits are resampled.
        shape: voxels (z, y, x) of the other grid.

    Raises:
        ValueError: the slabs do not make up the network's grid.
    """
    how, spacing = configuration.resample_logits, geometry.network_spacing_mm
    resize = Resize.of(geometry.network_shape, shape, how, separate_axis(spacing, spacing, how.separate_axis))
    answer = np.empty(tuple(shape), np.int16)
    index_of = labels.encode(np.array(labels.decisions), "the answer")

    def put(planes: range, chosen: NDArray[np.integer]) -> None:
        answer[planes.start : planes.stop] = index_of[chosen]

    _decide(slabs, resize, labels, put)
    return answer


def _decide(
    slabs: Iterable[torch.Tensor], resize: Resize, labels: Labels, put: Put, sinks: Sequence[Sink] = ()
) -> None:
    """Pass on the answers of `labels.choose` to the resized logits, a few planes at a time."""
    for window in windows(slabs, resize):
        if resize.convex and not sinks:
            answer_window(window, resize, labels, put)
        else:
            for planes, logits in dense_blocks(window, resize):
                put(planes, labels.choose(logits).cpu().numpy())
                for sink in sinks:
                    sink(planes.start, logits)
        del window  # the loop would hold it, and its slab, while the next one is made


def stream_maps(
    slabs: Iterable[torch.Tensor], geometry: Geometry, configuration: Configuration, sinks: Sequence[Sink]
) -> None:
    """Pass values of any meaning to sinks, interpolated to the scan's grid, a few planes at a time.

    Args:
        slabs: values in consecutive blocks (maps, planes, y, x), as in `restore`.
        geometry: how the scan came to the network's grid.
        configuration: says how logits, and thus such values, are resampled.
        sinks: receive the planes.

    Raises:
        ValueError: the slabs do not make up the network's grid.
    """
    for planes, values in scan_blocks(slabs, geometry, configuration):
        for sink in sinks:
            sink(planes.start, values)


def scan_blocks(
    slabs: Iterable[torch.Tensor], geometry: Geometry, configuration: Configuration
) -> Iterator[tuple[range, torch.Tensor]]:
    """Yield values of any meaning interpolated to the scan's grid: consecutive planes of `Geometry.box`.

    Args:
        slabs: values in consecutive blocks (maps, planes, y, x), as in `restore`.
        geometry: how the scan came to the network's grid.
        configuration: says how logits, and thus such values, are resampled.

    Yields:
        Numbers of the planes, and their values (maps, planes, y, x) in float32.

    Raises:
        ValueError: the slabs do not make up the network's grid.
    """
    resize = way_back(geometry, configuration)
    for window in windows(slabs, resize):
        yield from dense_blocks(window, resize)
        del window


def restore_blocks(
    blocks: Iterable[tuple[range, torch.Tensor]], geometry: Geometry, labels: Labels, sinks: Sequence[Sink] = ()
) -> NDArray:
    """Return label values (z, y, x) as they are written, of logits that are on the scan's grid already.

    Args:
        blocks: as `scan_blocks` yields them.
        geometry: how the scan came to the network's grid.
        labels: say which value is written for which logits.
        sinks: also receive the logits.
    """
    stored = np.full(geometry.stored_shape, labels.decisions[0], labels.dtype)
    inside = geometry.turn(stored[None])[0][geometry.box]
    written = np.array(labels.decisions, labels.dtype)
    for planes, logits in blocks:
        inside[planes.start : planes.stop] = written[labels.choose(logits).cpu().numpy()]
        for sink in sinks:
            sink(planes.start, logits)
    return stored


def way_back(geometry: Geometry, configuration: Configuration) -> Resize:
    """Return how the network's grid is resampled to the nonzero box of the scan."""
    how = configuration.resample_logits
    axis = separate_axis(geometry.network_spacing_mm, geometry.spacing_mm, how.separate_axis)
    return Resize.of(geometry.network_shape, geometry.cropped_shape, how, axis)
