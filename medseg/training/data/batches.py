"""Training batches: drawn, gathered, augmented. Batch `n` depends on the plan's seed and on `n` alone."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

import torch

from medseg.core.labels import OUTSIDE
from medseg.networks.device import first_line, is_out_of_memory, to_device
from medseg.plans.schema import Configuration
from medseg.plans.sections.training import Training
from medseg.preprocessing.cache import Sample
from medseg.training.data.augment import draw_changes
from medseg.training.data.intensity import apply_changes
from medseg.training.data.sample_placement import PlacedSamples
from medseg.training.data.sampling import Sampler, generator
from medseg.training.data.spatial import gather, load_loops


class Origin(NamedTuple):
    """Where a sample of a batch was taken from, so that it can be named when something is wrong with it.

    Attributes:
        case: id of the case.
        start_zyx: first voxel of the patch in the preprocessed volume; may lie outside of it.
        shape_zyx: shape of the patch in voxels.
    """

    case: str
    start_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]


class Batch(NamedTuple):
    """The data that one step trains on.

    Attributes:
        image: (batch, channel, ...) float32; in a cascade the previous stage's labels are the last channels.
        target: label indices (batch, ...) int16.
        annotated: (batch, structures) bool, which structures were annotated in each sample; None where all were.
        origins: where each sample comes from.
        previous: (batch, ...) int16, label indices from the previous stage of a cascade, and negative ones where
            there is none; None without a cascade.
        case_weights: (batch,) float32, what the loss of each sample is multiplied by; None where no case has a weight.
        voxel_weights: (batch, ...) float32, the weight of each voxel in the loss; None where no case has a map of them.
    """

    image: torch.Tensor
    target: torch.Tensor
    annotated: torch.Tensor | None = None
    origins: tuple[Origin, ...] = ()
    previous: torch.Tensor | None = None
    case_weights: torch.Tensor | None = None
    voxel_weights: torch.Tensor | None = None


class Batches:
    """Makes batch after batch on a device; samples that already lie there are not copied.

    Args:
        samples: training cases; all in the host's memory, or all on `device`.
        configuration: patch, batch size and limits of the augmentation.
        training: seed, sampling and augmentation.
        device: where batches are made.
        numbers: which samples of each batch to make, for a process that trains on a part of it; None for all. A
            sample is the same whichever process makes it.
        previous_values: in a cascade, the number of label values that the previous stage's answer may have.
        structure_weights: how often patches are centred on each structure; empty for equally often in each case.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        configuration: Configuration,
        training: Training,
        device: torch.device,
        numbers: range | None = None,
        previous_values: int = 0,
        structure_weights: Sequence[float] = (),
    ) -> None:
        self.samples = samples
        self.configuration = configuration
        self.training = training
        self.device = device
        self.numbers = range(configuration.batch_size) if numbers is None else numbers
        self.previous_values = previous_values
        self.masked = [number for number, how in enumerate(configuration.normalization) if how.nonzero_only]
        self.sampler = Sampler(samples, configuration, training, structure_weights)
        self.weighs_voxels = any(sample.weight_offsets is not None for sample in samples)
        self.weighs_cases = any(sample.case.loss_weight != 1 for sample in samples)
        if device.type == "cpu":
            load_loops()

    def make(self, step: int) -> Batch:
        """Return the batch of a step (0-based)."""
        patch, dimensions = self.configuration.patch_zyx, self.configuration.dimensions
        random = [generator(self.training.seed, step, number) for number in self.numbers]
        draws = [self.sampler.draw(source, number) for source, number in zip(random, self.numbers, strict=True)]
        changes = draw_changes(random, self.training.augmentation, len(self.samples[0].image), dimensions)
        samples = [self.samples[draw.case] for draw in draws]
        patches = gather(samples, draws, patch, self.device, self.weighs_voxels)
        image, maps = patches.image, patches.maps
        if dimensions == 2:
            image, maps = image[:, :, 0], [labels[:, 0] for labels in maps]
        voxel_weights = None
        if self.weighs_voxels:
            image, voxel_weights = image[:, :-1].contiguous(), image[:, -1] + 1
        mirrored = [draw.mirrored[-dimensions:] for draw in draws]
        apply_changes(image, changes, mirrored, self.configuration.in_plane_only and dimensions == 3)
        outside = maps[0] == OUTSIDE
        for channel in self.masked:
            image[:, channel].mul_(~outside)
        target = maps[0].add_(outside, alpha=-OUTSIDE)  # now background; masked_fill_ takes ten times as long
        previous = maps[1] if len(maps) > 1 else None
        if previous is not None:
            from medseg.training.data.previous import corrupt, draw_corruption, one_hot  # only a cascade needs it

            augmentation = self.training.augmentation
            corrupt(previous, [draw_corruption(source, augmentation, self.previous_values) for source in random])
            image = torch.cat([image, one_hot(previous, self.previous_values, 1)], 1)
        annotated = _stack([sample.structures for sample in samples], self.device)
        origins = (Origin(sample.case.id, draw.start, patch) for sample, draw in zip(samples, draws, strict=True))
        case_weights = None
        if self.weighs_cases:
            weights = torch.tensor([sample.case.loss_weight for sample in samples], dtype=torch.float32)
            case_weights = to_device(weights, self.device)
        return Batch(image, target, annotated, tuple(origins), previous, case_weights, voxel_weights)

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps from `start` on, without end.

        On an accelerator each is made while the one before is trained on. A CPU is busy with the step anyway, and a
        second thread of torch operations would slow both down.
        """
        if self.device.type == "cpu":
            yield from map(self._make_with_less_memory, count(start))
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            waiting = thread.submit(self._make_with_less_memory, start)
            for step in count(start + 1):
                batch = waiting.result()
                waiting = thread.submit(self._make_with_less_memory, step)
                yield batch

    def make_room(self, reason: str) -> bool:
        """Take the samples off the device, if they are there, and return whether they were.

        Args:
            reason: the message when memory ran out.
        """
        moved = isinstance(self.samples, PlacedSamples) and self.samples.to_host(reason)
        if moved and self.device.type == "cuda":
            torch.cuda.empty_cache()
        return moved

    def _make_with_less_memory(self, step: int) -> Batch:
        """Return the batch of a step; where memory runs out, samples are taken off the device first."""
        try:
            return self.make(step)
        except RuntimeError as error:
            reason = first_line(error)
            if not is_out_of_memory(error) or not self.make_room(reason):
                raise
        return self.make(step)


def _stack(structures: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor | None:
    """Return the annotated structures as (batch, structures) bool; None where all were annotated in every sample."""
    partly = next((known for known in structures if known is not None), None)
    if partly is None:
        return None
    every = torch.ones_like(partly)
    return to_device(torch.stack([every if known is None else known for known in structures]), device)
