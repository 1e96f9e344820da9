"""Wrap a loss for training: several resolutions of answers, labels thinned to each, and the sum over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.networks.table import supervision_scales
from medseg.plans.schema import Configuration, Plan
from medseg.training.losses.class_weights import class_weights
from medseg.training.losses.protocol import Loss, SummedLoss
from medseg.training.losses.sum import LossSum, Part
from medseg.training.losses.table import AnyLoss, make_loss

_SMALLEST = 1e-8  # the least that a sum of weights is divided by: where all are 0, so is the loss


def _alone(sums: Tensor) -> Tensor:
    return sums


@dataclass(frozen=True)
class DeepSupervision:
    """A loss over all the resolutions that a network answers in.

    Unless the plan or the network has weights, they halve from one resolution to the next and sum to one, as in nnU-Net
    (`deep_supervision.py`).

    Attributes:
        loss: the loss of one resolution, or a sum of losses.
        labels: the plan's labels.
        scales: for each resolution, how much coarser than the target it is along each axis; the finest first.
        total: adds up a tensor over the processes that share a batch, and passes the gradient on as it is
            (`Ranks.total`); for a process alone, the tensor itself.
        weights: of each scale, with a sum of 1; those of 0 are left out. Empty for nnU-Net's.
    """

    loss: AnyLoss
    labels: Labels
    scales: Sequence[Sequence[int]]
    total: Callable[[Tensor], Tensor] = _alone
    weights: Sequence[float] = ()

    @classmethod
    def of(
        cls,
        network: torch.nn.Module,
        plan: Plan,
        configuration: Configuration,
        total: Callable[[Tensor], Tensor] = _alone,
        partly_labelled: bool = False,
        voxel_weights: bool = False,
    ) -> DeepSupervision:
        """Return the loss that a plan names, over the resolutions that a network answers in.

        Args:
            network: as `networks.table.build_network` makes it.
            plan: names the loss, and says whether there is deep supervision at all.
            configuration: the configuration of the network.
            total: adds up a tensor over processes, see the attribute.
            partly_labelled: whether there are cases in which only some structures were annotated.
            voxel_weights: whether there are cases with a map of weights.

        Raises:
            PlanError: the plan's loss cannot be made, or not be used for such labels; or the plan names levels that the
                network does not answer on.
        """
        loss = make_loss(
            plan.training, plan.labels, configuration.batch_dice, partly_labelled, class_weights(plan), voxel_weights
        )
        choice = plan.training.deep_supervision
        scales = supervision_scales(network, configuration.dimensions, bool(choice))
        if isinstance(choice, bool):
            own_weights: Sequence[float] = getattr(network, "supervision_weights", ()) if choice else ()
            return cls(loss, plan.labels, scales, total, own_weights)
        weights = choice.by_level
        if len(weights) > len(scales):
            known = ", ".join(f"{level} ({scale_words(scale)})" for level, scale in enumerate(scales))
            raise PlanError(
                f"training.deep_supervision.levels names level {len(weights) - 1}, and the network "
                f"{configuration.network.name} has {'level' if len(scales) == 1 else 'levels'} {known}.",
                "Name levels that the network has, or set training.deep_supervision to true for all of them.",
            )
        return cls(loss, plan.labels, scales[: len(weights)], total, weights)

    def __call__(
        self,
        outputs: Sequence[Tensor],
        target: Tensor,
        annotated: Tensor | None = None,
        case_weights: Tensor | None = None,
        voxel_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            outputs: logits (batch, outputs, ...) of each resolution.
            target: (batch, ...) label indices, or `IGNORE`.
            annotated: (batch, structures) bool, which structures were annotated in each sample; None for all.
            case_weights: (batch,) what the loss of each sample is multiplied by; None for 1. The loss is then the mean
                over samples of weight times loss, as Keras has it: with a batch of one sample, too, a weight counts.
            voxel_weights: (batch, ...) how often each voxel counts; None for once.

        Raises:
            PlanError: the network's answers are not as many or not as large as its scales say.
        """
        targets = [thin(target, scale) for scale in self.scales]
        self._check(outputs, targets)
        maps = [None if voxel_weights is None else thin(voxel_weights, scale) for scale in self.scales]
        weights = self.weights or [0.5**level for level in range(len(targets))]
        seen = [level for level, weight in enumerate(weights) if weight > 0]
        resolutions = [(outputs[level], targets[level], maps[level]) for level in seen]
        parts = self.loss.parts if isinstance(self.loss, LossSum) else (Part(self.loss, 1.0, 1.0),)
        losses = torch.stack([self._by_resolution(part.loss, resolutions, annotated, case_weights) for part in parts])
        if case_weights is not None:
            weight, samples = self.total(torch.stack([case_weights.sum(), case_weights.new_tensor(len(target))]))
            losses = losses * (weight / samples)
        if isinstance(self.loss, LossSum):
            losses = losses * self.loss.weights_on(losses.device)[:, None]
        shares = [weights[level] / sum(weights) for level in seen]
        return torch.stack([share * loss for share, loss in zip(shares, losses.sum(0).unbind(), strict=True)]).sum()

    def at_full_resolution(self) -> DeepSupervision:
        """Return the loss of the full resolution alone, in this process alone."""
        return replace(self, scales=self.scales[:1], weights=(), total=_alone)

    def advance(self, progress: float) -> None:
        """Set the weights of a sum of losses to those of a point of the schedule, from 0 to 1."""
        if isinstance(self.loss, LossSum):
            self.loss.advance(progress)

    def _by_resolution(
        self,
        loss: Loss | SummedLoss,
        resolutions: Sequence[tuple[Tensor, Tensor, Tensor | None]],
        annotated: Tensor | None,
        case_weights: Tensor | None,
    ) -> Tensor:
        """Return a loss of each resolution, (resolutions,), a mean over the samples of all processes."""
        if isinstance(loss, SummedLoss):
            # all resolutions in one tensor, so that processes wait for each other once
            compute = partial(_sums, loss)
            losses = torch.stack([_over_samples(compute, *inputs, annotated, case_weights) for inputs in resolutions])
            return loss.values(self.total(losses))
        # The mean over all samples: a process weighs as much as its samples, which may be one more than another's.
        compute = partial(self._plain, loss)
        losses = torch.stack([_over_samples(compute, *inputs, annotated, case_weights) for inputs in resolutions])
        if case_weights is None:
            sums = self.total(torch.cat([losses, losses.new_ones(1)]) * len(resolutions[0][1]))
        else:
            sums = self.total(torch.cat([losses, case_weights.sum()[None]]))
        return sums[:-1] / sums[-1].clamp(min=_SMALLEST)

    def _plain(
        self, loss: Loss, logits: Tensor, target: Tensor, annotated: Tensor | None, voxel_weights: Tensor | None
    ) -> Tensor:
        """Return the loss of one resolution with weight 0 for ignored voxels; for losses that take voxel weights."""
        # Without an ignore label no voxel can be ignored, and the device is not made to look for any.
        weights = None if self.labels.ignore is None else (target != IGNORE).float()
        if voxel_weights is not None:
            weights = voxel_weights if weights is None else weights * voxel_weights
        value = loss(logits, target.clamp(min=0), annotated, weights)
        if value.ndim:
            raise PlanError(f"The loss returned a tensor of shape {tuple(value.shape)}; expected a single number.")
        return value

    def _check(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        expected = [(len(target), self.labels.outputs, *target.shape[1:]) for target in targets]
        answered = [tuple(logits.shape) for logits in outputs]
        if answered != expected:
            raise PlanError(
                f"The network returned {answered}; expected {expected}: (batch, outputs, ...) for each of its "
                "supervision_scales, the full resolution first.",
                "A network of your own answers one tensor of logits on the grid of its input, or a list of them with a "
                "property `supervision_scales`. docs/development/extend.md shows both.",
            )


def _sums(
    loss: SummedLoss, logits: Tensor, target: Tensor, annotated: Tensor | None, voxel_weights: Tensor | None
) -> Tensor:
    """Return the sums of a loss, which need not know of weights of voxels where there are none."""
    if voxel_weights is None:
        return loss.sums(logits, target, annotated)
    return loss.sums(logits, target, annotated, voxel_weights)


def _over_samples(
    compute: Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor],
    logits: Tensor,
    target: Tensor,
    voxel_weights: Tensor | None,
    annotated: Tensor | None,
    case_weights: Tensor | None,
) -> Tensor:
    """Return `compute` of the whole batch or, where cases have weights, its weighted sum over the samples."""
    if case_weights is None:
        return compute(logits, target, annotated, voxel_weights)
    values = []
    for number, weight in enumerate(case_weights):
        sample = slice(number, number + 1)
        structures, voxels = (None if tensor is None else tensor[sample] for tensor in (annotated, voxel_weights))
        values.append(weight * compute(logits[sample], target[sample], structures, voxels))
    return torch.stack(values).sum(0)


def scale_words(scale: Sequence[int]) -> str:
    """Return how much coarser than the image an answer is, in words.

    >>> scale_words([1, 1]), scale_words([1, 2, 2])
    ('full resolution', 'coarser by 1 x 2 x 2')
    """
    return "full resolution" if max(scale) == 1 else "coarser by " + " x ".join(map(str, scale))


def thin(target: Tensor, scale: Sequence[int]) -> Tensor:
    """Return a label map on a grid that is coarser by whole factors: the voxel in the middle of each cell.

    Nearest neighbour as torch's "nearest-exact" has it; a strided view, nothing is copied.

    Args:
        target: (batch, ...) label indices.
        scale: how much coarser, for each axis.
    """
    return target[(slice(None), *(slice(factor // 2, None, factor) for factor in scale))]
