"""Start from another model: its weights in a new network, and what a user should know of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.models.identity import identity
from medseg.models.matching import Part, Side, channel_pairs, take_weights
from medseg.models.model import Model
from medseg.models.nnunet.folder import FOLD, model_folders
from medseg.models.open import load_model
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan

_LEAST_SHARE = 0.01
_ENCODER = ("stem", "encoder")
"""A start needs at least this share of the encoder's weights: a decoder alone has nothing to decode."""
_CHECKPOINT = ".pth"
_SAME_SPACING = 1.25


@dataclass(frozen=True)
class Start:
    """What was taken from which model.

    Attributes:
        source: where it lies.
        model: its identity, as answers of it record it.
        fold: whose weights were taken.
        parts: each part of the network, and how much of it was taken.
        notes: what a user should know, in sentences.
    """

    source: str
    model: str
    fold: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the network's weights, how many were taken: 0 to 1."""
        return _share(self.parts)

    def record(self) -> dict[str, Any]:
        """As a run's record keeps it."""
        return {**asdict(self), "share": round(self.share, 4)}


def open_source(path: Path) -> Model:
    """The model to start from: all that `load_model` opens, and a checkpoint in a model folder of nnU-Net's.

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
    """Copy into `network`, in place, what fits of a model's weights.

    Args:
        network: made by the plan for this configuration; what does not fit stays as it is.
        source: of its networks, that of the same fold is taken, else the first.
        fold: that is to be trained.

    Raises:
        ModelError: nothing that matters fits; the message says why.
    """
    number = source.folds.index(fold) if fold in source.folds else 0
    mine = Side(network, plan, configuration)
    theirs = Side(source.networks[number], source.plan, source.configuration)
    parts = tuple(take_weights(mine, theirs))
    chosen = source.folds[number]
    notes = (*source.notes, *_differences(mine, theirs), *_seen(plan, source.plan, fold, chosen))
    start = Start(str(source.folder), identity(source), chosen, parts, notes)
    deciding = [part for part in parts if part.name.startswith(_ENCODER)] or parts
    if _share(deciding) < _LEAST_SHARE:
        why = "; ".join(dict.fromkeys(f"{part.name}: {part.detail}" for part in parts if part.detail))
        raise ModelError(
            f"The weights of {source.folder} do not fit this network: {_share(deciding):.1%} of its encoder. {why}",
            "Copy `network`, and best `patch_voxels` and `spacing_mm` too, from the configuration in its plan to "
            "yours; `medseg import-nnunet` writes the plan of nnU-Net's models.",
        )
    return start


def _share(parts: Sequence[Part]) -> float:
    return sum(part.taken for part in parts) / max(sum(part.weights for part in parts), 1)


def _differences(mine: Side, theirs: Side) -> list[str]:
    """What its weights have learnt to expect, and this plan does otherwise."""
    notes = []
    here, there = mine.configuration, theirs.configuration
    ratios = [a / b for a, b in zip(here.spacing_mm, there.spacing_mm, strict=False)]
    if any(not 1 / _SAME_SPACING <= ratio <= _SAME_SPACING for ratio in ratios):
        notes.append(f"the source's voxels are {_list(there.spacing_mm)}, here {_list(here.spacing_mm)} (spacing_mm)")
    if (mine.plan.orientation, mine.plan.transpose_forward) != (theirs.plan.orientation, theirs.plan.transpose_forward):
        notes.append("the source saw scans with their axes in another order (orientation, transpose_forward)")
    notes += _other_intensities(mine, theirs)
    if not isinstance(mine.network, UNet) and mine.channels != theirs.channels:
        notes.append("channels differ and are matched in their order: names are looked at in medseg's own U-Nets only")
    return notes


def _other_intensities(mine: Side, theirs: Side) -> list[str]:
    """Channels that both have, and that are brought to other intensities here."""
    notes = []
    pairs = channel_pairs(mine.channels, theirs.channels)
    if not pairs and len(mine.channels) == len(theirs.channels):
        pairs = {number: number for number in range(len(mine.channels))}
    for here, there in pairs.items():
        name = mine.channels[here]
        if max(here, there) >= min(len(mine.configuration.normalization), len(theirs.configuration.normalization)):
            continue
        own, other = mine.configuration.normalization[here], theirs.configuration.normalization[there]
        if own != other:
            said = [one.scheme + (" within the nonzero mask" if one.nonzero_only else "") for one in (other, own)]
            notes.append(f"the source's {name} was normalized by {said[0]}, here by {said[1]} (normalization)")
        elif own.scheme == "ct" and _window(mine.plan, here) != _window(theirs.plan, there):
            notes.append(f"the source's {name} was normalized by other statistics (data.intensities)")
    return notes


def _window(plan: Plan, channel: int) -> tuple[float, ...] | None:
    """What CT normalization takes from a channel's statistics."""
    if channel >= len(plan.data.intensities):
        return None
    one = plan.data.intensities[channel]
    return (one.mean, one.std, one.percentile_00_5, one.percentile_99_5)


def _seen(plan: Plan, source: Plan, fold: str, chosen: str) -> list[str]:
    """Whether the source may have been trained on cases that are to be kept apart."""
    alike = (plan.data.folder, plan.data.cases) == (source.data.folder, source.data.cases) or plan.name == source.name
    if not alike or fold in (chosen, "all"):
        return []
    return [
        f"the source is fold {chosen} of the same data, so it may have seen validation cases of fold {fold}, and their "
        "Dice will flatter"
    ]


def _list(spacing: Sequence[float]) -> str:
    return " x ".join(f"{one:g}" for one in spacing) + " mm"
