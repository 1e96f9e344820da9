"""A trained model in a run's folder: the weights of its folds, written and loaded with the plan that they go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.core.files import saving
from medseg.core.replacing import finish_replacing
from medseg.models.model import Model, NetworkFactory, filled_network, overrides_for
from medseg.models.nnunet.folder import answering
from medseg.models.quantization import read_quantization
from medseg.models.record import RunRecord, read_record
from medseg.models.run_files import WEIGHTS, FoldFolder, RunFolder
from medseg.plans.file import load_plan
from medseg.plans.schema import Plan


def save_weights(network: torch.nn.Module, files: FoldFolder, record: RunRecord) -> None:
    """Write the record of a fold and then its weights; tensors only, so that reading them runs no code.

    Args:
        network: with the weights.
        files: the files of the fold.
        record: how the weights came about.
    """
    from safetensors.torch import save_file

    record.write(files)
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with saving(files.weights, own_folder=True) as temporary:
        save_file(weights, temporary)


def trained_folds(folder: Path) -> list[str]:
    """Return the folds of a run's folder that have weights."""
    return sorted(fold.fold for fold in RunFolder(folder).folds_with(WEIGHTS))


def load_run(
    folder: Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    overrides: list[str] | None = None,
    factory: NetworkFactory | None = None,
) -> Model:
    """Load the folds of a run's folder and, of a cascade, the stage before it.

    Args:
        folder: the folder of a run, or of one of its folds.
        device: to put the networks on.
        folds: to load; None for all that are trained.
        overrides: `dotted.key=value` strings for the plan.
        factory: makes the networks of a run that was trained with the caller's own.

    Returns:
        The model, with its networks on the device.

    Raises:
        ModelError: nothing is trained there, a fold is missing, folds do not belong together, or weights do not
            fit their plan.
    """
    if FoldFolder(folder).weights.exists():
        folds, folder = [FoldFolder(folder).fold], folder.parent
    names = _choose_folds(folder, folds)
    files = [RunFolder(folder).fold(name) for name in names]
    for fold in files:
        finish_replacing(fold.path)
    plan, record = load_plan(files[0].plan, overrides), read_record(files[0])
    configuration = (record and record.configuration) or folder.name
    if configuration not in plan.configurations:
        raise ModelError(f"{folder} was trained in the configuration {configuration!r}, which its plan does not have.")
    for fold in files[1:]:
        if _essence(load_plan(fold.plan, overrides), configuration) != _essence(plan, configuration):
            raise ModelError(
                f"The folds {names[0]} and {fold.fold} of {folder} were trained with different plans.",
                "They cannot be averaged: choose folds that belong together, or train one of them again.",
            )
    networks = tuple(_load_fold(fold, plan, configuration, factory).to(device) for fold in files)
    stage = plan.configuration(configuration).previous_stage
    previous = None
    if stage is not None:
        stage_folder = folder.with_name(stage)
        trained = trained_folds(stage_folder)
        if not trained:
            raise ModelError(
                f"{folder} is the second stage of a cascade; its first stage {stage} is not trained: expected "
                f"{stage_folder}."
            )
        # nnU-Net averages all folds of the first stage; where folds were named they are taken, as far as there are such
        same = folds if folds and {*folds} <= {*trained} else None
        previous = load_run(stage_folder, device, same, overrides_for(stage, overrides))
    weights = tuple(fold.weights for fold in files)
    notes = () if folds else _notes_on_missing_folds(folder, names, record)
    quantizations = tuple(read_quantization(fold.int8) for fold in files)
    model = Model(plan, configuration, tuple(names), networks, folder, previous, notes, weights)
    return replace(model, quantizations=quantizations) if any(quantizations) else model


def _notes_on_missing_folds(folder: Path, names: Sequence[str], record: RunRecord | None) -> tuple[str, ...]:
    """Return a note if folds that were imported together are not all there."""
    missing = [fold for fold in answering((record and record.imported_folds) or ()) if fold not in names]
    if not missing:
        return ()
    note = f"{folder} was imported with {len(names) + len(missing)} folds, of which {', '.join(missing)} are missing"
    return (f"{note}; only {', '.join(names)} answer. Import the model again",)


def _choose_folds(folder: Path, folds: Sequence[str] | None) -> list[str]:
    """Return the named folds, else all that are trained; of an imported model those that answer in nnU-Net.

    Raises:
        ModelError: one is missing, or none is trained.
    """
    trained = trained_folds(folder)
    record = read_record(RunFolder(folder).fold(trained[0])) if trained else None
    imported = record is not None and record.imported_from is not None
    chosen = list(folds) if folds else answering(trained) if imported else trained
    missing = [fold for fold in chosen if not RunFolder(folder).fold(fold).weights.exists()]
    if missing or not chosen:
        raise ModelError(
            f"{folder} has no trained fold{' ' + ', '.join(missing) if missing else ''}; "
            f"trained there: {', '.join(trained) or 'none'}.",
            "`medseg train` trains one.",
        )
    return chosen


def _essence(plan: Plan, configuration: str) -> tuple[Any, ...]:
    """Return what the folds of one model must share: everything between a scan and its answer."""
    scans = (plan.data.channels, plan.data.intensities, plan.data.spacing_rule)
    axes = (plan.orientation, plan.transpose_forward)
    labels = (plan.labels, plan.labels.names)  # mappings are equal in any order; outputs of a network are not
    return (*scans, *axes, *labels, plan.configuration(configuration) if configuration in plan.configurations else None)


def check_factory(record: RunRecord | None, files: FoldFolder, factory: NetworkFactory | None) -> None:
    """Refuse to go on without the factory that made a run's network.

    Args:
        record: the record of the run; None for a new one.
        files: the files of the fold.
        factory: the factory that the caller handed in.

    Raises:
        ModelError: the run's network was made by a factory, and there is none; the message names it.
    """
    if record is not None and record.network_factory and factory is None:
        raise ModelError(
            f"{files.path} was trained with a network of the user's own, {record.network_factory}.",
            "Pass the same factory from Python: medseg.Predictor.load(..., factory=...), or "
            "medseg.train(..., factory=...) to train it further.",
        )


def _load_fold(fold: FoldFolder, plan: Plan, configuration: str, factory: NetworkFactory | None) -> torch.nn.Module:
    from safetensors.torch import load_file

    check_factory(read_record(fold), fold, factory)
    try:
        weights = load_file(fold.weights)
    except Exception as error:  # safetensors raises unrelated types
        raise ModelError(f"The weights in {fold.path} do not fit their plan: {str(error).splitlines()[0]}") from None
    return filled_network(plan, plan.configuration(configuration), weights, str(fold.path), factory)
