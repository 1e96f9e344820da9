"""One pass of the sliding window over a volume: tiles go through the networks, logits into a rolling mean.

`Predictor` makes a pass over each scan, training one over each validation volume. A pass yields consecutive slabs of
planes as soon as no further tile covers them, so that memory holds only the planes that tiles still cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from medseg.core.progress import Callback, Progress, silent
from medseg.inference.backends import Forward, torch_forward
from medseg.inference.memory import MemoryPlan, Resources, tiles_at_once
from medseg.inference.rolling_mean import RollingMean
from medseg.inference.tiles import Intensities, View, Views, uniform_intensities
from medseg.networks.device import evaluating
from medseg.plans.schema import Configuration
from medseg.plans.sections import Inference

STAGE = "tiles"

Reduce = Callable[[View, torch.Tensor], Iterable[tuple[View, torch.Tensor, float]]]
"""Turns the logits (outputs, z, y, x) that one fold gives for a view into what is averaged over tiles: any number of
(view that the values belong to, values (channel, z, y, x), share of these values among all that the tile gets)."""

_REMEMBERED_BYTES = 256 << 20
"""Most memory for the answers to uniform tiles; scans have few distinct uniform intensities, such as 0 or air."""


@dataclass
class WindowPass:
    """A pass of the sliding window over one volume.

    Attributes:
        members: one network per fold; all of them see a batch of tiles before the next batch is cut.
        image: (channel, z, y, x) float32 in the host's memory.
        views: the tiles and their mirrored copies.
        resources: where sums and volume are stored, and how many tiles go through a network at once.
        uniform_logits: logits of each member for every intensity of uniform tiles that was seen.
        means: the sums of the planes that tiles still cover; None before the first answer and after the last.
    """

    members: Sequence[Forward]
    image: torch.Tensor
    views: Views
    resources: Resources
    uniform_logits: dict[Intensities, list[torch.Tensor]] = field(default_factory=dict)
    means: RollingMean | None = None

    def logits(self, callback: Callback = silent) -> Iterator[torch.Tensor]:
        """Yield the logits of the volume as consecutive slabs (outputs, planes, y, x) along its first axis.

        Logits are averaged over folds and mirrored copies, and over tiles with Gaussian weights. Volumes smaller than
        a tile are padded with zeros on both sides; 2D configurations see slice after slice. No slab shares memory with
        another.

        Args:
            callback: receives progress after every batch of tiles; may raise `Cancelled`.

        Raises:
            MedsegError: there is not enough memory for a single tile.
        """
        share = 1 / (len(self.members) * len(self.views.flips))
        return self.slabs(lambda view, logits: [(view, logits, share)], callback)

    def slabs(self, reduce: Reduce, callback: Callback) -> Iterator[torch.Tensor]:
        """Yield the mean over tiles of what `reduce` makes of the logits, as slabs (channel, planes, y, x).

        Args:
            reduce: what is averaged; the logits themselves, or for example probabilities.
            callback: as in `logits`.

        Raises:
            MedsegError: there is not enough memory for a single tile.
        """
        resources, done, total = self.resources, 0, len(self.views.tiles)

        def report(note: str | None = None) -> None:
            callback(Progress(STAGE, done // len(self.views.flips), total, {} if note is None else {"note": note}))

        report()
        for note in resources.notes:
            report(note)
        resources.on_note, resources.move_sums, self.means = report, self._move_sums, None
        source = self.image.to(resources.image_device)
        while done < len(self.views):
            batch = self.views.batch(done, resources.tile_batch)
            if self.means is not None:
                yield from self.means.finish(batch[0].tile.planes.start)
            for view, logits in self._batch_logits(batch, source):
                for value_view, values, share in reduce(view, logits):
                    self._add(value_view, values, share)
            done += len(batch)
            report()
        assert self.means is not None
        yield from self.means.finish(self.image.shape[1])
        self.means = None

    def _add(self, view: View, values: torch.Tensor, share: float) -> None:
        """Add values to the sums, which are made at the first call: only then is the number of channels known."""
        resources, shape = self.resources, self.image.shape[1:]
        if self.means is None:
            depth = self.views.depth(resources.tile_batch)
            self.means = resources.attempt(
                lambda: RollingMean(len(values), shape, depth, resources.sums_dtype, resources.sums_device)
            )
        self.means.add(view, values, share)

    def _move_sums(self, device: torch.device) -> None:
        if self.means is not None:
            self.means.to(device)

    def _batch_logits(self, batch: Sequence[View], source: torch.Tensor) -> Iterator[tuple[View, torch.Tensor]]:
        """Yield (view, logits) for every view of a batch and every member.

        Tiles in which each channel has one value, and the same as in another tile, are computed only once.
        """
        rows: list[tuple[Intensities | None, list[View]]] = []
        for view in batch:
            key = uniform_intensities(self.image, view.tile, self.views.tolerance)
            equal_views = next((views for other, views in rows if key is not None and other == key), None)
            if key is not None and key in self.uniform_logits:
                yield from ((view, logits) for logits in self.uniform_logits[key])
            elif equal_views is not None:
                equal_views.append(view)
            else:
                rows.append((key, [view]))
        if not rows:
            return
        inputs = self.views.cut(source, [views[0] for _, views in rows])
        for member in self.members:
            for (key, views), logits in zip(rows, self._forward(member, inputs), strict=True):
                if key is not None:
                    self._remember(key, logits)
                yield from ((view, logits) for view in views)

    def _forward(self, member: Forward, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the logits (outputs, z, y, x) of each tile; the batch shrinks when memory runs out."""
        resources, done = self.resources, 0
        while done < len(inputs):
            rest = inputs[done:]
            answer = resources.attempt(lambda: member(rest[: resources.tile_batch]))  # noqa: B023
            done += len(answer)
            for logits in answer:
                yield logits[:, None] if len(self.views.shape) == 2 else logits

    def _remember(self, key: Intensities, logits: torch.Tensor) -> None:
        """Keep the answer to a uniform tile as long as all such answers fit into their share of memory."""
        size = logits.numel() * logits.element_size() * len(self.members)
        if key in self.uniform_logits or (len(self.uniform_logits) + 1) * size <= _REMEMBERED_BYTES:
            # a copy, as the backend may overwrite its answer in the next call
            self.uniform_logits.setdefault(key, []).append(logits.clone())


def predict_logits(
    networks: Sequence[torch.nn.Module],
    image: torch.Tensor,
    configuration: Configuration,
    inference: Inference,
    precision: torch.dtype,
) -> torch.Tensor:
    """Predict all logits of a volume at once, computed by torch; what training validates with.

    Networks in training mode are evaluated and put back into training mode.

    Args:
        networks: one per fold, all on one device; their logits are averaged.
        image: preprocessed volume (channel, z, y, x) float32 in the host's memory.
        configuration: the configuration of the networks.
        inference: how tiles lie and whether mirrored copies are averaged.
        precision: in which convolutions are computed.

    Returns:
        Logits (outputs, z, y, x) float32 on the networks' device.

    Raises:
        MedsegError: there is not enough memory for a single tile.
    """
    device = next(networks[0].parameters()).device
    plan = MemoryPlan(tiles_at_once(configuration, inference, device), False, torch.float32, False)
    members = [torch_forward(network, precision) for network in networks]
    views = Views.of(image.shape[1:], configuration, inference)
    window_pass = WindowPass(members, image, views, Resources(plan, device))
    whole: torch.Tensor | None = None
    done = 0
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        for slab in window_pass.logits():
            if whole is None:
                whole = torch.empty((len(slab), *image.shape[1:]), device=slab.device)
            whole[:, done : done + slab.shape[1]] = slab
            done += slab.shape[1]
    assert whole is not None
    return whole
