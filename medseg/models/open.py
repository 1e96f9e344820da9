"""Open a trained model, whatever it is: a run's folder, a package, or nnU-Net's own model folder or zip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medseg.core.errors import ModelError
from medseg.models.model import Model, NetworkFactory
from medseg.models.nnunet.folder import FOLD, model_folders
from medseg.models.nnunet.model import Reading, load_nnunet
from medseg.models.nnunet.zip_file import unpacked_model
from medseg.models.package.read import is_package, load_package
from medseg.models.run import WEIGHTS, load_run


def load_model(
    path: str | Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    overrides: list[str] | None = None,
    factory: NetworkFactory | None = None,
    configuration: str | None = None,
    checkpoint: str | None = None,
) -> Model:
    """Load a trained model.

    Args:
        path: a run's folder or one of its folds, a package (`model.medseg`), a model folder of nnU-Net's or a folder
            of several, or a zip that nnU-Net exported.
        device: where its networks go.
        folds: None for all that are trained (of nnU-Net's, all but `all`).
        overrides: `dotted.key=value` strings for its plan.
        factory: makes the network of a run that was trained with one of the user's own.
        configuration: which one, where there are several.
        checkpoint: of nnU-Net's: `final`, `best`, `latest` or a file's name; None for the final one, else the best.

    Raises:
        ModelError: no model is there, or several and none was chosen; or it is damaged, or not what it should be.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"There is no model {path}.", "Expected a folder, a .medseg package, or a zip of nnU-Net's.")
    if _of_nnunet(path):
        if factory is not None:
            raise ModelError(f"{path} is nnU-Net's, and has nnU-Net's network; factory is for runs of medseg.")
        return _load_theirs(path, Reading(device, folds, overrides or (), configuration, checkpoint))
    if checkpoint is not None:
        raise ModelError(f"{path} is medseg's own, and has one set of weights a fold; --checkpoint is for nnU-Net's.")
    if path.is_file():
        model = load_package(path, device, folds, overrides)
    else:
        model = load_run(_run_folder(path, configuration), device, folds, overrides, factory)
    if configuration not in (None, model.configuration_name):
        raise ModelError(f"{path} is a model of the configuration {model.configuration_name!r}, not {configuration!r}.")
    return model


def _of_nnunet(path: Path) -> bool:
    if path.is_file():
        package = is_package(path)
        if not package and path.suffix != ".zip":
            raise ModelError(
                f"{path} is no model.", "Expected a folder, a .medseg package, or a zip that nnU-Net exported."
            )
        return not package
    return bool(model_folders(path) or (FOLD.fullmatch(path.name) and model_folders(path.parent) == [path.parent]))


def _load_theirs(path: Path, how: Reading) -> Model:
    if path.is_file():
        with unpacked_model(path, how.configuration, how.folds, how.checkpoint) as folder:
            model = load_nnunet(folder, how)
            previous = None if model.previous is None else replace(model.previous, folder=path, files=())
            return replace(model, folder=path, files=(path,), previous=previous)
    fold = FOLD.fullmatch(path.name)
    if fold and model_folders(path.parent) == [path.parent]:
        return load_nnunet(path.parent, replace(how, folds=[fold[1]]))
    return load_nnunet(path, how)


def _run_folders(path: Path) -> list[Path]:
    """A run's folder, that of one of its folds, or those in a plan's folder."""
    if (path / WEIGHTS).exists() or any(path.glob(f"fold_*/{WEIGHTS}")):
        return [path]
    return sorted({weights.parent.parent for weights in path.glob(f"*/fold_*/{WEIGHTS}")})


def _run_folder(path: Path, configuration: str | None) -> Path:
    """The run that is meant; a folder without one is returned as it is, and refused where it is read."""
    there = _run_folders(path)
    fitting = [one for one in there if len(there) == 1 or configuration in (None, one.name)]
    if len(fitting) > 1:
        names = ", ".join(one.name for one in fitting)
        raise ModelError(
            f"{path} holds {len(fitting)} trained models: {names}.",
            f"Choose one, as the wrong one harms: --model {fitting[0]}",
        )
    return fitting[0] if fitting else path
