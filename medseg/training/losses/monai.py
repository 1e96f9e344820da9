"""MONAI's losses, as far as they treat voxels as a set (docs.monai.io/en/stable/losses.html)."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from medseg.core.labels import Labels
from medseg.plans.arguments import Parameters, arguments_of
from medseg.training.losses.protocol import CLASS_WEIGHTS, EVERYTHING, OneHotLoss

_FOLLOW = ("to_onehot_y", "softmax", "sigmoid", "other_act", "batch", "reduction", "ignore_index")
"""Arguments that follow from the plan: its labels, its ignore value, `batch_dice`; others would contradict it."""


class MonaiLoss(OneHotLoss):
    """A loss of `monai.losses`.

    The class is told the activation (`softmax` or `sigmoid`) and `batch`; its other arguments are MONAI's.

    Args:
        class_name: name of the class in `monai.losses`.
        labels: the plan's labels.
        batch_dice: compare all samples of a batch as one.
        drop_background: leave the background of softmax labels out, as nnU-Net does for Dice; for losses that are only
            an overlap. `include_background` among the arguments says otherwise.
        **arguments: passed to the class.
    """

    def __init__(
        self, class_name: str, labels: Labels, batch_dice: bool, drop_background: bool = False, **arguments: Any
    ) -> None:
        import monai.losses  # seconds; only a plan that names one of these losses needs it

        super().__init__(labels, batch_dice)
        self.make = getattr(monai.losses, class_name)
        softmax = labels.activation == "softmax"
        settings = {
            "softmax": softmax,
            "use_softmax": softmax,  # `FocalLoss`, which is sigmoid where it is not softmax
            "sigmoid": not softmax,
            "batch": batch_dice,
            "include_background": not (softmax and drop_background),
        }
        known = inspect.signature(self.make).parameters
        if isinstance(alpha := arguments.get("alpha"), int | float) and alpha > 1:
            raise ValueError(f"alpha is {alpha}; expected a number from 0 to 1")
        self.arguments = {key: value for key, value in settings.items() if key in known} | arguments
        self.loss = self.make(**self.arguments)
        self.supports = EVERYTHING | {CLASS_WEIGHTS} if "weight" in known else EVERYTHING

    @staticmethod
    def parameters(class_name: str) -> Parameters:
        """Return the arguments of a class that a plan may give."""
        import monai.losses

        known = arguments_of(getattr(monai.losses, class_name))
        return {name: parameter for name, parameter in known.items() if name not in _FOLLOW}

    def compare(self, logits: Tensor, expected: Tensor) -> Tensor:
        """Return the loss that MONAI's class computes from logits and masks, (samples, outputs, ...) each."""
        loss: Tensor = self.loss(logits, expected)
        return loss

    def weighted(self, logits: Tensor, expected: Tensor, output_weights: Tensor) -> Tensor:
        """Return the loss of MONAI's class with `weight`, which multiplies the loss of each output.

        Args:
            logits: (samples, outputs, ...).
            expected: the same shape.
            output_weights: (outputs,).
        """
        if not self.arguments.get("include_background", True):
            output_weights = output_weights[1:]
            output_weights = output_weights / output_weights.mean().clamp(min=1e-8)  # all of them may be 0
        if len(output_weights) == 1:  # `FocalLoss` takes none then; it is 1, or 0 as all weights are
            return self.compare(logits, expected) * output_weights[0]
        loss: Tensor = self.make(**self.arguments, weight=output_weights)(logits, expected)
        return loss
