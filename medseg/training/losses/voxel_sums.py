"""The sums over voxels that overlap losses are made of, with hand-written gradients.

Logits are read chunk by chunk and never expanded to float32 or one-hot masks as a whole. The forward pass keeps nothing
but its arguments; the backward pass computes the probabilities of a chunk again and writes the gradient in the type of
the logits. Beside that gradient, memory is a few chunks, however many classes there are. Figures are in
docs/training/training-internals.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medseg.core.labels import IGNORE

_CHUNK = {"cpu": 1 << 19}
_LARGE_CHUNK = 1 << 25
"""Logits in a chunk: on a CPU 2 MB of float32, which stay in its caches; elsewhere so many that few kernels start."""


class VoxelSums(NamedTuple):
    """Sums over the voxels that are not ignored, for each sample and output; of their weights, where they have any.

    The first three have gradients, `reference` and `voxels` have none.

    Attributes:
        entropy: (batch, 1) cross-entropy, weighted by class; or (batch, outputs) binary cross-entropy.
        overlap: (batch, outputs) sum of the probability inside the reference.
        prediction: (batch, outputs) sum of the probability.
        reference: (batch, outputs) voxels of the reference.
        voxels: (batch, 1) voxels that are not ignored; where classes have weights, the sum of these.
    """

    entropy: Tensor
    overlap: Tensor
    prediction: Tensor
    reference: Tensor
    voxels: Tensor


def softmax_sums(
    logits: Tensor,
    target: Tensor,
    annotated: Tensor | None = None,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
) -> VoxelSums:
    """Return the sums for outputs that exclude each other.

    Args:
        logits: (batch, outputs, ...), the background first.
        target: (batch, ...) indices of outputs, or `IGNORE`.
        annotated: (batch, outputs - 1) bool, which structures were annotated in each sample; those that were not are
            one class with the background. None where all were.
        class_weights: (outputs,) what the cross-entropy of a voxel of each class is multiplied by; None for 1. A class
            that is merged with the background has the background's.
        weights: (batch, ...) how often each voxel counts in every sum; None for once.
    """
    named = None if annotated is None else torch.nn.functional.pad(annotated, (1, 0), value=False)[..., None]
    return VoxelSums(*_Softmax.apply(logits, target, named, class_weights, weights))  # type: ignore[no-untyped-call]


def sigmoid_sums(logits: Tensor, target: Tensor, membership: Tensor, weights: Tensor | None = None) -> VoxelSums:
    """Return the sums for outputs that may overlap.

    Args:
        logits: (batch, outputs, ...).
        target: (batch, ...) label indices, or `IGNORE`.
        membership: (outputs, label indices) bool, which indices make up an output.
        weights: as in `softmax_sums`.
    """
    return VoxelSums(*_Sigmoid.apply(logits, target, membership, weights))  # type: ignore[no-untyped-call]


class _Softmax(torch.autograd.Function):
    """Sums for outputs that exclude each other; `named` is (batch, outputs, 1) bool, see `_merge`, or None.

    `class_weights` is (outputs,), or None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        named: Tensor | None,
        class_weights: Tensor | None,
        weights: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, target, named, class_weights, weights)
        batch, outputs = logits.shape[:2]
        exact = _working_type(logits)
        entropy, voxels = (torch.zeros(batch, 1, dtype=exact, device=logits.device) for _ in range(2))
        overlap, prediction, reference = (entropy.new_zeros(batch, outputs) for _ in range(3))
        for part, labels, _, valid in _chunks(logits, target, weights):
            scores, index = (part, labels) if named is None else _merge(part, labels, named)[:2]
            log_probability = scores.log_softmax(1)
            index = index[:, None].clamp(min=0).long()
            chosen = log_probability.gather(1, index)
            importance = valid if class_weights is None else valid * class_weights.to(exact)[index]
            entropy -= (chosen * importance).sum(2)
            voxels += importance.sum(2)
            prediction += _weighted_sum(log_probability.exp_(), valid)
            reference += _by_class(valid, index, outputs)
            overlap += _by_class(chosen.exp_().mul_(valid), index, outputs)
        ctx.mark_non_differentiable(reference, voxels)
        return entropy, overlap, prediction, reference, voxels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_entropy: Tensor, to_overlap: Tensor, to_prediction: Tensor, *_: Any) -> Any:
        """Return the gradient of the logits.

        Softmax has dp_i/dz_j = p_i (delta_ij - p_j). A sum over outputs with weights w_i of the probabilities p_i thus
        has the gradient p_j (w_j - sum_i w_i p_i); here w_i is what arrives for `prediction`, plus what arrives for
        `overlap` at the output of the voxel's label. Cross-entropy has the gradient p - reference, times the weight of
        the voxel's class.
        """
        logits, target, named, class_weights, weights = ctx.saved_tensors
        gradient = _empty_like(logits)
        for part, labels, to_part, valid in _chunks(logits, target, weights, gradient):
            scores, index, merged = (part, labels, None) if named is None else _merge(part, labels, named)
            index = index[:, None].clamp(min=0).long()
            probability = scores.softmax(1)
            chosen = probability.gather(1, index) * to_overlap.gather(1, index[:, 0])[:, None]
            expected = torch.bmm(to_prediction[:, None], probability) + chosen
            probability *= valid
            slope = to_entropy[..., None]
            if class_weights is not None:
                slope = slope * class_weights.to(slope)[index]
            probability *= to_prediction[..., None] + (slope - expected)
            probability.scatter_add_(1, index, (chosen - slope) * valid)
            if merged is not None:  # the merged class's gradient goes to its members by their share of its probability
                shared = probability[:, :1] * (part - merged).exp()
                probability = torch.where(named, probability, shared)
            to_part.copy_(probability.to(gradient.dtype))  # type first: both in one copy is slower
        return gradient, None, None, None, None


class _Sigmoid(torch.autograd.Function):
    """Sums for outputs that may overlap; sigmoid has dp/dz = p (1 - p), its cross-entropy p - reference."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, membership: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, target, membership, weights)
        batch, outputs = logits.shape[:2]
        exact = _working_type(logits)
        entropy, overlap, prediction, reference = (
            torch.zeros(batch, outputs, dtype=exact, device=logits.device) for _ in range(4)
        )
        voxels = entropy.new_zeros(batch, 1)
        for part, labels, _, valid in _chunks(logits, target, weights):
            expected = _expected(labels, membership, exact) * valid
            probability = part.sigmoid()
            voxels += valid.sum(2)
            reference += expected.sum(2)
            overlap += (probability * expected).sum(2)
            prediction += _weighted_sum(probability, valid)
            # -[y log p + (1 - y) log(1 - p)] = softplus(z) - y z, which has no logarithm of a rounded probability
            entropy += _weighted_sum(torch.nn.functional.softplus(part), valid) - (part * expected).sum(2)
        ctx.mark_non_differentiable(reference, voxels)
        return entropy, overlap, prediction, reference, voxels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_entropy: Tensor, to_overlap: Tensor, to_prediction: Tensor, *_: Any) -> Any:
        logits, target, membership, weights = ctx.saved_tensors
        gradient = _empty_like(logits)
        for part, labels, to_part, valid in _chunks(logits, target, weights, gradient):
            expected = _expected(labels, membership, part.dtype)
            probability = part.sigmoid_()
            slope = torch.addcmul(to_prediction[..., None], to_overlap[..., None], expected)
            slope *= probability * (1 - probability)
            slope += to_entropy[..., None] * (probability - expected)
            to_part.copy_(slope.mul_(valid).to(gradient.dtype))
        return gradient, None, None, None


def _working_type(logits: Tensor) -> torch.dtype:
    """Return float32 for half-precision logits, whose sums over a patch would have no digits left; else their type."""
    return torch.promote_types(logits.dtype, torch.float32)


def _empty_like(logits: Tensor) -> Tensor:
    """Return a tensor for the gradient, channels-last if the logits are, so that the layer below converts nothing."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(logits.ndim, torch.contiguous_format)
    same = logits.is_contiguous(memory_format=layout)
    return torch.empty_like(logits, memory_format=layout if same else torch.contiguous_format)


def _chunks(
    logits: Tensor, target: Tensor, weights: Tensor | None, gradient: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield chunks of (logits in full precision, target, gradient, weights): (batch, outputs, voxels of the chunk).

    The target has no axis of outputs; the weights have one output, and are 0 where a voxel is ignored. The logits are a
    copy in a buffer, which the next chunk overwrites; the gradient is a view to write to. Volumes whose memory is not a
    plain sequence of voxels are copied whole by `flatten`.
    """
    batch, outputs = logits.shape[:2]
    voxels = target[0].numel()
    size = max(1, _CHUNK.get(logits.device.type, _LARGE_CHUNK) // (batch * outputs))
    flat, labels = logits.flatten(2), target.flatten(1)
    importance = None if weights is None else weights.flatten(1)
    answers = flat if gradient is None else gradient.flatten(2)
    buffer = torch.empty(batch * outputs * min(size, voxels), dtype=_working_type(logits), device=logits.device)
    for start in range(0, voxels, size):
        stop = min(start + size, voxels)
        part = buffer[: batch * outputs * (stop - start)].view(batch, outputs, stop - start)
        classes = labels[:, start:stop]
        valid = (classes != IGNORE)[:, None].to(part.dtype)
        if importance is not None:
            valid *= importance[:, None, start:stop]
        yield part.copy_(flat[..., start:stop]), classes, answers[..., start:stop], valid


def _merge(logits: Tensor, index: Tensor, named: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the background with the structures that were not annotated.

    Args:
        logits: (batch, outputs, voxels).
        index: (batch, voxels) label indices, or `IGNORE`.
        named: (batch, outputs, 1) bool, which outputs are structures that were annotated.

    Returns:
        Logits in which output 0 is the merged class and its other members have -inf, label indices in which it is 0,
        and its logit (batch, 1, voxels): the logarithm of the sum of its members' exponentials.
    """
    merged = logits.masked_fill(named, -torch.inf).logsumexp(1, keepdim=True)
    scores = logits.masked_fill(~named, -torch.inf)
    scores[:, :1] = merged
    known = named[..., 0].gather(1, index.clamp(min=0).long())
    return scores, torch.where(index == IGNORE, index, index * known), merged


def _expected(labels: Tensor, membership: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (batch, outputs, voxels), 1 inside a structure; where voxels are ignored, what the background has."""
    return membership.to(dtype)[:, labels.clamp(min=0).long()].movedim(1, 0)


def _by_class(values: Tensor, index: Tensor, outputs: int) -> Tensor:
    """Return (batch, outputs): values (batch, 1, voxels) summed by the class (batch, 1, voxels) of each voxel."""
    if values.device.type == "cpu":
        return values.new_zeros(len(values), outputs).scatter_add_(1, index[:, 0], values[:, 0])
    # On a GPU scatter_add_ is atomic: all voxels of a class would wait for each other, in another order every time.
    classes = torch.arange(outputs, device=index.device)[:, None]
    return ((index == classes) * values).sum(2)


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Return (batch, outputs): values (batch, outputs, voxels) summed over voxels with weights (batch, 1, voxels).

    The values may be overwritten.
    """
    if values.device.type == "cpu":
        return torch.bmm(values, weights.transpose(1, 2))[..., 0]
    # A product with a single column gives a GPU few blocks of threads, each with a sum of millions of terms; a sum is
    # divided among all of them, and added up pairwise, which is also more exact.
    return values.mul_(weights).sum(2)
