"""From a number of epochs to a number of steps: how many samples a pass over the training cases has."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from medseg.core.wording import counted
from medseg.plans.schema import Configuration
from medseg.preprocessing.cache import Sample


def epoch_samples(samples: Sequence[Sample], configuration: Configuration) -> int:
    """Return the number of samples in an epoch: one for each training case, in 2D one for each of its slices.

    A sample is a patch at a random position of a case that is drawn at random, so an epoch sees each case (or as many
    patches as a volume has slices) once on average. nnU-Net's epoch is another thing: 250 steps, whatever the cases.
    Cases of the weight 0 are never drawn and do not count.

    Args:
        samples: training cases.
        configuration: says whether patches are slices.
    """
    drawn = [sample for sample in samples if sample.case.weight > 0]
    return sum(sample.label.shape[0] if configuration.dimensions == 2 else 1 for sample in drawn)


def steps_of_epochs(epochs: float, samples: Sequence[Sample], configuration: Configuration) -> tuple[int, str]:
    """Return the steps of a number of epochs, and a note that says how they follow.

    Args:
        epochs: how many; it need not be whole.
        samples: training cases.
        configuration: its batch is what a step trains on.

    >>> from types import SimpleNamespace as Fake
    >>> case = Fake(case=Fake(weight=1.0), label=Fake(shape=(8, 64, 64)))
    >>> steps_of_epochs(2, [case] * 5, Fake(dimensions=3, batch_size=4))
    (3, '2 epochs are 3 steps: 5 cases in batches of 4')
    >>> steps_of_epochs(0.5, [case] * 5, Fake(dimensions=2, batch_size=4))
    (5, '0.5 epochs are 5 steps: 40 slices in batches of 4')
    """
    count = epoch_samples(samples, configuration)
    steps = max(1, ceil(epochs * count / configuration.batch_size))
    what = counted(count, "slice" if configuration.dimensions == 2 else "case")
    plural = "epoch is" if epochs == 1 else "epochs are"
    return steps, f"{epochs:g} {plural} {counted(steps, 'step')}: {what} in batches of {configuration.batch_size}"
