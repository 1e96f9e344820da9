"""Load models that nnU-Net trained, as they are: from a model folder or a folder of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.models.model import Model, filled_network, overrides_for
from medseg.models.nnunet.checkpoint import Checkpoint, read_checkpoint
from medseg.models.nnunet.fingerprint import scan_range_of
from medseg.models.nnunet.folder import (
    DATASET,
    PLANS,
    choose_model,
    configuration_of,
    fold_checkpoints,
    model_folders,
    read_json,
    stage_folder,
)
from medseg.models.nnunet.plans import plan_from_nnunet
from medseg.models.nnunet.weights import weights_from_nnunet
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan

_OWN_TRAINERS = re.compile(
    r"nnUNetTrainer(_?(\d+epochs?|\d+ep|NoMirroring|onlyMirror01|DA5|DA5ord0|DA5Segord0|DAOrd0|DASegOrd0|NoDA|noDummy2DDA|"
    r"noDeepSupervision|NoDeepSupervision|CELoss|DiceLoss|DiceCELoss|DiceTopK10Loss|TopK10Loss|Topk10Loss|Topk10LossLS01|"
    r"noSmooth|Adam|Adam1en3|Adam3en4|Adan|Adan1en1|Adan1en3|Adan3en4|[vV]anillaAdam|[vV]anillaAdam1en3|"
    r"[vV]anillaAdam3en4|CosAnneal|warmup|probabilisticOversampling(_\d+)?|Benchmark|noDataLoading|lr1en3|lr3en4))*"
)
"""Names of nnU-Net's own trainers that use the network as the plan describes it."""


@dataclass(frozen=True)
class Reading:
    """Options on how to read a model of nnU-Net's.

    Attributes:
        device: the device for its networks.
        folds: None for all numbered folds, else `all`.
        overrides: `dotted.key=value` strings for its plan.
        configuration: which one, if a folder holds several.
        checkpoint: `final`, `best`, `latest` or a file's name; None for the final one, else the best.
    """

    device: torch.device
    folds: Sequence[str] | None = None
    overrides: Sequence[str] = ()
    configuration: str | None = None
    checkpoint: str | None = None


def load_nnunet(folder: Path, reading: Reading) -> Model:
    """Load a model of nnU-Net's, and the first stage of a cascade, whose folder lies beside it.

    Args:
        folder: the folder of the model, or a folder of several.
        reading: says which one, and how to read it.

    Returns:
        The model, with the stage before it.

    Raises:
        ModelError: there are several models and none was chosen, a fold or the first stage is missing, or something
            has no counterpart in medseg; the message names it.
    """
    folder = choose_model(model_folders(folder), reading.configuration, folder)
    model = load_stage(folder, reading)
    stage = model.configuration.previous_stage
    if stage is None:
        return model
    first = stage_folder(folder, stage)
    if not model_folders(first):
        raise ModelError(
            f"{folder.name} is the second stage of a cascade; its first stage {stage} is not beside it: {first}.",
            "nnU-Net's results folder and its export hold both stages beside each other.",
        )
    overrides = overrides_for(stage, reading.overrides)
    previous = load_nnunet(first, replace(reading, configuration=stage, overrides=overrides))
    return replace(model, previous=previous, notes=tuple(dict.fromkeys((*model.notes, *previous.notes))))


def load_stage(folder: Path, reading: Reading) -> Model:
    """Load one model folder, without the stages before it.

    Args:
        folder: the folder of the model.
        reading: says how to read it.

    Returns:
        The model.

    Raises:
        ModelError: as `load_nnunet`.
    """
    plans, dataset = read_json(folder / PLANS), read_json(folder / DATASET)
    paths, notes = fold_checkpoints(folder, reading.folds, reading.checkpoint)
    checkpoints = {fold: read_checkpoint(path) for fold, path in paths.items()}
    name = _configuration(checkpoints, folder)
    if reading.configuration not in (None, name):
        raise ModelError(f"{folder} was trained in the configuration {name!r}, not {reading.configuration!r}.")
    plan, more = _plan(plans, dataset, name, checkpoints, reading.overrides, scan_range_of(folder))
    networks = []
    for fold, checkpoint in checkpoints.items():
        weights = weights_from_nnunet(checkpoint.weights, str(paths[fold]))
        network = filled_network(plan, plan.configuration(name), weights, str(paths[fold]))
        networks.append(network.to(reading.device))
    files = tuple(paths.values())
    return Model(plan, name, tuple(checkpoints), tuple(networks), folder, None, (*notes, *more), files)


def _configuration(checkpoints: dict[str, Checkpoint], folder: Path) -> str:
    """Return the configuration that the checkpoints name, else the one in the folder's name."""
    named = {fold: checkpoint.configuration or configuration_of(folder) for fold, checkpoint in checkpoints.items()}
    names = list(dict.fromkeys(named.values()))
    if len(names) > 1:
        shown = ", ".join(f"fold_{fold}: {name}" for fold, name in named.items())
        raise ModelError(f"The folds of {folder} were trained in different configurations: {shown}.")
    return names[0]


def _plan(
    plans: dict[str, Any],
    dataset: dict[str, Any],
    name: str,
    checkpoints: dict[str, Checkpoint],
    overrides: Sequence[str],
    scans: dict[str, Any] | None,
) -> tuple[Plan, list[str]]:
    """Return the plan, with the axes that the first fold's checkpoint allows to mirror as in nnU-Net, and notes."""
    plan = plan_from_nnunet(plans, dataset, only=name)
    first, *others = checkpoints.values()
    values = plan.model_dump()
    values["configurations"][name]["mirror_axes"] = list(first.mirror_axes)
    values["nnunet"]["trainer"] = first.trainer
    values["data"]["scans"] = scans
    notes = [f"regions_class_order {text}; answers have it so, as in nnU-Net" for text in plan.labels.foreign_values]
    if any(other.mirror_axes != first.mirror_axes for other in others):
        notes.append(f"the folds allow different mirrored axes; {list(first.mirror_axes)} are used, those of the first")
    for trainer in dict.fromkeys(checkpoint.trainer for checkpoint in checkpoints.values()):
        if trainer and not _OWN_TRAINERS.fullmatch(trainer):
            notes.append(
                f"trained by {trainer}, which is not nnU-Net's own; the network is taken to be as plans.json says"
            )
    return validate_plan(values, plan.reasons, "the nnU-Net plan", overrides), notes
