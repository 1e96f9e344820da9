"""Open a trained model, whatever it is: a run's folder, a package, or nnU-Net's own model folder or zip.

The readers of packages and of nnU-Net's models are imported only for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medseg.core.errors import ModelError
from medseg.models.model import Model, NetworkFactory
from medseg.models.run import load_run
from medseg.models.run_files import WEIGHTS, FoldFolder, RunFolder, runs_below

if TYPE_CHECKING:
    from medseg.models.nnunet.model import Reading


def load_model(
    path: str | Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    overrides: list[str] | None = None,
    factory: NetworkFactory | None = None,
    configuration: str | None = None,
    checkpoint: str | None = None,
    selection: bool = False,
) -> Model:
    """Load a trained model.

    Args:
        path: a run's folder or one of its folds, a package (`model.medseg`), a model folder of nnU-Net's or a folder
            of several, or a zip that nnU-Net exported.
        device: the device for its networks.
        folds: None for all that are trained (of nnU-Net's, also imported ones, all but `all`).
        overrides: `dotted.key=value` strings for its plan.
        factory: makes the network of a run that was trained with one of the user's own.
        configuration: which configuration, where there are several.
        checkpoint: for nnU-Net's models: `final`, `best`, `latest` or a file's name; None for the final one, or the
            best if there is no final one.
        selection: whether the selection of a plan's folder or of a package says which models answer together, and what
            is done to answers; not where configuration, folds or checkpoint are named.

    Returns:
        The model, with its networks on the device.

    Raises:
        ModelError: there is no model, there are several and none was chosen, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"There is no model {path}.", "Expected a folder, a .medseg package, or a zip of nnU-Net's.")
    asked, selection = selection, selection and not folds and configuration is None and checkpoint is None
    if selection and path.is_dir():
        from medseg.models.selected import load_selected

        selected = load_selected(path, device, overrides, factory)
        if selected is not None:
            return selected
    runs = _run_folders(path) if path.is_dir() else []
    if not runs and _is_nnunet(path):
        from medseg.models.nnunet.model import Reading

        if factory is not None:
            raise ModelError(
                f"{path} is a model of nnU-Net, which has nnU-Net's network; factory is only for runs of medseg."
            )
        return _load_nnunet(path, Reading(device, folds, overrides or (), configuration, checkpoint), selection)
    if checkpoint is not None:
        raise ModelError(
            f"{path} is a medseg model, which has one set of weights per fold; --checkpoint is only for models of "
            "nnU-Net."
        )
    if path.is_file():
        from medseg.models.package.read import load_package

        model = load_package(path, device, folds, overrides, configuration, selection)
    else:
        model = load_run(_choose_run(path, runs, configuration), device, folds, overrides, factory)
        if asked:
            from medseg.models.selected import with_unused_noted

            model = with_unused_noted(model)
    if configuration not in (None, model.configuration_name):
        raise ModelError(f"{path} is a model of the configuration {model.configuration_name!r}, not {configuration!r}.")
    return model


def _run_folders(path: Path) -> list[Path]:
    """Return the runs that a folder means: itself (a run, or one of its folds), or those in a plan's folder."""
    if FoldFolder(path).weights.exists() or RunFolder(path).folds_with(WEIGHTS):
        return [path]
    return [run.path for run in runs_below(path, 1, WEIGHTS)]


def _choose_run(path: Path, runs: Sequence[Path], configuration: str | None) -> Path:
    """Return the run of a configuration; a folder without runs is returned itself, as `load_run` says what it lacks."""
    fitting = [run for run in runs if len(runs) == 1 or configuration in (None, run.name)]
    if len(fitting) > 1:
        names = ", ".join(run.name for run in fitting)
        raise ModelError(
            f"{path} holds {len(fitting)} trained models: {names}.",
            f"Choose one (a wrong model gives wrong results) by its path: {fitting[0]}",
        )
    return fitting[0] if fitting else path


def _is_nnunet(path: Path) -> bool:
    """Return whether a file or folder without runs of medseg's is a model of nnU-Net's.

    Raises:
        ModelError: a file is neither a package nor a zip.
    """
    if path.is_file():
        from medseg.models.package.read import is_package

        package = is_package(path)
        if not package and path.suffix != ".zip":
            raise ModelError(
                f"{path} is not a model.", "Expected a folder, a .medseg package, or a zip that nnU-Net exported."
            )
        return not package
    from medseg.models.nnunet.folder import FOLD, model_folders

    return bool(model_folders(path) or (FOLD.fullmatch(path.name) and model_folders(path.parent) == [path.parent]))


def _load_nnunet(path: Path, reading: Reading, postprocessing: bool) -> Model:
    from medseg.models.nnunet.folder import FOLD, choose_model, model_folders
    from medseg.models.nnunet.model import load_nnunet
    from medseg.models.nnunet.postprocessing import with_postprocessing
    from medseg.models.nnunet.zip_file import unpacked_model

    def load(folder: Path) -> Model:
        model = load_nnunet(folder, reading)
        if not postprocessing:
            return model
        return with_postprocessing(model, choose_model(model_folders(folder), reading.configuration, folder))

    if path.is_file():
        with unpacked_model(path, reading.configuration, reading.folds, reading.checkpoint) as folder:
            model = load(folder)
            # the model names the zip, as the folder that it was unpacked to is gone when the block ends
            previous = None if model.previous is None else replace(model.previous, folder=path, files=())
            return replace(model, folder=path, files=(path,), previous=previous)
    fold = FOLD.fullmatch(path.name)
    if fold and model_folders(path.parent) == [path.parent]:
        return load_nnunet(path.parent, replace(reading, folds=[fold[1]]))
    return load(path)
