"""Passes of the sliding window: a model's networks on a device, in the memory that there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod

import torch

from medseg.inference.backends.choose import Forward, choose_backend, make_members, release_graphs
from medseg.inference.memory import Free, Need, Resources, plan_memory, tile_bytes, tiles_at_once
from medseg.inference.tiles import Views
from medseg.inference.window_pass import WindowPass
from medseg.models.model import Model, input_channels
from medseg.networks.device import floating
from medseg.preprocessing.volume import Volume

_MOST_NOTES = 20


class Passes:
    """A model's networks, made once for a device and shared by all threads; each scan is a pass of its own.

    Args:
        model: its networks are on the device.
        device: to compute on.
        precision: in which convolutions are computed.
        notes: gets what memory forced on a pass, and what the backend could not do, in sentences.

    Attributes:
        backend: what computes: torch, OpenVINO or a way of the GPU; final once the first tile was computed.
        lock: held while a network computes, as threads take turns.
        lasting_notes: those of `notes` that hold for every scan: what the backend could not do.
    """

    def __init__(self, model: Model, device: torch.device, precision: torch.dtype, notes: list[str]) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.notes = notes
        self.configuration = model.configuration
        self.inference = model.plan.inference
        self.backend = choose_backend(self.inference.backend, model.networks, device)
        self.lock = threading.Lock()
        self.lasting_notes: list[str] = []
        self._members: list[Forward] | None = None
        self._release: Callable[[], None] = lambda: None
        self._recorded_batch = 0
        self._most_tiles = tiles_at_once(self.configuration, self.inference, device)
        for network in model.networks:
            network.eval()

    def warm_up(self) -> None:
        """Compile what is to be compiled, with a batch of empty tiles; the first scan then takes no longer."""
        need = Need(self._most_tiles, self._tile_bytes, lambda tiles: 0, 0)
        resources = Resources(plan_memory(need, Free.of(self.device)), self.device)
        members = resources.attempt(lambda: self._make_members(resources.tile_batch))

        def run() -> None:
            tiles = torch.zeros(resources.tile_batch, *self._tile_shape, device=self.device)
            for member in members:
                member(tiles)

        resources.attempt(run)

    @contextmanager
    def window_pass(self, volume: Volume, values_per_voxel: int, tile_values: int = 0) -> Iterator[WindowPass]:
        """Yield a pass over a volume in the memory that there is.

        Args:
            volume: the prepared scan, from `prepare`.
            values_per_voxel: float values that are summed up at each voxel.
            tile_values: float32 values that are kept for each voxel of a tile, besides the network's answer.
        """
        image = torch.from_numpy(volume.image)
        views = Views.of(image.shape[1:], self.configuration, self.inference)
        need = Need(
            min(self._most_tiles, len(views)),  # a small scan never fills a larger batch
            self._tile_bytes + 4 * tile_values * prod(self.configuration.patch_voxels),
            lambda tiles: values_per_voxel * views.depth(tiles) * image[0, 0].numel(),
            volume.image.nbytes,
            0 if tile_values else self._recorded_batch,
        )
        resources = Resources(plan_memory(need, Free.of(self.device)), self.device)
        resources.on_short = self._give_back
        members = resources.attempt(lambda: self._make_members(resources.tile_batch))
        yield WindowPass(members, image, views, resources)
        if resources.ran_short:  # the next scan begins with what this one has shown to fit
            self._most_tiles = min(self._most_tiles, resources.tile_batch)
        add_notes(self.notes, resources.notes)

    def _make_members(self, tile_batch: int) -> list[Forward]:
        """Return the networks as functions of tiles; a lock lets one thread in at a time.

        Args:
            tile_batch: tiles that come at once, for which the functions are made at the first call.
        """

        def in_turn(forward: Forward) -> Forward:
            def locked(tiles: torch.Tensor) -> torch.Tensor:
                with self.lock:
                    return forward(tiles)

            return locked

        with self.lock:
            if self._members is None:
                how = (self.inference, self._tile_shape, tile_batch, self.precision)
                self.backend, members = make_members(self.model.networks, *how, self._note, self.model.quantizations)
                self._release = lambda: release_graphs(members)
                self._recorded_batch = tile_batch if "CUDA graph" in self.backend else 0
                self._members = [in_turn(forward) for forward in members]
        return self._members

    def _note(self, note: str) -> None:
        self.notes.append(note)
        self.lasting_notes.append(note)

    def _give_back(self) -> None:
        """Give back the memory of CUDA graphs, as smaller batches cannot use it; networks then run without."""
        with self.lock:
            self._recorded_batch = 0
            self._release()

    @property
    def _tile_bytes(self) -> float:
        """Memory of one tile on its way through a network."""
        channels, outputs = self._tile_shape[0], self.model.plan.labels.outputs
        return tile_bytes(self.configuration, channels, outputs, floating(self.precision, self.device))

    @property
    def _tile_shape(self) -> tuple[int, ...]:
        """Shape of a tile: (channel, y, x) or (channel, z, y, x)."""
        return (input_channels(self.model.plan, self.configuration), *self.configuration.patch_voxels)


def add_notes(notes: list[str], more: Iterable[str]) -> None:
    """Add what is not noted yet, up to a number that people read.

    Args:
        notes: get the others.
        more: the others.
    """
    new = [note for note in dict.fromkeys(more) if note not in notes]
    notes += new[: max(0, _MOST_NOTES - len(notes))]
