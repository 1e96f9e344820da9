"""Start a network from another model's weights, and say what a user should know of the differences.

`medseg train --init` uses it; which weights fit is decided in `models.matching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.core.errors import ModelError
from medseg.models.identity import identity
from medseg.models.matching import Part, Side, TakenWeights, channel_pairs, share_taken, take_weights
from medseg.models.model import Model
from medseg.models.nnunet.folder import FOLD, model_folders
from medseg.models.open import load_model
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan

_LEAST_SHARE = 0.01
"""A start needs at least this share of the encoder's weights: a decoder alone has nothing to decode."""
_ENCODER = ("stem", "encoder")
_CHECKPOINT = ".pth"
_SPACING_RATIO = 1.25
"""Spacings that differ by a larger factor than this are worth a note."""


@dataclass(frozen=True)
class Start(TakenWeights):
    """The weights that a network took from another model.

    Attributes:
        source: path of the model.
        model: its identity, as answers of it record it.
        fold: the fold whose weights were taken.
        parts: each part of the network, and how much of it was taken.
        notes: what a user should know, in sentences.
    """

    source: str
    model: str
    fold: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def open_source(path: Path) -> Model:
    """Open the model to start from: all that `load_model` opens, and a checkpoint in a model folder of nnU-Net's.

    Returns:
        The model, with its networks on the CPU.

    Raises:
        ModelError: no model is there, or it cannot be read.
    """
    cpu = torch.device("cpu")
    if path.suffix != _CHECKPOINT:
        return load_model(path, cpu)
    folder = path.absolute().parent
    if not path.exists() or not FOLD.fullmatch(folder.name) or model_folders(folder.parent) != [folder.parent]:
        raise ModelError(
            f"{path} alone does not say what network it is." if path.exists() else f"There is no model {path}.",
            "Expected nnU-Net's model folder around it: plans.json, dataset.json and fold_0/checkpoint_final.pth.",
        )
    return load_model(folder, cpu, checkpoint=path.name)


def start_from(
    network: torch.nn.Module, plan: Plan, configuration: Configuration, source: Model, fold: str = "0"
) -> Start:
    """Copy the weights of a model that fit into a network, in place; other weights stay as they are.

    Args:
        network: made by the plan for this configuration.
        plan: the plan of the network.
        configuration: the configuration of the network.
        source: the model; its network of the same fold is taken if there is one, else its first.
        fold: the fold that is to be trained.

    Returns:
        What was taken, and notes.

    Raises:
        ModelError: nothing that matters fits; the message says why.
    """
    number = source.folds.index(fold) if fold in source.folds else 0
    target = Side(network, plan, configuration)
    source_side = Side(source.networks[number], source.plan, source.configuration)
    parts = tuple(take_weights(target, source_side))
    source_fold = source.folds[number]
    notes = (*source.notes, *_differences(target, source_side), *_overlap_note(plan, source.plan, fold, source_fold))
    start = Start(str(source.folder), identity(source), source_fold, parts, notes)
    deciding = [part for part in parts if part.name.startswith(_ENCODER)] or parts
    share = share_taken(deciding)
    if share < _LEAST_SHARE:
        why = "; ".join(dict.fromkeys(f"{part.name}: {part.detail}" for part in parts if part.detail))
        raise ModelError(
            f"The weights of {source.folder} do not fit this network: {share:.1%} of its encoder. {why}",
            "Copy `network` (and better also `patch_voxels` and `spacing_mm`) from the configuration in its plan to "
            "your plan; `medseg import-nnunet` writes the plan of nnU-Net's models.",
        )
    return start


def _differences(target: Side, source: Side) -> list[str]:
    """Return notes on what the source was trained to expect and this plan does differently."""
    notes = []
    here, there = target.configuration, source.configuration
    ratios = [a / b for a, b in zip(here.spacing_mm, there.spacing_mm, strict=False)]
    if any(not 1 / _SPACING_RATIO <= ratio <= _SPACING_RATIO for ratio in ratios):
        shown = [" x ".join(f"{size:g}" for size in spacing) + " mm" for spacing in (there.spacing_mm, here.spacing_mm)]
        notes.append(f"the source's voxels are {shown[0]}, here {shown[1]} (spacing_mm)")
    axes = [(side.plan.orientation, side.plan.transpose_forward) for side in (target, source)]
    if axes[0] != axes[1]:
        notes.append("the source saw scans with their axes in another order (orientation, transpose_forward)")
    notes += _intensity_differences(target, source)
    if not isinstance(target.network, UNet) and target.channels != source.channels:
        notes.append("channels differ and are matched in their order: names are looked at in medseg's own U-Nets only")
    return notes


def _intensity_differences(target: Side, source: Side) -> list[str]:
    """Return notes on channels that both have, but normalize differently."""
    notes = []
    pairs = channel_pairs(target.channels, source.channels)
    if not pairs and len(target.channels) == len(source.channels):
        pairs = {number: number for number in range(len(target.channels))}
    schemes, source_schemes = target.configuration.normalization, source.configuration.normalization
    for here, there in pairs.items():
        name = target.channels[here]
        if max(here, there) >= min(len(schemes), len(source_schemes)):  # the answer of a cascade's first stage
            continue
        if schemes[here] != source_schemes[there]:
            shown = [
                scheme.scheme + (" within the nonzero mask" if scheme.nonzero_only else "")
                for scheme in (source_schemes[there], schemes[here])
            ]
            notes.append(f"the source's {name} was normalized by {shown[0]}, here by {shown[1]} (normalization)")
        elif schemes[here].scheme == "ct" and _ct_statistics(target.plan, here) != _ct_statistics(source.plan, there):
            notes.append(f"the source's {name} was normalized by other statistics (data.intensities)")
    return notes


def _ct_statistics(plan: Plan, channel: int) -> tuple[float, ...] | None:
    """Return the statistics of a channel that CT normalization uses; None if the plan has none."""
    if channel >= len(plan.data.intensities):
        return None
    intensity = plan.data.intensities[channel]
    return (intensity.mean, intensity.std, intensity.percentile_00_5, intensity.percentile_99_5)


def _overlap_note(plan: Plan, source: Plan, fold: str, source_fold: str) -> list[str]:
    """Return [a warning] if the source may have been trained on validation cases of this fold, else []."""
    same_data = (plan.data.folder, plan.data.cases) == (source.data.folder, source.data.cases)
    if not (same_data or plan.name == source.name) or fold in (source_fold, "all"):
        return []
    return [
        f"the source is fold {source_fold} of the same data, so it may have seen validation cases of fold {fold}, and "
        "their Dice will be too high"
    ]
