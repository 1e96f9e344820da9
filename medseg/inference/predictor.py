"""A trained model that stays loaded: image in, labels on its grid out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import torch

from medseg.core.image import Image, check_finite
from medseg.core.progress import Callback, silent
from medseg.inference.backends import make_members
from medseg.inference.cascade import prepare_for
from medseg.inference.memory import Free, Need, plan_memory, tile_bytes, tiles_at_once
from medseg.inference.resources import Resources
from medseg.inference.sliding import stream_logits
from medseg.inference.uncertainty import stream_uncertainty
from medseg.inference.views import Views, tolerance
from medseg.inference.volumes import structure_volumes
from medseg.inference.window_pass import Forward, Sweep
from medseg.models.model import Model, NetworkFactory, input_channels
from medseg.models.open import load_model
from medseg.networks.device import choose_device, choose_precision, memory_errors
from medseg.preprocessing.restore import restore
from medseg.preprocessing.volume import Volume

_MOST_NOTES = 20
_ADVICE = "Close other programs, crop the scan, or take a machine with more memory."


class Predictor:
    """Segments images with a model.

    Nothing is shared between calls but the networks, and nothing is set for the whole process: several threads may
    call one predictor, and each gets the answer that it would get alone. They take turns at the processor or device,
    so that they gain no speed but what overlaps with reading and writing. A call that is cancelled or fails leaves
    the predictor as it was.

    Example:
        >>> predictor = Predictor.load("runs/hippocampus/3d_fullres")       # doctest: +SKIP
        >>> labels = predictor(medseg.read_image("scan.nii.gz"))            # doctest: +SKIP

    Attributes:
        notes: what was done otherwise than asked, a sentence each.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.configuration = model.configuration
        self.inference = model.plan.inference
        self.precision = choose_precision(self.inference.precision, device)
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._members: list[Forward] | None = None
        self._most_tiles = tiles_at_once(self.configuration, self.inference, device)
        for network in model.networks:
            network.eval()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        folds: Sequence[str] | None = None,
        overrides: list[str] | None = None,
        factory: NetworkFactory | None = None,
        configuration: str | None = None,
        checkpoint: str | None = None,
    ) -> Predictor:
        """Load the folds of a model (all that are trained, unless named); see `models.open.load_model`.

        Raises:
            ModelError, PlanError: the model or an override (`inference.mirror=false`) is not valid.
        """
        chosen = choose_device(device)
        return cls(load_model(folder, chosen, folds, overrides, factory, configuration, checkpoint), chosen)

    def __call__(self, image: Image, callback: Callback = silent) -> Image:
        """Labels (1, z, y, x), in the values that the training labels had, on the grid of `image`.

        Args:
            image: a scan with the channels that the model was trained on.
            callback: told of every batch of tiles, as the stage `tiles`, with `note` in its info where memory ran
                short; may raise `Cancelled`.

        Raises:
            DataError: the image does not suit the model.
            MedsegError: there is not enough memory.
        """
        check_finite(image, "The scan")
        with memory_errors(_ADVICE):
            volume = self.prepare(image, callback)
            slabs = self.logits(volume, callback)
            answer = restore(slabs, volume.geometry, self.model.plan.labels, self.configuration)
        return image.with_array(answer[None])

    def prepare(self, image: Image, callback: Callback = silent) -> Volume:
        """A scan as the networks see it; the second stage of a cascade asks the first one here.

        Raises:
            DataError: the image does not suit the model.
        """
        return prepare_for(self.model, image, lambda _, scan: self._previous(scan, callback))

    def logits(self, volume: Volume, callback: Callback = silent) -> Iterator[torch.Tensor]:
        """Logits of a prepared scan, as consecutive slabs (outputs, planes, y, x) along its first axis, for `restore`.

        Raises:
            MedsegError: there is not enough memory for a single tile.
        """
        yield from self._swept(volume, self.model.plan.labels.outputs, stream_logits, callback)

    def uncertainty(self, volume: Volume, callback: Callback = silent) -> Iterator[torch.Tensor]:
        """Slabs (2 x structures, planes, y, x) of a prepared scan: see `uncertainty.stream_uncertainty`.

        Raises:
            PlanError: one network without mirrored copies has no spread.
            MedsegError: there is not enough memory for a single tile.
        """
        labels = self.model.plan.labels
        yield from self._swept(volume, 2 * len(labels.names), partial(stream_uncertainty, labels=labels), callback)

    def warm_up(self) -> None:
        """Compile what is compiled, and let a batch of empty tiles through; the first scan then takes no longer."""
        for member in self._ready():
            member(torch.zeros(self._most_tiles, *self._tile_shape, device=self.device))

    def _swept(
        self, volume: Volume, sums: int, stream: Callable[..., Iterator[torch.Tensor]], callback: Callback
    ) -> Iterator[torch.Tensor]:
        """What a stream makes of a scan, in the memory that is there; `sums` are the values that it keeps a voxel."""
        image = torch.from_numpy(volume.image)
        views = Views.of(image.shape[1:], self.configuration, self.inference)
        outputs = self.model.plan.labels.outputs
        need = Need(
            self._most_tiles,
            tile_bytes(self.configuration, len(image), outputs, self.precision),
            lambda tiles: sums * views.depth(tiles) * image[0, 0].numel(),
            volume.image.nbytes,
        )
        resources = Resources(plan_memory(need, Free.of(self.device)), self.device)
        sweep = Sweep(self._ready(), image, views, resources, tolerance(self.inference))
        yield from stream(sweep, callback=callback)
        if resources.ran_short:
            self._most_tiles = min(self._most_tiles, resources.tile_batch)
        self.notes += [note for note in resources.notes if note not in self.notes][: _MOST_NOTES - len(self.notes)]

    def _ready(self) -> list[Forward]:
        """The networks as functions of tiles, made once, of which one computes at a time."""
        with self._lock:
            if self._members is None:
                made = make_members(
                    self.model.networks,
                    self.inference,
                    self._tile_shape,
                    self._most_tiles,
                    self.precision,
                    self.notes.append,
                )
                self._members = [self._in_turn(forward) for forward in made]
        return self._members

    def _in_turn(self, forward: Forward) -> Forward:
        def in_turn(tiles: torch.Tensor) -> torch.Tensor:
            with self._lock:
                return forward(tiles)

        return in_turn

    @property
    def _tile_shape(self) -> tuple[int, ...]:
        return (input_channels(self.model.plan, self.configuration), *self.configuration.patch_voxels)

    @cached_property
    def _previous(self) -> Predictor:
        assert self.model.previous is not None
        return Predictor(self.model.previous, self.device)

    def volumes(self, labels: Image) -> dict[str, float]:
        """Volume of each structure of an answer: ml, or voxels (pixels) where the spacing is unknown."""
        return structure_volumes(labels, self.model.plan.labels)
