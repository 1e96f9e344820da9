"""`medseg quantize`, `medseg package`, `medseg export` and `medseg import-nnunet`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import in_workspace, show_next, show_next_prediction
from medseg.cli.output.records import record_result
from medseg.commands.models.options import ExportOptions, ImportOptions, PackageOptions, QuantizeOptions
from medseg.core.options import OFTEN, Option


def quantize_command(
    *,
    run: Annotated[str | None, Option(positional=True)] = None,
    options: QuantizeOptions,
    workspace: Path = Path("."),
) -> None:
    """Find how trained folds are computed in 8 bits, and what that costs on their validation cases.

    Writes int8.json beside the weights. `medseg predict --set inference.precision=int8` then uses it, if the fold lost
    at most 0.001 Dice. The gain is largest on processors with VNNI or AMX.

    Exit code: 0 all folds are kept, 1 some cases could not be used or a fold lost too much, 2 nothing could be done.

    Args:
        run: PLAN, PLAN/CONFIG or a folder; may be left out if there is only one.
        options: Which folds, where the data set is, and for which processors.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg quantize
        medseg quantize liver/3d_fullres --folds 0
    """
    from medseg.commands.models.quantize import quantize
    from medseg.networks.threads import use_cores

    use_cores()
    with progress_display() as show:
        result = quantize(run, workspace, options, show)
    folds = {fold: made.model_dump(mode="json", exclude={"roundings"}) for fold, made in result.folds.items()}
    record_result(
        folder=result.folder, folds={fold: {**folds[fold], "kept": result.folds[fold].kept} for fold in folds}
    )
    for fold, made in result.folds.items():
        console.print(f"fold {fold}: {made.describe()}", markup=False)
    report_failures(result.failed)
    kept = all(made.kept for made in result.folds.values())
    raise typer.Exit(0 if kept and not result.failed else 1)


def package_command(
    *,
    model: Annotated[str, Option(metavar="RUN")],
    output: Annotated[Path, Option(metavar="FILE")],
    options: PackageOptions,
    workspace: Annotated[Path, OFTEN] = Path("."),
) -> None:
    """Pack a trained model into one file that `medseg predict --model` takes: plan, weights, model card. No code.

    Args:
        model: Run: PLAN, PLAN/CONFIG or a folder; or a model of nnU-Net.
        output: File to write: model.medseg.
        options: What is packed, and what the model card says.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg package liver liver.medseg --license 'CC BY 4.0' --intended-use 'Research on abdominal CT'
        medseg package liver/3d_fullres liver.medseg --card card.yaml --folds 0,1,2
    """
    from medseg.commands.models.package import package

    result = package(model, output, workspace, options)
    packed = result.model
    stages = packed.configuration_name
    if packed.previous is not None:
        stages += f" after {packed.previous.configuration_name}"
    record_result(path=result.path, bytes=result.bytes, name=packed.plan.name, folds=packed.folds)
    console.print(
        f"{result.path}: {packed.plan.name}, {stages}, folds {', '.join(packed.folds)}, {result.bytes / 1e6:.1f} MB",
        markup=False,
    )
    show_notes(result.notes)
    if packed.folder.is_dir():  # a package does not say where data lie
        show_next_prediction(packed.plan, result.path, workspace)


def export_command(
    *,
    model: Annotated[str, Option(metavar="MODEL")],
    output: Annotated[Path, Option(metavar="FILE")],
    options: ExportOptions,
    workspace: Path = Path("."),
) -> None:
    """Write a model for other programs, checked against torch: its network as ONNX, or a MONAI bundle that segments.

    Beside ONNX lies JSON that says what to do around it; a bundle does it itself, with MONAI's transforms.

    Args:
        model: Run: PLAN, PLAN/CONFIG or a folder; a package; or a model of nnU-Net.
        output: File to write: model.onnx; or the folder of a bundle.
        options: What is exported.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg export liver liver.onnx --folds 0
        medseg export liver.medseg liver.onnx
        medseg export liver.medseg liver_bundle --monai-bundle
    """
    from medseg.commands.models.export import export

    result = export(model, output, workspace, options)
    record_result(files=[file.path for file in result.files], metadata=[file.metadata for file in result.files])
    for file in result.files:
        console.print(
            f"{file.path}: fold {file.fold}, {file.bytes / 1e6:.1f} MB; logits differ from torch's by at most "
            f"{file.difference:.1g} of the largest",
            markup=False,
        )
    show_notes(result.notes)


def import_command(
    *,
    source: Annotated[Path, Option(metavar="FOLDER")],
    options: ImportOptions,
    workspace: Path = Path("."),
) -> None:
    """Bring models of nnU-Net v2 into the workspace as runs, or a raw plans.json as a plan to train with.

    To predict with such a model, importing is not needed: `medseg predict --model FOLDER` runs it as it is.

    Args:
        source: nnU-Net's model folder, a folder of several, its exported zip, or a raw plans.json.
        options: What is imported, and under which name.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg import-nnunet nnUNet_results/Dataset004_Hippocampus --name hippocampus
        medseg import-nnunet nnUNet_preprocessed/Dataset004_Hippocampus/nnUNetPlans.json --data scans/
    """
    from medseg.commands.models.import_nnunet import import_nnunet

    result = import_nnunet(source, workspace, options)
    record_result(folds=result.folds, plan=result.plan)
    for folder in result.folds:
        console.print(f"{folder}", markup=False, soft_wrap=True)
    if result.plan is not None:
        console.print(f"{result.plan}", markup=False, soft_wrap=True)
    show_notes(result.notes)
    report_failures(result.failed, "model", "left out")
    if result.plan is not None:
        show_next("train", "--plan", result.plan.stem, *in_workspace(workspace))
    raise typer.Exit(1 if result.failed else 0)
