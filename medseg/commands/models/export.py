"""`medseg export`: write the networks of a trained model for other programs, as ONNX or as a MONAI bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.commands.models.choice import check_suffix, left_out_of_export, load_chosen
from medseg.commands.models.options import ExportOptions
from medseg.core.errors import ModelError
from medseg.core.files import check_folder
from medseg.models.model import Model
from medseg.models.onnx_export import Exported, check_can_export, export_fold

_SUFFIX = ".onnx"


@dataclass(frozen=True)
class ExportResult:
    """The result of `export`.

    Attributes:
        files: what was written: one for each fold, or the program of a bundle.
        model: the model that was exported.
        notes: what a user should know, in sentences.
    """

    files: tuple[Exported, ...]
    model: Model
    notes: tuple[str, ...]


def export(
    model: str | Path | None,
    output: str | Path,
    workspace: str | Path = ".",
    options: ExportOptions | None = None,
) -> ExportResult:
    """Write the networks of a trained model as ONNX or as a MONAI bundle, each checked against torch.

    Args:
        model: a run's folder, `<plan>/<configuration>`, a package, or a model folder or zip of nnU-Net's; None if the
            workspace has one trained model.
        output: path of the file, which ends with `.onnx`; several folds get its name and their own. Of a bundle, the
            folder.
        workspace: folder with `runs/`.
        options: everything else.

    Returns:
        The files that were written, each with how far its logits are from torch's.

    Raises:
        MedsegError: there is no model, several fit, it cannot be read or exported, or a file exists already.
    """
    options, output = options or ExportOptions(), Path(output)
    if options.monai_bundle:
        return _export_bundle(model, output, workspace, options)
    check_suffix(output, _SUFFIX)
    loaded = load_chosen(model, workspace, options)
    check_can_export(loaded)
    paths = [output] if len(loaded.folds) == 1 else [_of_fold(output, fold) for fold in loaded.folds]
    existing = [file for path in paths for file in (path, path.with_suffix(".json")) if file.exists()]
    if existing and not options.replace:
        raise ModelError(f"{existing[0]} exists already.", "Delete it, name another, or replace it with --force.")
    files = tuple(export_fold(loaded, number, path) for number, path in enumerate(paths))
    notes = [*loaded.notes, *left_out_of_export(loaded, model, workspace, options)]
    if len(files) > 1:
        notes.append("medseg predict averages the logits of all folds; another program has to do so itself")
    return ExportResult(files, loaded, tuple(notes))


def _export_bundle(
    model: str | Path | None, output: Path, workspace: str | Path, options: ExportOptions
) -> ExportResult:
    """Write a bundle into a new folder, or over the files of another bundle: scans and answers beside them stay."""
    # imported here: ONNX needs nothing of it
    from medseg.inference.monai_bundle.workflow import PROGRAM, notes_on
    from medseg.inference.monai_bundle.write import METADATA, write_bundle

    check_folder(output)
    is_free = not output.exists() or not any(output.iterdir())
    is_bundle = (output / METADATA).is_file()
    if not (is_free or (is_bundle and options.replace)):
        advice = " or replace it with --force." if is_bundle else "."
        raise ModelError(f"{output} exists already.", f"Delete it, name another{advice}")
    loaded = load_chosen(model, workspace, options)
    left_out = left_out_of_export(loaded, model, workspace, options)
    difference = write_bundle(loaded, output, left_out)
    program = output / PROGRAM
    size = program.stat().st_size
    file = Exported(program, output / METADATA, ", ".join(loaded.folds), size, difference)
    return ExportResult(
        (file,), loaded, (*loaded.notes, *(f"the bundle differs: {note}" for note in notes_on(left_out)))
    )


def _of_fold(output: Path, fold: str) -> Path:
    """Return the path of a fold's file.

    >>> _of_fold(Path("liver.onnx"), "0").name
    'liver_fold_0.onnx'
    """
    return output.with_name(f"{output.stem}_fold_{fold}{output.suffix}")
