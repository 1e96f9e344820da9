"""Measure an answer while it is computed: how sure the network is of each structure, and what the scan is like there.

An `Observation` sees the logits of every tile and every slab on the network's grid as they pass by, so that nothing is
computed twice and only sums are kept. `medseg.confidence` relates these figures to scores, out of fold and later for
scans without a reference; both times they are taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.confidence.measures import Sureness
from medseg.core.labels import Labels
from medseg.inference.agreement import Agreement
from medseg.inference.tiles import View, Views
from medseg.models.model import Model
from medseg.preprocessing.volume import Volume

_MOST_IN_PLANE = 1 << 16
"""Voxels of a plane that are measured; of larger planes every second, third, ... along both axes."""


class Observation:
    """Collects figures on an answer; `watch_tile` and `watch_slab` are called while it is computed.

    Args:
        labels: the structures.
        image: (channel, z, y, x) normalized, on the network's grid.
        spacing_mm: of that grid (z, y, x).
        folds: number of networks.
        flips: number of mirrored copies, the tile itself included.
    """

    def __init__(
        self, labels: Labels, image: NDArray[np.float32], spacing_mm: Sequence[float], folds: int, flips: int
    ) -> None:
        self.labels, self._image, self._voxel = labels, image, prod(spacing_mm)
        self._agreement = Agreement(labels, folds, flips)
        self._step = ceil(sqrt(max(1.0, prod(image.shape[2:]) / _MOST_IN_PLANE)))
        self._plane = 0
        self._sums = _Sums.zeros(len(labels.names), len(image))

    @classmethod
    def of(cls, model: Model, volume: Volume) -> Observation:
        """Return an observation of a model's answer to a prepared scan.

        Args:
            model: will answer.
            volume: the prepared scan.
        """
        views = Views.of(volume.image.shape[1:], model.configuration, model.plan.inference)
        spacing = volume.geometry.network_spacing_mm
        return cls(model.plan.labels, volume.image, spacing, len(model.networks), len(views.flips))

    def watch_tile(self, view: View, logits: torch.Tensor) -> None:
        """Receive the logits (outputs, z, y, x) that a fold gives for a view, that is a mirrored tile."""
        self._agreement.add(view, logits)

    def watch_slab(self, logits: torch.Tensor) -> None:
        """Receive the logits (outputs, planes, y, x) of the next planes of the answer, on the network's grid."""
        step = self._step
        for plane in logits[:, :, ::step, ::step].unbind(1):
            image = torch.from_numpy(self._image[:, self._plane, ::step, ::step]).to(plane.device)
            self._sums.add(self.labels, plane.float(), image)
            self._plane += 1

    def sureness(self) -> dict[str, Sureness]:
        """Return the figures on each structure."""
        sums, agreement = self._sums, self._agreement.values()
        voxel = self._voxel * self._step**2
        result = {}
        for number, name in enumerate(self.labels.names):
            count = sums.count[number]
            mean = sums.first[number] / max(count, 1)
            deviation = np.sqrt(np.maximum(sums.second[number] / max(count, 1) - mean**2, 0))
            result[name] = Sureness(
                volume=float(count * voxel),
                expected_volume=float(sums.expected[number] * voxel),
                overlap=float(sums.overlap[number] * voxel),
                doubt=float(sums.doubt[number] * voxel),
                border=float(sums.border[number] * voxel),
                mean=tuple(mean.tolist()) if count else (),
                deviation=tuple(deviation.tolist()) if count else (),
                agreement=agreement[number],
            )
        return result


@dataclass
class _Sums:
    """Sums over voxels, (structures,) each; of intensities (structures, channels)."""

    count: NDArray[np.float64]
    expected: NDArray[np.float64]
    overlap: NDArray[np.float64]
    doubt: NDArray[np.float64]
    border: NDArray[np.float64]
    first: NDArray[np.float64] = field(repr=False)
    second: NDArray[np.float64] = field(repr=False)

    @classmethod
    def zeros(cls, structures: int, channels: int) -> _Sums:
        return cls(*(np.zeros(structures) for _ in range(5)), *(np.zeros((structures, channels)) for _ in range(2)))

    def add(self, labels: Labels, logits: torch.Tensor, image: torch.Tensor) -> None:
        """Add a plane: logits (outputs, y, x), image (channel, y, x)."""
        probabilities = labels.probabilities(logits)
        if labels.activation == "sigmoid":
            answered = probabilities > 0.5
        else:
            numbers = torch.arange(1, len(labels.names) + 1, device=logits.device)[:, None, None]
            answered = labels.choose(logits) == numbers
        mask = answered.float()
        inner = answered.clone()
        inner[:, 1:] &= answered[:, :-1]
        inner[:, :-1] &= answered[:, 1:]
        inner[:, :, 1:] &= answered[:, :, :-1]
        inner[:, :, :-1] &= answered[:, :, 1:]
        values = torch.stack(
            [
                mask.sum((1, 2)),
                probabilities.sum((1, 2)),
                (probabilities * mask).sum((1, 2)),
                torch.minimum(probabilities, 1 - probabilities).sum((1, 2)),
                (answered & ~inner).float().sum((1, 2)),
            ]
        )
        flat = mask.flatten(1)
        intensities = torch.stack([flat @ image.flatten(1).T, flat @ (image * image).flatten(1).T])
        for total, more in zip(
            (self.count, self.expected, self.overlap, self.doubt, self.border),
            values.double().cpu().numpy(),
            strict=True,
        ):
            total += more
        first, second = intensities.double().cpu().numpy()
        self.first += first
        self.second += second
