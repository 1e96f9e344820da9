"""Scores of a network in training, on a few whole volumes in the network's own grid."""

from __future__ import annotations

import torch

from medseg.core.labels import OUTSIDE
from medseg.networks.device import choose_precision
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.cache import Sample


class DiceProbe:
    """Mean Dice of each structure on a few preprocessed volumes, without flips: what training shows as it goes.

    Args:
        plan: the plan of the run.
        configuration: the configuration that is trained.
        device: to predict on.
        samples: in the host's memory, to choose `training.validation_cases` from; cases with every set of annotated
            structures are among them, as far as there is room.
    """

    def __init__(self, plan: Plan, configuration: Configuration, device: torch.device, samples: list[Sample]) -> None:
        self.plan = plan
        self.configuration = configuration
        self.inference = plan.inference.model_copy(update={"mirror": False})
        self.precision = choose_precision(plan.inference.precision, device)
        alike = sorted(samples, key=lambda sample: sample.case.annotated or ())
        every = max(1, len(samples) // plan.training.validation_cases)
        self.samples = alike[::every][: plan.training.validation_cases]

    def __call__(self, network: torch.nn.Module) -> dict[str, float | None]:
        """Return {structure: mean Dice}; None for a structure that has no Dice in any of the volumes."""
        scores = [self.score(network, sample) for sample in self.samples]
        means = {}
        for name in self.plan.labels.names:
            values = [dice for score in scores if (dice := score.get(name)) is not None]
            means[name] = sum(values) / len(values) if values else None
        return means

    def score(self, network: torch.nn.Module, sample: Sample) -> dict[str, float | None]:
        """Return {structure: Dice} of one volume.

        Args:
            network: the network that predicts.
            sample: the sample of this configuration, with its label.
        """
        # not needed before the first validation
        from medseg.evaluation.overlap import confusion, overlaps
        from medseg.inference.window_pass import predict_logits
        from medseg.training.data.previous import one_hot

        labels, image = self.plan.labels, sample.image
        if sample.previous is not None:
            image = torch.cat([image, one_hot(sample.previous, len(labels.values) - 1, 0)])
        how = (self.configuration, self.inference, self.precision, labels.outputs)
        answer = labels.encode(predict_logits([network], image, *how, labels.decide).numpy(), "prediction")
        reference = sample.label.masked_fill(sample.label == OUTSIDE, 0).numpy()
        counts = confusion(reference, answer, len(labels.values))
        return {name: overlap.dice for name, overlap in overlaps(counts, labels, sample.case.annotated).items()}
