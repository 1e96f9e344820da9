"""The protocol that every loss follows, and two base classes that spare a loss most of the work.

A loss compares the logits of one resolution with the label map of that resolution. Everything around it is the same
for all losses and lies in `deep_supervision`: which resolutions there are and how they are weighted, the thinning of
the label map, and the sum over the processes that share a batch. `table` lists the losses by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from medseg.core.labels import Labels

REGIONS, IGNORE_LABEL, PARTIAL = "regions", "ignore label", "partly labelled cases"
"""What a loss may say in `supports`: overlapping structures (sigmoid instead of softmax), voxels without annotation,
and cases in which only some of the structures were annotated."""

CLASS_WEIGHTS = "training.class_weights"
VOXEL_WEIGHTS = "weight maps of cases"
"""What a loss may also say in `supports`: it reads its attribute `class_weights`; it takes any numbers as weights of
voxels, not only 0 and 1."""

EVERYTHING = frozenset({REGIONS, IGNORE_LABEL, PARTIAL})


_SMALLEST = 1e-8  # the least that a sum of weights is divided by: with weights of 0 all is 0


class Loss(Protocol):
    """A loss as a plain function of logits and labels; any object with this `__call__` is one.

    It is made as `LossClass(labels, batch_dice, **arguments)`: the plan's `Labels`, the configuration's `batch_dice`
    (sum over the batch before a ratio such as Dice, instead of a ratio per sample), and the arguments that
    `training.loss` in the plan names.

    Where several processes share a batch, each computes the loss of its own samples, and the mean over all samples is
    taken: what a process alone would have, unless the loss mixes the samples of a batch. `SummedLoss` is exact there.

    A loss that has an attribute `supports`, a collection of `REGIONS`, `IGNORE_LABEL` and `PARTIAL`, can be trained
    with such labels. Without it the loss is refused for them, by name and before any work is done.
    """

    def __call__(self, logits: Tensor, target: Tensor, annotated: Tensor | None, weights: Tensor | None) -> Tensor:
        """Return the loss, a scalar with a gradient.

        Args:
            logits: (batch, outputs, ...) in the network's precision; with softmax labels, output 0 is the background.
            target: (batch, ...) label indices, see `core.labels`: 0 is the background, also where voxels are ignored.
            annotated: (batch, structures) bool, which structures were annotated in each sample; None where all were.
            weights: (batch, ...) float32, 1 where a voxel counts and 0 where it is ignored; None where all count. With
                `VOXEL_WEIGHTS` in `supports`, any number of 0 or more.
        """
        ...


class SummedLoss(ABC):
    """A loss whose formula needs only sums over voxels, such as Dice and cross-entropy.

    Where several processes share a batch their sums are added up before the formula, so that every process has exactly
    the loss of the whole batch. `dice_ce.OverlapLoss` is the base of losses made of overlaps.
    """

    supports: frozenset[str] = EVERYTHING
    class_weights: Tensor | None = None
    """(outputs,) float32, the weight of each output; set after the loss is made, where `supports` has `CLASS_WEIGHTS`.
    None where the plan has no weights."""

    @abstractmethod
    def sums(self, logits: Tensor, target: Tensor, annotated: Tensor | None, weights: Tensor | None = None) -> Tensor:
        """Return all that the formula needs as one vector that may be added over parts of a batch.

        Args:
            logits: (batch, outputs, ...).
            target: (batch, ...) label indices, `core.labels.IGNORE` where a voxel is ignored.
            annotated: (batch, structures) bool; None where all structures were annotated.
            weights: (batch, ...) how often each voxel counts; given only to losses with `VOXEL_WEIGHTS` in `supports`.
        """

    @abstractmethod
    def values(self, sums: Tensor) -> Tensor:
        """Return the loss of each resolution.

        Args:
            sums: (resolutions, entries), a row of `sums` for each resolution.
        """


class OneHotLoss(ABC):
    """A loss that compares each output with a mask and treats voxels as a set, such as focal or generalized Dice.

    The base class handles regions, ignored voxels and partly labelled cases: ignored voxels are taken out, and in a
    sample in which a structure was not annotated, softmax outputs that stand for "not annotated" are merged with the
    background (marginal loss, Shi et al. 2021, doi.org/10.1016/j.media.2021.101979), sigmoid outputs are left out.
    A loss that looks at neighbouring voxels (a distance, a skeleton) has to be a `Loss`: without the ignored voxels
    the others have no neighbours.

    Args:
        labels: the plan's labels.
        batch_dice: compare all samples of a batch as one.
    """

    supports: frozenset[str] = EVERYTHING
    class_weights: Tensor | None = None
    """As in `SummedLoss`; a loss that supports them has a method `weighted`."""

    def __init__(self, labels: Labels, batch_dice: bool) -> None:
        self.labels = labels
        self.batch_dice = batch_dice

    @abstractmethod
    def compare(self, logits: Tensor, expected: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: (samples, outputs, ...) float32; of softmax labels the first output is the background.
            expected: the same shape, 1 where a voxel belongs to an output and 0 elsewhere.
        """

    def weighted(self, logits: Tensor, expected: Tensor, output_weights: Tensor) -> Tensor:
        """Return the loss with weights of outputs, a scalar; for losses that support `CLASS_WEIGHTS`.

        Args:
            logits: as for `compare`.
            expected: as for `compare`.
            output_weights: (outputs,) the weight of each output of the two, on their device; their mean is 1.
        """
        raise NotImplementedError(f"{type(self).__name__} says that it supports class weights; expected `weighted`")

    def __call__(self, logits: Tensor, target: Tensor, annotated: Tensor | None, weights: Tensor | None) -> Tensor:
        """Return the mean of `compare` over the samples that count.

        Args:
            logits: (batch, outputs, ...).
            target: (batch, ...) label indices.
            annotated: (batch, structures) bool, which structures were annotated in a sample; None for all.
            weights: (batch, ...) 1 where a voxel counts and 0 where it does not; None for everywhere.
        """
        logits, expected = logits.float(), one_hot(target, self.labels)
        if annotated is None and weights is None:
            return self._compare(logits, expected, None)
        values, counts = [], []
        for samples, structures in self._groups(len(logits), annotated):
            if structures is not None and not any(structures):
                continue  # nothing was annotated, so there is nothing to tell apart
            scores = annotated_outputs(logits[samples], structures, self.labels, _add_probabilities)
            masks = annotated_outputs(expected[samples], structures, self.labels, _add)
            if weights is not None:
                counted = weights[samples] > 0
                if not counted.any():
                    continue
                # all voxels that count, of all samples of the group, as one sample: (1, outputs, voxels)
                scores, masks = (part.movedim(1, -1)[counted].T[None] for part in (scores, masks))
            values.append(self._compare(scores, masks, structures) * len(samples))
            counts.append(len(samples))
        if not values:
            return logits.sum() * 0  # no voxel counts: zero, which still has a gradient
        return torch.stack(values).sum() / sum(counts)

    def _compare(self, logits: Tensor, expected: Tensor, structures: list[bool] | None) -> Tensor:
        """Return the loss of outputs of which only some structures are known, with their weights if there are any."""
        if self.class_weights is None:
            return self.compare(logits, expected)
        weights = annotated_outputs(self.class_weights[None], structures, self.labels, lambda merged: merged[:, :1])[0]
        weights = weights / weights.mean().clamp(min=_SMALLEST)
        return self.weighted(logits, expected, weights.to(logits))

    def _groups(self, batch: int, annotated: Tensor | None) -> list[tuple[list[int], list[bool] | None]]:
        """Return the samples that are compared together, with the structures that were annotated in them."""
        rows = [None] * batch if annotated is None else annotated.tolist()
        if not self.batch_dice:
            return [([number], row) for number, row in enumerate(rows)]
        kinds = [row for number, row in enumerate(rows) if row not in rows[:number]]
        return [([number for number, row in enumerate(rows) if row == kind], kind) for kind in kinds]


def one_hot(target: Tensor, labels: Labels) -> Tensor:
    """Return (batch, outputs, ...) float32, 1 where a voxel belongs to an output.

    Args:
        target: (batch, ...) label indices from 0.
        labels: says which indices make up an output: one each (softmax) or those of a region (sigmoid).
    """
    if labels.activation == "softmax":
        return torch.stack([target == number for number in range(labels.outputs)], dim=1).float()
    members = torch.from_numpy(labels.membership).to(target.device)
    return members[:, target.long()].movedim(0, 1).float()


def annotated_outputs(
    values: Tensor, structures: list[bool] | None, labels: Labels, join: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return (batch, outputs, ...) reduced to the outputs that count where only some structures were annotated.

    Args:
        values: logits or masks of the outputs.
        structures: whether each structure was annotated, in the order of `Labels.names`; None for all.
        labels: the plan's labels.
        join: makes one output of the background and the structures that were not annotated, along dimension 1.
    """
    if structures is None:
        return values
    first = 1 if labels.activation == "softmax" else 0
    known = [number + first for number, was_annotated in enumerate(structures) if was_annotated]
    if not first:
        return values[:, known]
    unknown = [number + first for number, was_annotated in enumerate(structures) if not was_annotated]
    return torch.cat([join(values[:, [0, *unknown]]), values[:, known]], dim=1)


def _add_probabilities(logits: Tensor) -> Tensor:
    """Return the logit of "one of these": exp(logit) is proportional to a softmax probability."""
    return logits.logsumexp(1, keepdim=True)


def _add(masks: Tensor) -> Tensor:
    return masks.sum(1, keepdim=True)
