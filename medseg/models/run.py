"""A trained model on disk: the plan it was made with and the weights of its folds, in a folder.

runs/<plan>/<configuration>/fold_0/   plan.yaml  weights.safetensors  run.json  log.jsonl  validation/ ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.core.files import saving, write_json
from medseg.models.model import Model, NetworkFactory, filled_network, make_network, overrides_for
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan

__all__ = ["Model", "NetworkFactory", "make_network"]  # what a run is made of, for those who read and write runs

WEIGHTS = "weights.safetensors"
PLAN = "plan.yaml"
RECORD = "run.json"


def save_weights(network: torch.nn.Module, folder: Path, record: dict[str, Any]) -> None:
    """Write a fold's weights (tensors only) and the record of how they came about; the weights last."""
    from safetensors.torch import save_file

    write_json(folder / RECORD, record)
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with saving(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)


def read_record(fold: Path) -> dict[str, Any]:
    """The record of a fold, as `save_weights` wrote it; empty where there is none."""
    path = fold / RECORD
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise ModelError(f"{path} is damaged: it is not JSON.", "Restore it from a copy, or train anew.") from None


def trained_folds(folder: Path) -> list[str]:
    """Folds of a model folder that have weights."""
    return sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{WEIGHTS}"))


def find_models(runs: Path) -> list[Path]:
    """Every folder below `runs` that holds at least one trained fold."""
    return sorted({path.parent.parent for path in runs.glob(f"*/*/fold_*/{WEIGHTS}")})


def load_run(
    folder: Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    overrides: list[str] | None = None,
    factory: NetworkFactory | None = None,
) -> Model:
    """Load the folds (all that are trained, unless named) of a run's folder, and the stage before it of a cascade.

    Raises:
        ModelError: nothing is trained there, a fold is missing, folds do not belong together, or weights do not
            fit their plan.
    """
    if (folder / WEIGHTS).exists():
        folds, folder = [folder.name.removeprefix("fold_")], folder.parent
    chosen = _choose_folds(folder, folds)
    plan = load_plan(folder / f"fold_{chosen[0]}" / PLAN, overrides)
    name = read_record(folder / f"fold_{chosen[0]}").get("configuration", folder.name)
    if name not in plan.configurations:
        raise ModelError(f"{folder} was trained in the configuration {name!r}, which its plan does not have.")
    for fold in chosen[1:]:
        if _essence(load_plan(folder / f"fold_{fold}" / PLAN, overrides), name) != _essence(plan, name):
            raise ModelError(
                f"The folds {chosen[0]} and {fold} of {folder} were trained with different plans.",
                "They cannot be averaged: choose folds that belong together, or train one of them anew.",
            )
    networks = tuple(_load_fold(folder / f"fold_{fold}", plan, name, factory).to(device) for fold in chosen)
    stage = plan.configuration(name).previous_stage
    previous = None
    if stage is not None:
        there = trained_folds(folder.parent / stage)
        if not there:
            raise ModelError(
                f"{folder} is the second stage of a cascade; its first stage {stage} is not trained: expected "
                f"{folder.parent / stage}."
            )
        # nnU-Net averages all folds of the first stage; where folds were named they are taken, as far as there are such
        same = folds if folds and {*folds} <= {*there} else None
        previous = load_run(folder.parent / stage, device, same, overrides_for(stage, overrides))
    files = tuple(folder / f"fold_{fold}" / WEIGHTS for fold in chosen)
    return Model(plan, name, tuple(chosen), networks, folder, previous, files=files)


def _choose_folds(folder: Path, folds: Sequence[str] | None) -> list[str]:
    there = trained_folds(folder)
    chosen = list(folds) if folds else there
    missing = [fold for fold in chosen if fold not in there]
    if missing or not there:
        raise ModelError(
            f"{folder} has no trained fold{' ' + ', '.join(missing) if missing else ''}; "
            f"trained there: {', '.join(there) or 'none'}.",
            "`medseg train` trains one.",
        )
    return chosen


def _essence(plan: Plan, configuration: str) -> tuple[Any, ...]:
    """What the folds of one model must share: everything between a scan and its answer."""
    scans = (plan.data.channels, plan.data.intensities, plan.orientation, plan.transpose_forward)
    return (*scans, plan.labels, plan.configuration(configuration) if configuration in plan.configurations else None)


def check_factory(record: Mapping[str, Any], fold: Path, factory: NetworkFactory | None) -> None:
    """Refuse to go on without the factory that made a run's network.

    Args:
        record: of the run; empty for a new one.
        fold: the run's folder.
        factory: what the caller handed in.

    Raises:
        ModelError: the run's network was made by a factory, and there is none; the message names it.
    """
    made_by = record.get("network_factory")
    if made_by and factory is None:
        raise ModelError(
            f"{fold} was trained with a network of the user's own, {made_by}.",
            "Hand the same factory in from Python: medseg.Predictor.load(..., factory=...), or "
            "medseg.train(..., factory=...) to train it further.",
        )


def _load_fold(fold: Path, plan: Plan, configuration: str, factory: NetworkFactory | None) -> torch.nn.Module:
    from safetensors.torch import load_file

    check_factory(read_record(fold), fold, factory)
    try:
        weights = load_file(fold / WEIGHTS)
    except Exception as error:  # safetensors raises unrelated types
        raise ModelError(f"The weights in {fold} do not fit their plan: {str(error).splitlines()[0]}") from None
    return filled_network(plan, plan.configuration(configuration), weights, str(fold), factory)
