"""One look at a volume with a sliding window: tiles through the networks, their answers into a rolling mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from medseg.core.progress import Callback, Progress
from medseg.inference.resources import Resources
from medseg.inference.rolling import RollingMean
from medseg.inference.views import Key, View, Views, even

STAGE = "tiles"

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Tiles (tile, channel, ...) float32, on any device, to logits (tile, outputs, ...) of any floating type. The answer
may be overwritten by the next call."""

Reduce = Callable[[View, torch.Tensor], Iterable[tuple[View, torch.Tensor, float]]]
"""A fold's logits (outputs, z, y, x) for a view to what is averaged over tiles: (the view that they are of, values
(channel, z, y, x), share of these values among all for the tile)."""

_REMEMBERED_BYTES = 256 << 20


@dataclass
class Sweep:
    """A volume that is being looked at.

    Attributes:
        members: one network a fold; all of them see a batch of tiles before the next is cut.
        image: (channel, z, y, x) float32 in the host's memory.
        views: the tiles and their mirrored copies.
        resources: where things are kept, and how many tiles go through at once.
        tolerance: how even a tile must be to be answered as another one was; 0 for exactly even.
        answered: even tiles that went through, and each member's logits for them.
    """

    members: Sequence[Forward]
    image: torch.Tensor
    views: Views
    resources: Resources
    tolerance: float = 0.0
    answered: dict[Key, list[torch.Tensor]] = field(default_factory=dict)

    def slabs(self, reduce: Reduce, callback: Callback) -> Iterator[torch.Tensor]:
        """The means (channel, planes, y, x) of what `reduce` makes of the logits, in consecutive blocks of planes.

        Raises:
            MedsegError: there is not enough memory for a single tile.
        """
        have, done, total = self.resources, 0, len(self.views.tiles)

        def report(note: str | None = None) -> None:
            callback(Progress(STAGE, done // len(self.views.flips), total, {} if note is None else {"note": note}))

        report()
        for note in have.notes:
            report(note)
        have.say, have.means = report, None
        source = self.image.to(have.image_on)
        while done < len(self.views):
            batch = self.views.part(done, have.tile_batch)
            if have.means is not None:
                yield from have.means.finish(batch[0].tile.planes.start)
            for view, logits in self._answers(batch, source):
                for seen, values, share in reduce(view, logits):
                    self._add(seen, values, share)
            done += len(batch)
            report()
        assert have.means is not None
        yield from have.means.finish(self.image.shape[1])
        have.means = None

    def _add(self, view: View, values: torch.Tensor, share: float) -> None:
        have, shape = self.resources, self.image.shape[1:]
        if have.means is None:
            depth = self.views.depth(have.tile_batch)
            have.means = have.attempt(lambda: RollingMean(len(values), shape, depth, have.sums_dtype, have.sums_on))
        have.means.add(view, values, share)

    def _answers(self, batch: Sequence[View], source: torch.Tensor) -> Iterator[tuple[View, torch.Tensor]]:
        """Every view of a batch with its logits from each member; of even tiles that are alike, one goes through."""
        rows: list[tuple[Key | None, list[View]]] = []
        for view in batch:
            key = even(self.image, view.tile, self.tolerance)
            alike = next((views for other, views in rows if key is not None and other == key), None)
            if key is not None and key in self.answered:
                yield from ((view, logits) for logits in self.answered[key])
            elif alike is not None:
                alike.append(view)
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
        """The logits (outputs, z, y, x) of each tile."""
        have, done = self.resources, 0
        while done < len(inputs):
            rest = inputs[done:]
            answer = have.attempt(lambda: member(rest[: have.tile_batch]))  # noqa: B023
            done += len(answer)
            for logits in answer:
                yield logits[:, None] if len(self.views.shape) == 2 else logits

    def _remember(self, key: Key, logits: torch.Tensor) -> None:
        """Keep an even tile's answer, as long as such answers do not fill the memory."""
        size = logits.numel() * logits.element_size() * len(self.members)
        if key in self.answered or (len(self.answered) + 1) * size <= _REMEMBERED_BYTES:
            self.answered.setdefault(key, []).append(logits.clone())
