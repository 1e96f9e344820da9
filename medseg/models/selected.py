"""Load the selection of a plan: the models that answer together, and the postprocessing of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.core.files import content_hash
from medseg.models.model import Model, NetworkFactory
from medseg.models.run import load_run, trained_folds
from medseg.models.run_files import RunFolder
from medseg.selection.file import check_selection, read_selection, selection_path
from medseg.selection.record import Member, Selection


def load_selected(
    folder: Path, device: torch.device, overrides: list[str] | None = None, factory: NetworkFactory | None = None
) -> Model | None:
    """Load the models that the selection of a plan names.

    Args:
        folder: the folder of the plan's runs, `runs/PLAN`.
        device: the device for the networks.
        overrides: `dotted.key=value` strings for the plan.
        factory: makes the networks of runs that were trained with one of the user's own.

    Returns:
        The model; None if the plan has no selection.

    Raises:
        ModelError: the selection is damaged, or does not fit what is trained.
    """
    path = selection_path(folder)
    selection = read_selection(path)
    if selection is None:
        return None
    models, notes = [], []
    for member in selection.members:
        run = folder / member.configuration
        missing = [fold for fold in member.folds if fold not in trained_folds(run)]
        if missing:
            raise ModelError(
                f"{path} names fold {missing[0]} of {member.configuration}, which is not trained in {run}.",
                f"`medseg select {folder.name}` selects again among what is trained; --no-selection leaves it out.",
            )
        models.append(load_run(run, device, member.folds, overrides, factory))
        notes += _trained_again(run, member, path)
    return joined(models, selection, str(path), (*notes, selection_note(selection, path)))


def joined(models: Sequence[Model], selection: Selection, source: str, notes: Sequence[str] = ()) -> Model:
    """Return models as one that answers together, as a selection says.

    Args:
        models: one for each member of the selection.
        selection: what is done to their answers.
        source: where the selection was read, for messages.
        notes: for the user.

    Raises:
        ModelError: the models do not go together, or the selection does not fit them.
    """
    first, *others = models
    for other in others:
        if _common(other) != _common(first):
            raise ModelError(
                f"{first.configuration_name} and {other.configuration_name} were trained on other channels, structures "
                "or orientations: their answers cannot be averaged.",
                "Train the older one of them again, or `medseg select --config` with one of them.",
            )
    check_selection(selection, first.plan.labels, source, first.plan.orientation == "canonical")
    all_notes = tuple(dict.fromkeys((*(note for model in models for note in model.notes), *notes)))
    return replace(first, others=tuple(others), selection=selection, notes=all_notes)


def selection_note(selection: Selection, path: Path) -> str:
    """Return a sentence on what a selection does, for the user.

    Args:
        selection: the selection.
        path: where it lies.
    """
    done = selection.describe()
    more = f"; postprocessing: {', '.join(done)}" if done else ""
    return f"{path} selected {selection.title}{more}; --no-selection leaves it out"


def with_unused_noted(model: Model) -> Model:
    """Return a model with a note if its plan has a selection, which is not used where a configuration is named.

    Args:
        model: of a run's folder.
    """
    plan = model.folder.parent
    if not selection_path(plan).is_file():
        return model
    note = (
        f"{selection_path(plan)} is not used, because a configuration or folds are named; name only the plan, "
        f"{plan.name}, to use it"
    )
    return replace(model, notes=(*model.notes, note))


def fold_records(run: RunFolder, folds: Sequence[str]) -> dict[str, str]:
    """Return {fold: SHA-256 of its run.json}, by which a fold that was trained again is noticed."""
    files = {fold: run.fold(fold).record for fold in folds}
    return {fold: content_hash(path) for fold, path in files.items() if path.is_file()}


def _trained_again(run: Path, member: Member, path: Path) -> list[str]:
    """Return a note if folds are no longer those that the selection was made with."""
    now = fold_records(RunFolder(run), member.folds)
    changed = [fold for fold, digest in member.records.items() if now.get(fold) != digest]
    if not changed:
        return []
    return [
        f"fold {', '.join(changed)} of {member.configuration} was trained again after {path} was made: its choice and "
        "its figures are those of the weights before; `medseg select` makes it again"
    ]


def _common(model: Model) -> tuple[Any, ...]:
    """Return what models that answer together must share, so that their answers lie on one grid and mean the same."""
    plan, data = model.plan, model.plan.data
    scans = (data.channels, data.spacing_known, data.spacing_rule, plan.orientation, plan.transpose_forward)
    return (*scans, plan.labels, plan.inference.spacing)
