"""`medseg import-nnunet`: nnU-Net's models as runs of this workspace, nnU-Net's plans as plans to train with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medseg import __version__
from medseg.commands.models.options import ImportOptions
from medseg.core.errors import DataError, MedsegError, ModelError, PlanError
from medseg.core.files import content_hash, write_text
from medseg.models.model import Model
from medseg.models.nnunet.folder import DATASET, FOLD, PLANS, fold_checkpoints, model_folders, read_json
from medseg.models.nnunet.model import Reading, load_stage
from medseg.models.nnunet.plans import plan_from_nnunet
from medseg.models.nnunet.zip_file import unpacked
from medseg.models.record import FoldScores, RunRecord
from medseg.models.run import save_weights
from medseg.models.run_files import WEIGHTS, RunFolder
from medseg.models.scores import fold_scores
from medseg.models.workspace import Workspace, splits_path
from medseg.plans.file import save_plan
from medseg.plans.schema import Plan

_SPLITS = "splits_final.json"


@dataclass(frozen=True)
class ImportResult:
    """What came of it.

    Attributes:
        folds: the folders of the folds that are now runs.
        plan: the plan that is now there to train with, if a plan was imported.
        failed: {model folder: why it was left out}.
        notes: what a user should know, in sentences.
    """

    folds: list[Path] = field(default_factory=list)
    plan: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_nnunet(
    source: str | Path, workspace: str | Path = ".", options: ImportOptions | None = None
) -> ImportResult:
    """Bring nnU-Net's models (a folder of one or several, or an exported zip) or a raw plans.json into a workspace.

    Raises:
        MedsegError: there is nothing of nnU-Net's, or nothing of it could be imported, or it is there already.
    """
    source, place, options = Path(source), Workspace(Path(workspace)), options or ImportOptions()
    if not source.exists():
        raise ModelError(f"There is no file or folder {source}.", "Expected nnU-Net's model folder, zip or plans.json.")
    raw = _raw_plans(source)
    if raw is not None:
        return _import_plan(raw, place, options)
    result = ImportResult()
    with _models(source, options) as folders:
        for folder in folders:
            try:
                result.folds.extend(_import_model(folder, place, source, options, result.notes))
            except MedsegError as error:
                result.failed[folder.name] = str(error)
    if not result.folds:
        raise ModelError("Nothing was imported:\n  " + "\n  ".join(f"{a}: {b}" for a, b in result.failed.items()))
    return result


def _raw_plans(source: Path) -> Path | None:
    """The plans.json, if that is what is to be imported: itself, or the only one of a folder without trained folds."""
    if source.suffix == ".json":
        return source
    if source.is_file() or model_folders(source):
        return None
    there = sorted(source.glob("*[Pp]lans*.json"))
    if len(there) == 1:
        return there[0]
    if there:
        names = ", ".join(path.name for path in there)
        raise PlanError(f"{source} holds {len(there)} plans: {names}.", f"Choose one: {there[0]}")
    return None


def _import_plan(path: Path, place: Workspace, options: ImportOptions) -> ImportResult:
    """A raw plans.json as a plan, with the folds that lie beside it."""
    beside = options.dataset_json or path.parent / DATASET
    if not beside.is_file():
        raise DataError(f"There is no {beside}, which names channels and labels.", "Name it: --dataset-json FILE")
    plan = _named(plan_from_nnunet(read_json(path), read_json(beside)), options.name)
    if options.data is not None:
        if not options.data.is_dir():
            raise DataError(f"There is no folder {options.data}.")
        plan.data.folder = place.relative(options.data)
    target = place.plan_path(plan.name)
    if target.exists():
        raise PlanError(f"{target} is there already.", "Delete it, or give another name: --name NAME")
    folds = _splits(path.parent / _SPLITS)
    if folds is not None:
        write_text(splits_path(target), folds)
    save_plan(plan, target)
    return ImportResult(plan=target, notes=[f"the folds are those of {_SPLITS}"] if folds is not None else [])


def _splits(path: Path) -> str | None:
    """The folds as they stand in a file, if it is there; training checks them against its cases."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.", "Mend it, or take it away to have folds made.") from None
    return text


@contextmanager
def _models(source: Path, options: ImportOptions) -> Iterator[list[Path]]:
    """nnU-Net's model folders, unpacked if need be."""
    if source.is_file():
        with unpacked(source, options.checkpoint) as folder:
            yield sorted(path.parent for path in folder.rglob(PLANS))
        return
    folders = model_folders(source.parent if FOLD.fullmatch(source.name) else source)
    if not folders:
        raise ModelError(
            f"{source} holds no model of nnU-Net's.",
            "Expected plans.json, dataset.json and fold_0/checkpoint_final.pth.",
        )
    yield folders


def _import_model(folder: Path, place: Workspace, source: Path, options: ImportOptions, notes: list[str]) -> list[Path]:
    """All folds of one model folder as folds of a run."""
    trained = [path for path in folder.glob("fold_*") if FOLD.fullmatch(path.name)]
    folds = sorted(path.name.removeprefix("fold_") for path in trained if any(path.glob("checkpoint_*.pth")))
    paths, _ = fold_checkpoints(folder, folds, options.checkpoint)
    model = load_stage(folder, Reading(torch.device("cpu"), folds, checkpoint=options.checkpoint))
    plan = _named(model.plan, options.name)
    target = place.runs / plan.name / model.configuration_name
    if RunFolder(target).folds_with(WEIGHTS):
        raise ModelError(f"{target} holds a trained model already.", "Give another name: --name NAME")
    scores = {one.fold: FoldScores(cases=one.cases, dice=dict(one.dice)) for one in fold_scores(model)}
    made = []
    for fold, network in zip(model.folds, model.networks, strict=True):
        files = RunFolder(target).fold(fold)
        made.append(files.path)
        save_plan(plan, files.plan)
        record = _record(model, fold, paths[fold], source)
        save_weights(network, files, record.updated(scores=scores[fold]) if fold in scores else record)
    notes.extend(f"{folder.name}: {note}" for note in model.notes)
    if model.configuration.previous_stage is not None:
        stage = target.with_name(model.configuration.previous_stage)
        notes.append(f"{target} is the second stage of a cascade, and predicts with {stage}")
    return made


def _record(model: Model, fold: str, checkpoint: Path, source: Path) -> RunRecord:
    """Return the record that says where a fold came from."""
    files = (checkpoint, model.folder / PLANS, model.folder / DATASET)
    return RunRecord(
        configuration=model.configuration_name,
        fold=fold,
        imported_from={
            "what": "nnU-Net v2",
            "source": str(source),
            "model": model.folder.name,
            "trainer": model.plan.nnunet.get("trainer"),
            "sha256": {path.relative_to(model.folder).as_posix(): content_hash(path) for path in files},
        },
        network_factory=None,
        medseg=__version__,
    )


def _named(plan: Plan, name: str | None) -> Plan:
    """The plan under another name, checked as a name of a folder."""
    if name is None:
        return plan
    try:
        plan.name = name
    except ValueError:
        raise PlanError(f"{name!r} cannot be the name of a folder.") from None
    return plan
