"""One pass of the sliding window over a volume: tiles go through the networks, logits into a rolling mean.

`Predictor` makes a pass over each scan, training one over each validation volume. A pass yields consecutive slabs of
planes as soon as no further tile covers them, so that memory holds only the planes that tiles still cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from medseg.core.errors import MedsegError
from medseg.core.progress import Callback, Progress, silent
from medseg.inference.backends.choose import Forward, torch_forward
from medseg.inference.memory import HOST, Free, Need, Resources, plan_memory, tile_bytes, tiles_at_once
from medseg.inference.rolling_mean import RollingMean
from medseg.inference.tiles import Intensities, View, Views, uniform_intensities
from medseg.networks.device import evaluating, first_line, is_out_of_memory
from medseg.plans.schema import Configuration
from medseg.plans.sections.inference import Inference

STAGE = "tiles"

Reduce = Callable[[View, torch.Tensor], Iterable[tuple[View, torch.Tensor, float]]]
"""Turns the logits (outputs, z, y, x) that one fold gives for a view into what is averaged over tiles: any number of
(view that the values belong to, values (channel, z, y, x), share of these values among all that the tile gets)."""

Watch = Callable[[View, torch.Tensor], None]

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
        device_image: the volume in the device's memory, where tiles are cut from that.
    """

    members: Sequence[Forward]
    image: torch.Tensor
    views: Views
    resources: Resources
    uniform_logits: dict[Intensities, list[torch.Tensor]] = field(default_factory=dict)
    means: RollingMean | None = None
    device_image: torch.Tensor | None = None

    def logits(self, callback: Callback = silent, watch: Watch | None = None) -> Iterator[torch.Tensor]:
        """Yield the logits of the volume as consecutive slabs (outputs, planes, y, x) along its first axis.

        Logits are averaged over folds and mirrored copies, and over tiles with Gaussian weights. Volumes smaller than
        a tile are padded with zeros on both sides; 2D configurations see slice after slice. No slab shares memory with
        another.

        Args:
            callback: receives progress after every batch of tiles; may raise `Cancelled`.
            watch: also called with each view and a fold's logits of it (outputs, z, y, x); folds answer in turn.

        Raises:
            MedsegError: there is not enough memory for a single tile.
        """
        share = 1 / (len(self.members) * len(self.views.flips))

        def reduce(view: View, logits: torch.Tensor) -> list[tuple[View, torch.Tensor, float]]:
            if watch is not None:
                watch(view, logits)
            return [(view, logits, share)]

        return self.slabs(reduce, callback)

    def slabs(self, reduce: Reduce, callback: Callback) -> Iterator[torch.Tensor]:
        """Yield the mean over tiles of `reduce(logits)`, as slabs (channel, planes, y, x).

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
        resources.on_note, resources.on_move = report, self._move
        self.means = self.device_image = None
        while done < len(self.views):
            batch = self.views.batch(done, resources.tile_batch)
            yield from self._finish(batch[0].tile.planes.start)
            for view, logits in self._batch_logits(batch):
                for value_view, values, share in reduce(view, logits):
                    self._add(value_view, values, share)
            done += len(batch)
            report()
        self.device_image = None
        yield from self._finish(self.image.shape[1])
        self.means = None

    def _finish(self, before: int) -> Iterator[torch.Tensor]:
        """Yield the means of the planes before plane `before`, which no further tile covers."""
        while self.means is not None and self.means.first_unfinished < before:
            means = self.means
            yield self.resources.attempt(lambda: next(means.finish(before)))  # noqa: B023

    def _add(self, view: View, values: torch.Tensor, share: float) -> None:
        """Add values to the sums, which are made at the first call: only then is the number of channels known."""
        resources, shape = self.resources, self.image.shape[1:]
        if self.means is None:
            depth = self.views.depth(resources.tile_batch)
            self.means = resources.attempt(
                lambda: RollingMean(len(values), shape, depth, resources.sums_dtype, resources.sums_device)
            )
        means = self.means
        resources.attempt(lambda: means.add(view, values, share))

    def _move(self) -> None:
        """Move sums and volume to where the resources say that they are kept now."""
        if self.means is not None and self.means.sums.device != self.resources.sums_device:
            self.means.to(self.resources.sums_device)
        if self.resources.image_device == HOST:
            self.device_image = None

    def _source(self) -> torch.Tensor:
        """Return the volume that tiles are cut from."""
        resources, reason = self.resources, ""
        if resources.image_device == HOST:
            return self.image
        if self.device_image is None:
            try:
                self.device_image = self.image.to(resources.image_device)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
        if self.device_image is None:  # smaller batches would not help
            resources.image_to_host(reason)
            return self.image
        return self.device_image

    def _batch_logits(self, batch: Sequence[View]) -> Iterator[tuple[View, torch.Tensor]]:
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
        done = 0
        while done < len(rows):  # once, unless memory runs out
            inputs = self.resources.attempt(
                lambda: self._cut([views[0] for _, views in rows[done:]])  # noqa: B023
            )
            for member in self.members:
                part = rows[done : done + len(inputs)]
                for (key, views), logits in zip(part, self._forward(member, inputs), strict=True):
                    if key is not None:
                        self._remember(key, logits)
                    yield from ((view, logits) for view in views)
            done += len(inputs)

    def _cut(self, views: Sequence[View]) -> torch.Tensor:
        """Cut as many of some views as go through a network at once."""
        return self.views.cut(self._source(), views[: self.resources.tile_batch])

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


def _as_they_are(logits: torch.Tensor) -> torch.Tensor:
    return logits


def predict_logits(
    networks: Sequence[torch.nn.Module],
    image: torch.Tensor,
    configuration: Configuration,
    inference: Inference,
    precision: torch.dtype,
    outputs: int,
    of_slab: Callable[[torch.Tensor], torch.Tensor] = _as_they_are,
    callback: Callback = silent,
) -> torch.Tensor:
    """Predict a volume by torch and return its logits, or what a function makes of them; training validates with it.

    Networks in training mode are evaluated and put back into training mode.

    Args:
        networks: one per fold, all on one device; their logits are averaged.
        image: preprocessed volume (channel, z, y, x) float32 in the host's memory.
        configuration: the configuration of the networks.
        inference: how tiles lie and whether mirrored copies are averaged.
        precision: in which convolutions are computed.
        outputs: the number of the networks' outputs.
        of_slab: maps logits (outputs, planes, y, x) of some planes to (..., planes, y, x), such as labels.
        callback: receives progress after every batch of tiles; may raise `Cancelled`.

    Returns:
        What `of_slab` made of all planes (..., z, y, x), in the host's memory: logits of many structures would not fit
        into a device that is trained on.

    Raises:
        MedsegError: there is not enough memory for a single tile.
    """
    device = next(networks[0].parameters()).device
    members = [torch_forward(network, precision) for network in networks]
    views = Views.of(image.shape[1:], configuration, inference)
    need = Need(
        min(tiles_at_once(configuration, inference, device), len(views)),
        tile_bytes(configuration, len(image), outputs, precision),
        lambda tiles: outputs * views.depth(tiles) * image[0, 0].numel(),
        image.nbytes,
    )
    resources = Resources(plan_memory(need, Free.of(device)), device)
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        slabs = WindowPass(members, image, views, resources).logits(callback)
        return torch.cat([of_slab(slab).cpu() for slab in slabs], dim=-3)


def check_finite(logits: torch.Tensor, precision: torch.dtype) -> None:
    """Refuse logits that are not all finite: `argmax` would make background or a structure of them without a word.

    Args:
        logits: of any shape.
        precision: type that they were computed in, for the message.

    Raises:
        MedsegError: there are such logits.
    """
    # a sum needs no second array of this size, and any NaN or infinite value shows in it
    if not bool(logits.sum(dtype=torch.float32).isfinite()) and not bool(logits.isfinite().all()):
        computed_in = str(precision).removeprefix("torch.")
        full = precision == torch.float32
        raise MedsegError(
            f"The network's answer is NaN or infinite at some voxels, computed in {computed_in}; nothing was written.",
            "Look at the scan's intensities"
            + ("." if full else "; or compute in full precision: --set inference.precision=fp32."),
        )
