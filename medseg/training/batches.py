"""Training batches: drawn, gathered, augmented. Batch `n` depends on the seed and on `n` alone."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import torch

from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.schema import Configuration
from medseg.sections import Training
from medseg.training.augment import augment, gather
from medseg.training.sampling import Sampler, generator


class Batch(NamedTuple):
    """What one step trains on.

    Attributes:
        image: (batch, channel, ...) float32.
        target: label indices (batch, ...) int16.
        annotated: (batch, structures) bool, which structures were annotated in each sample; None where all were.
    """

    image: torch.Tensor
    target: torch.Tensor
    annotated: torch.Tensor | None = None


class Batches:
    """Makes batch after batch on `device`; samples that already lie there are not copied."""

    def __init__(
        self, samples: Sequence[Sample], configuration: Configuration, training: Training, device: torch.device
    ) -> None:
        self.sampler = Sampler(samples, configuration, training)
        self.configuration = configuration
        self.training = training
        self.device = device
        self.masked = [number for number, how in enumerate(configuration.normalization) if how.nonzero_only]

    def make(self, step: int) -> Batch:
        """The batch of one step."""
        size = self.configuration.batch_size
        random = [generator(self.training.seed, step, number) for number in range(size)]
        patch = self.configuration.patch_zyx
        images, labels, drawn = [], [], []
        for number, one in enumerate(random):
            draw = self.sampler.draw(one, number)
            image, label = gather(self.sampler.samples[draw.case], draw, patch, self.device)
            images.append(image)
            labels.append(label)
            drawn.append(self.sampler.samples[draw.case].structures)
        image, label = torch.stack(images), torch.stack(labels)
        if self.configuration.dimensions == 2:
            image, label = image[:, :, 0], label[:, 0]
        image, label = augment(image, label, self.training.augmentation, self.configuration, random)
        outside = label == OUTSIDE
        for channel in self.masked:
            image[:, channel].masked_fill_(outside, 0)
        return Batch(image, label.masked_fill_(outside, 0), _stack(drawn, self.device))

    def ahead(self, start: int, stop: int) -> Generator[tuple[int, Batch], None, None]:
        """Steps and their batches; on an accelerator each is made while the one before is trained on.

        A CPU is busy with the step anyway, and a second thread of torch operations would slow both down.
        """
        if self.device.type == "cpu":
            yield from ((step, self.make(step)) for step in range(start, stop))
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            waiting = thread.submit(self.make, start)
            for step in range(start, stop):
                batch = waiting.result()
                waiting = thread.submit(self.make, step + 1)
                yield step, batch


def _stack(structures: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor | None:
    """(batch, structures) bool; None where every structure was annotated in every sample."""
    partly = next((one for one in structures if one is not None), None)
    if partly is None:
        return None
    every = torch.ones_like(partly)
    return torch.stack([every if one is None else one for one in structures]).to(device)


def to_device(samples: Sequence[Sample], device: torch.device) -> list[Sample]:
    """The samples on `device` if all of them fit in half of its free memory, else as they are."""
    if device.type != "cuda":
        return list(samples)
    size = sum(sample.image.nbytes + sample.label.nbytes for sample in samples)
    free, _ = torch.cuda.mem_get_info(device)
    if size > free / 2:
        return list(samples)
    return [replace(one, image=one.image.to(device), label=one.label.to(device)) for one in samples]
