"""MONAI's losses, as far as they treat voxels as a set (docs.monai.io/en/stable/losses.html)."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.protocol import OneHotLoss


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
        made = getattr(monai.losses, class_name)
        softmax = labels.activation == "softmax"
        settings = {
            "softmax": softmax,
            "use_softmax": softmax,  # `FocalLoss`, which is sigmoid where it is not softmax
            "sigmoid": not softmax,
            "batch": batch_dice,
            "include_background": not (softmax and drop_background),
        }
        known = inspect.signature(made).parameters
        self.loss = made(**{key: value for key, value in settings.items() if key in known} | arguments)

    def compare(self, logits: Tensor, expected: Tensor) -> Tensor:
        """Return what MONAI's class says of logits and masks, (samples, outputs, ...) each."""
        loss: Tensor = self.loss(logits, expected)
        return loss
