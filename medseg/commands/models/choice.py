"""The trained model that `medseg package` and `medseg export` are about, and the file that they write."""

from __future__ import annotations

from pathlib import Path

import torch

from medseg.commands.models.options import ExportOptions, PackageOptions
from medseg.core.errors import MedsegError, ModelError
from medseg.core.files import check_folder
from medseg.models.model import Model
from medseg.models.open import load_model
from medseg.models.workspace import Workspace


def load_chosen(model: str | Path | None, workspace: str | Path, options: PackageOptions | ExportOptions) -> Model:
    """Load a model on the CPU.

    Args:
        model: a run's folder, `<plan>/<configuration>`, a package, or a model folder or zip of nnU-Net's; None if the
            workspace has one trained model.
        workspace: folder with `runs/`.
        options: say which configuration, folds and checkpoint.

    Returns:
        The model, with its networks on the CPU.

    Raises:
        MedsegError: there is no model, several fit, or it cannot be read.
    """
    selection = isinstance(options, PackageOptions) and options.selection  # a file of ONNX holds a single network
    selected = selection and not options.folds and options.checkpoint is None
    return load_model(
        Workspace(Path(workspace)).model_path(model, options.configuration, "", selected),
        torch.device("cpu"),
        options.folds,
        configuration=options.configuration,
        checkpoint=options.checkpoint,
        selection=selection,
    )


def left_out_of_export(
    exported: Model, model: str | Path | None, workspace: str | Path, options: ExportOptions
) -> list[str]:
    """Return what `medseg predict` does with a model and its exported networks do not, in sentences.

    Args:
        exported: the model that is exported.
        model: as `load_chosen`.
        workspace: likewise.
        options: likewise; what names a part of a model means it without its selection, for `predict`, too.
    """
    if options.folds or options.configuration is not None or options.checkpoint is not None:
        return []
    try:
        path = Workspace(Path(workspace)).model_path(model, None, "", selection=True)
        answering = load_model(path, torch.device("cpu"), selection=True)
    except MedsegError as error:
        return [f"whether medseg predict does anything else to answers is not known: {error.message}"]
    names = [member.configuration_name for member in answering.together]
    steps = answering.selection.describe() if answering.selection else []
    notes = [f"medseg predict does to answers what the export does not: {', '.join(steps)}"] if steps else []
    if len(names) > 1:
        notes.append(f"medseg predict averages {' and '.join(names)}; this is {exported.configuration_name} alone")
    return notes


def check_suffix(output: Path, suffix: str) -> None:
    """Refuse a path whose name says another kind of file, or that is a folder.

    Args:
        output: the file to write.
        suffix: with which it has to end.

    Raises:
        ModelError: it ends otherwise, or is a folder.
        DataError: it would lie in a file.
    """
    if output.suffix == suffix and not output.is_dir():
        check_folder(output.parent)
        return
    if output.is_dir():
        raise ModelError(f"{output} is a folder.", f"Name a file in it, such as {output / f'model{suffix}'}")
    raise ModelError(f"{output} does not end with {suffix}.", f"Name it {output.with_suffix(suffix).name}.")
