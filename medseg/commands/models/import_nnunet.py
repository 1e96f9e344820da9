"""`medseg import-nnunet`: turn nnU-Net's models into runs of a workspace, and nnU-Net's plans into plans to train."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medseg import __version__
from medseg.commands.models.options import ImportOptions
from medseg.core.errors import DataError, MedsegError, ModelError, PlanError
from medseg.core.files import atomic_folder, content_hash, remove_temporaries, write_text
from medseg.core.json_text import parse_json
from medseg.core.replacing import is_being_replaced, replacing_together
from medseg.core.wording import counted, summary_line
from medseg.delivery.provenance.plan_to_edit import save_plan
from medseg.models.model import Model
from medseg.models.nnunet.folder import (
    DATASET,
    FOLD,
    PLANS,
    answering,
    fold_checkpoints,
    model_folders,
    read_json,
    stage_folder,
)
from medseg.models.nnunet.model import Reading, load_stage
from medseg.models.nnunet.plans import plan_from_nnunet
from medseg.models.nnunet.postprocessing import find_postprocessing, imported_selection
from medseg.models.nnunet.zip_file import unpacked
from medseg.models.record import FoldScores, RunRecord, read_record
from medseg.models.run import save_weights
from medseg.models.run_files import WEIGHTS, RunFolder, runs_below
from medseg.models.scores import fold_scores
from medseg.models.selected import fold_records
from medseg.models.workspace import Workspace, splits_path
from medseg.plans.file import dump_plan, load_plan
from medseg.plans.schema import Plan
from medseg.selection.file import selection_path, write_selection

_SPLITS = "splits_final.json"


@dataclass(frozen=True)
class ImportResult:
    """The result of `import_nnunet`.

    Attributes:
        folds: folders of the imported folds.
        plan: path of the imported plan, if a plan was imported.
        failed: {model folder: why it was left out}.
        notes: what a user should know, in sentences.
    """

    folds: list[Path] = field(default_factory=list)
    plan: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return summary_line(
            self, counted(len(self.folds), "fold"), *([self.plan] if self.plan else []), failed=self.failed
        )


def import_nnunet(
    source: str | Path, workspace: str | Path = ".", options: ImportOptions | None = None
) -> ImportResult:
    """Bring nnU-Net's models or a raw plans.json into a workspace.

    Args:
        source: a folder of one or several of nnU-Net's models, an exported zip, or a plans.json.
        workspace: folder that gets `runs/` or `plans/`.
        options: everything else.

    Returns:
        Folders of the imported folds or the path of the plan, and {model folder: why it was left out}.

    Raises:
        MedsegError: there is nothing of nnU-Net's, nothing could be imported, or the run or plan exists already.
    """
    source, target, options = Path(source), Workspace(Path(workspace)), options or ImportOptions()
    if not source.exists():
        raise ModelError(f"There is no file or folder {source}.", "Expected nnU-Net's model folder, zip or plans.json.")
    raw = _raw_plans(source)
    _check_options(raw, source, options)
    if raw is not None:
        return _import_plan(raw, target, options)
    result = ImportResult()
    for runs in sorted(target.runs.glob("*/")):  # an import that was killed may have had another name
        remove_temporaries(runs)
    with _models(source, options) as folders:
        _check_one_data_set(folders, source, options.name)
        imported = []
        for folder in folders:
            try:
                imported.append(_import_model(folder, target, source, options, result.notes))
            except MedsegError as error:
                result.failed[_shown(folder, folders)] = str(error)
        for model in imported:
            run = RunFolder(target.runs / model.plan.name / model.configuration)
            try:
                result.notes.extend(_first_stage(model, run))
            except ModelError as error:  # it would answer, and with another model's first stage
                shutil.rmtree(run.path)
                result.failed[_shown(model.folder, folders)] = str(error)
                continue
            result.folds.extend(run.fold(fold).path for fold in model.folds)
            result.notes.extend(_keep_postprocessing(model, target))
    if not result.folds:
        raise ModelError(
            "Nothing was imported:\n  " + "\n  ".join(f"{name}: {why}" for name, why in result.failed.items())
        )
    return result


def _check_options(raw: Path | None, source: Path, options: ImportOptions) -> None:
    """Refuse options that would have no effect.

    Args:
        raw: the plans.json that is imported as a plan; None where models are.
        source: what the user named.
        options: the options of the command.

    Raises:
        PlanError: naming the options.
    """
    for_plans = [("--data", options.data), ("--dataset-json", options.dataset_json)]
    given = for_plans if raw is None else [("--checkpoint", options.checkpoint)]
    names = [name for name, value in given if value is not None]
    if not names:
        return
    options_belong = f"{' and '.join(names)} belong{'s' if len(names) == 1 else ''}"
    out = f"Leave {'it' if len(names) == 1 else 'them'} out"
    if raw is None:
        raise PlanError(
            f"{options_belong} to a plans.json without weights; {source} holds trained models.",
            f"{out}; or name the plans.json: `medseg import-nnunet FOLDER/plans.json`.",
        )
    raise PlanError(f"{options_belong} to trained models; {raw} is a plan without weights.", f"{out}.")


def _shown(folder: Path, folders: Sequence[Path]) -> str:
    """Return the name of a model folder, with that of its data set where other models have the same name."""
    same = [other for other in folders if other.name == folder.name]
    return folder.name if len(same) == 1 else f"{folder.parent.name}/{folder.name}"


def _raw_plans(source: Path) -> Path | None:
    """Return the plans.json if a plan is to be imported: a file, or the only one in a folder without trained folds."""
    if source.suffix == ".json":
        return source
    if source.is_file() or model_folders(source):
        return None
    paths = sorted(source.glob("*[Pp]lans*.json"))
    if len(paths) == 1:
        return paths[0]
    if paths:
        names = ", ".join(path.name for path in paths)
        raise PlanError(f"{source} holds {len(paths)} plans: {names}.", f"Choose one: {paths[0]}")
    return None


def _import_plan(path: Path, workspace: Workspace, options: ImportOptions) -> ImportResult:
    """Import a raw plans.json as a plan, with the folds in the file beside it."""
    dataset_json = options.dataset_json or path.parent / DATASET
    if not dataset_json.is_file():
        raise DataError(f"There is no {dataset_json}, which names channels and labels.", "Name it: --dataset-json FILE")
    plan = _named(plan_from_nnunet(read_json(path), read_json(dataset_json)), options.name)
    if options.data is not None:
        if not options.data.is_dir():
            raise DataError(f"There is no folder {options.data}.")
        plan.data.folder = workspace.relative(options.data)
    was_killed = is_being_replaced(workspace.plans, plan.name)
    target = workspace.plan_path(plan.name)  # which finishes what was killed
    folds = _splits(path.parent / _SPLITS)
    notes = [f"the folds are those of {_SPLITS}"] if folds is not None else []
    if target.exists():
        if not (was_killed and _is_imported(plan, folds, target)):
            raise PlanError(f"{target} exists already.", "Delete it, or give another name: --name NAME")
        return ImportResult(plan=target, notes=[*notes, "an import that was killed is finished"])
    with replacing_together(target.parent, target.stem) as staging:  # a kill leaves no plan without its folds
        if folds is not None:
            write_text(splits_path(staging / target.name), folds)
        save_plan(plan, staging / target.name)
    return ImportResult(plan=target, notes=notes)


def _is_imported(plan: Plan, folds: str | None, target: Path) -> bool:
    """Return whether a plan and its folds are there as they would be written."""
    try:
        there = load_plan(target)
    except PlanError:
        return False
    splits = splits_path(target)
    same_folds = (splits.read_text(encoding="utf-8") if splits.exists() else None) == folds
    return same_folds and there.model_dump(exclude={"reasons"}) == plan.model_dump(exclude={"reasons"})


def _splits(path: Path) -> str | None:
    """Return the text of a file of folds, None if there is none; training checks the folds against its cases."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
        parse_json(text)
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}.", "Repair it, or delete it: new folds are made then."
        ) from None
    return text


@contextmanager
def _models(source: Path, options: ImportOptions) -> Iterator[list[Path]]:
    """Yield nnU-Net's model folders; those of a zip are unpacked for as long as the block lasts."""
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


def _check_one_data_set(folders: Sequence[Path], source: Path, name: str | None) -> None:
    """Refuse one name for the models of several data sets, which would become configurations of one plan.

    Raises:
        PlanError: naming the data sets.
    """
    data_sets = list(dict.fromkeys(folder.parent for folder in folders))
    if name is not None and len(data_sets) > 1:
        names = ", ".join(folder.name for folder in data_sets)
        raise PlanError(
            f"--name {name} is one name, and {source} holds models of {len(data_sets)} data sets: {names}.",
            "Leave it out: each has the name of its data set then.",
        )


def _import_model(
    folder: Path, workspace: Workspace, source: Path, options: ImportOptions, notes: list[str]
) -> _Imported:
    """Import the folds of one model folder as folds of a run: all, or the one that `source` names."""
    there = sorted(path for path in folder.glob("fold_*") if FOLD.fullmatch(path.name))
    asked = [path for path in there if path.name == source.name] or there
    trained = [path for path in asked if any(path.glob("checkpoint_*.pth"))]
    folds = [path.name.removeprefix("fold_") for path in trained]
    if empty := [path.name for path in asked if path not in trained]:
        notes.append(f"{folder.name}: no checkpoint in {', '.join(empty)}, left out: was the model copied whole?")
    paths, _ = fold_checkpoints(folder, folds, options.checkpoint)
    model = load_stage(folder, Reading(torch.device("cpu"), folds, checkpoint=options.checkpoint))
    plan = _named(model.plan, options.name)
    target = workspace.runs / plan.name / model.configuration_name
    if RunFolder(target).folds_with(WEIGHTS):
        raise ModelError(f"{target} already holds a trained model.", "Give another name: --name NAME")
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} already holds files.", "Delete the folder, or give another name: --name NAME")
    scores = {score.fold: FoldScores(cases=score.cases, dice=dict(score.dice)) for score in fold_scores(model)}
    with atomic_folder(target) as temporary:  # a kill between two folds must not leave a model of fewer folds
        for fold, network in zip(model.folds, model.networks, strict=True):
            files = RunFolder(temporary).fold(fold)
            write_text(files.plan, dump_plan(plan))
            record = _record(model, fold, paths[fold], source)
            save_weights(network, files, record.updated(scores=scores[fold]) if fold in scores else record)
    notes.extend(f"{folder.name}: {note}" for note in model.notes)
    return _Imported(folder, plan, model.configuration_name, model.folds)


@dataclass(frozen=True)
class _Imported:
    """A model that was imported: its folder, and what became of it."""

    folder: Path
    plan: Plan
    configuration: str
    folds: tuple[str, ...]


def _first_stage(model: _Imported, run: RunFolder) -> list[str]:
    """Return a note on the run with which the second stage of a cascade predicts; [] for any other model.

    Raises:
        ModelError: that run holds another model than the one it was trained with.
    """
    stage = model.plan.configuration(model.configuration).previous_stage
    if stage is None:
        return []
    first, expected = RunFolder(run.path.with_name(stage)), stage_folder(model.folder, stage).name
    folds = first.folds_with(WEIGHTS)
    if not folds:
        return [f"{run.path} is the second stage of a cascade: it predicts once its first stage is there, {expected}"]
    record = read_record(folds[0])
    there = record.imported_from.get("model") if record is not None and record.imported_from else None
    if there != expected:
        raise ModelError(
            f"It is the second stage of a cascade after {expected}; {first.path} holds {there or 'another model'}.",
            "Import the folders of both stages, one by one, under another name: --name NAME",
        )
    return [f"{run.path} is the second stage of a cascade, and predicts with {first.path}"]


def _keep_postprocessing(model: _Imported, workspace: Workspace) -> list[str]:
    """Write the postprocessing of a model as the selection of its plan, and return notes.

    A selection names the models that answer: there is none where several configurations are there to choose from.
    """
    name = model.folder.name
    folds = tuple(answering(model.folds))
    source = find_postprocessing(model.folder, folds)
    if source is None:
        return []
    try:
        selection = imported_selection(source, model.plan, model.configuration, folds)
    except ModelError as error:
        return [f"{name}: its postprocessing is left out: {error}"]
    if not selection.postprocessing:
        return [f"{name}: {source.name} says that answers stay as they are"]
    what = ", ".join(selection.describe())
    runs = workspace.runs / model.plan.name
    path = selection_path(runs)
    others = [run.path.name for run in runs_below(runs, 1, WEIGHTS) if run.path.name != model.configuration]
    if others or path.exists():
        why = f"{runs} also holds {', '.join(others)}" if others else f"{path} exists already"
        return [f"{name}: {why}, so its postprocessing is left out: {what}"]
    records = fold_records(RunFolder(runs / model.configuration), folds)
    members = [member.model_copy(update={"records": records}) for member in selection.members]
    write_selection(selection.model_copy(update={"members": members}), path)
    return [f"{path} has its postprocessing, which is done to answers: {what}"]


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
        imported_folds=model.folds,
        network_factory=None,
        medseg=__version__,
    )


def _named(plan: Plan, name: str | None) -> Plan:
    """Give a plan another name, which must be valid as the name of a folder."""
    if name is None:
        return plan
    try:
        plan.name = name
    except ValueError:
        raise PlanError(f"{name!r} cannot be the name of a folder.") from None
    return plan
