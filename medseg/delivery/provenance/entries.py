"""Write the manifest entries of predictions, training runs and evaluations from what is known when they end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.core.case import Case
from medseg.core.machine.parallel import BackgroundResult
from medseg.delivery.answers.case_pages import case_files
from medseg.delivery.answers.instances import TABLE
from medseg.delivery.answers.labels_file import NAME as LABELS
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME, PredictionLedger
from medseg.delivery.answers.viewers import ITK_SNAP, SLICER
from medseg.delivery.pages.own_page import is_own_page
from medseg.delivery.provenance import manifest
from medseg.delivery.provenance.folder_files import INDEX, QUALITY, VOLUME_TABLES
from medseg.delivery.provenance.inputs import identifiers, input_entries
from medseg.delivery.provenance.manifest import Clock, Entry
from medseg.models.run_files import RunFolder
from medseg.plans.schema import Plan

if TYPE_CHECKING:  # a prediction needs nothing of the evaluation, and an evaluation no torch
    from medseg.evaluation.label_files import Pair
    from medseg.inference.predictor import Predictor
    from medseg.models.model import Model

_OWN_FILES = (LABELS, ITK_SNAP, SLICER, *VOLUME_TABLES, QUALITY, INDEX, LEDGER_NAME)
"""What a prediction writes into its folder beside the files of the cases."""


@dataclass(frozen=True)
class Prediction:
    """The facts on a prediction that are known before it starts.

    Attributes:
        source: the scan or the folder of scans.
        output: folder of the answers.
        predictors: one per device.
        options: what the user asked for, a dataclass.
        cases: the scans.
        computed_with: returns, at the end, what `computed_with` says of the predictors that answered.
        clock: runs since the command started.
        passed_over: scans that could be read and are not answered: each has a `path` and a number, `scans`.
    """

    source: Path
    output: Path
    predictors: Sequence[Predictor]
    options: Any
    cases: Sequence[Case]
    computed_with: Callable[[], Entry]
    clock: Clock = field(default_factory=Clock)
    passed_over: Sequence[Any] = ()


@contextmanager
def prediction_manifest(prediction: Prediction, ledger: PredictionLedger) -> Iterator[dict[str, str]]:
    """Write the manifest of a folder of answers when the block ends, also if an error ends it.

    Args:
        prediction: what is known beforehand.
        ledger: knows the answered cases when the block ends.

    Yields:
        An empty {case: why it has no answer}, to be filled in the block.
    """
    problems: dict[str, str] = {}
    # the weights' files may be large, and are hashed while the network computes
    model = BackgroundResult(lambda: {"id": ledger.made_by["model"], **_describe_model(prediction.predictors[0].model)})
    try:
        yield problems
    except BaseException:
        with suppress(OSError):  # the error that ended the block is the one to report
            _write_prediction(prediction, ledger, problems, model.result(), complete=False)
        raise
    _write_prediction(prediction, ledger, problems, model.result(), complete=True)


def _write_prediction(
    prediction: Prediction, ledger: PredictionLedger, problems: Mapping[str, str], model: Entry, complete: bool
) -> None:
    output, predictors = prediction.output, prediction.predictors
    # a table of an earlier command, without this one's objects, is none of its answers
    names = [*_OWN_FILES, *([TABLE] if getattr(prediction.options, "instances", False) else [])]
    own_files = [output / name for name in names if not name.endswith(".html") or is_own_page(output / name)]
    folder = prediction.source if prediction.source.is_dir() else prediction.source.parent
    cases = [_case_entry(case, folder, ledger.entries.get(case.id), problems.get(case.id)) for case in prediction.cases]
    known = {case.id for case in prediction.cases}
    cases += [{"case": case, "problem": why} for case, why in problems.items() if case not in known]
    shown = [file for case in prediction.cases if case.id in ledger.entries for file in case_files(case, output)]
    notes = [note for predictor in predictors for note in predictor.notes]
    entry = {
        "complete": complete,
        **prediction.clock.entry(),
        "software": manifest.software(),
        "options": _options_entry(prediction.options),
        "model": model,
        "computed_with": prediction.computed_with(),
        "notes": list(dict.fromkeys((*predictors[0].model.notes, *notes))),
        "cases": cases,
        **_passed_over_entry(prediction.passed_over, folder),
        "files": manifest.listed(output, [*own_files, *shown]),
    }
    entry = manifest.without_uids(entry, (output, folder))
    if prediction.options.identify:
        for case, case_entry in zip(prediction.cases, entry["cases"], strict=False):
            case_entry["identifiers"] = identifiers(case)
    manifest.write_entry(output, "predict", entry)


def _passed_over_entry(passed_over: Sequence[Any], folder: Path) -> Entry:
    """Return what the manifest says of scans that were passed over; {} where there are none."""
    if not passed_over:
        return {}
    return {"passed_over": [{"file": of.path.relative_to(folder).as_posix(), "scans": of.scans} for of in passed_over]}


def _case_entry(case: Case, folder: Path, known: Mapping[str, Any] | None, problem: str | None) -> Entry:
    """Return the manifest's entry of a case: that of the ledger, or why there is no answer."""
    if known is None:
        return {"case": case.id, "inputs": input_entries(case, folder), "problem": problem or "not answered yet"}
    about = {key: value for key, value in known.items() if key not in ("case", "scan", "files", "inputs")}
    files = [{"file": name, "sha256": digest} for name, digest in known["files"].items()]
    return {"case": case.id, "inputs": input_entries(case, folder, known.get("inputs")), **about, "files": files}


def _describe_model(model: Model) -> Entry:
    """Return a model's plan and the hashes of its weights, and the same of the stage before it in a cascade."""
    # a package holds all folds in one file, and a run one file per fold
    folds: Sequence[str | None] = model.folds if len(model.files) == len(model.folds) else [None] * len(model.files)
    base = model.folder.parent if model.folder.is_file() else model.folder
    weights = [
        {**({} if fold is None else {"fold": fold}), **file}
        for fold, path in zip(folds, model.files, strict=True)
        for file in manifest.listed(base, [path])
    ]
    return {
        "name": model.plan.name,
        "configuration": model.configuration_name,
        "folds": list(model.folds),
        "plan_sha256": plan_hash(model.plan.model_dump_json()),
        "mirror_axes": list(model.configuration.mirror_axes) if model.plan.inference.mirror else [],
        "weights": weights,
        **_describe_int8(model, base),
        "previous": None if model.previous is None else _describe_model(model.previous),
        **({"others": [_describe_model(other) for other in model.others]} if model.others else {}),
        **_describe_selection(model),
    }


def _describe_int8(model: Model, base: Path) -> Entry:
    """Return the hashes of the ranges of 8 bits, where a run answers in int8; those of a package are in its file."""
    if model.plan.inference.precision != "int8" or model.folder.is_file():
        return {}
    return {"int8": manifest.listed(base, [RunFolder(model.folder).fold(fold).int8 for fold in model.folds])}


def _describe_selection(model: Model) -> Entry:
    """Return the entry on the postprocessing of a selection; empty where there is no selection."""
    selection = model.selection
    if selection is None:
        return {}
    steps = [step.model_dump(mode="json", exclude={"evidence"}) for step in selection.postprocessing]
    thresholds = {name: threshold.value for name, threshold in selection.thresholds.items()}
    made = {"made": selection.made, "medseg": selection.medseg, "members": selection.title}
    done: Entry = {**made, "postprocessing": steps, "thresholds": thresholds}
    if selection.calibration is not None:
        done["temperatures"] = selection.calibration.temperatures
        done |= {"biases": selection.calibration.biases} if selection.calibration.biases else {}
    return {"selection": done}


def computed_with(predictors: Sequence[Predictor]) -> Entry:
    """Return the devices, and how they compute.

    Args:
        predictors: one per device.
    """
    import torch

    first = predictors[0]
    devices = [predictor.device for predictor in predictors]
    return {
        "devices": [str(device) for device in devices],
        "device_names": sorted({torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"}),
        "precision": str(first.precision).removeprefix("torch."),
        "backend": ", ".join(dict.fromkeys(predictor.backend for predictor in predictors)),
        "threads": torch.get_num_threads(),
    }


def _options_entry(options: Any) -> Entry:
    """Return the options of the user without those on where to compute, which change no result and name machines."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(part) for key, part in value.items() if key != "cluster"}
        return value

    entry: Entry = without(asdict(options))
    return entry


def plan_hash(text: str) -> str:
    """Return the SHA-256 of a plan's values as one line of JSON, as `Plan.model_dump_json` returns it."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_run_manifest(
    folder: Path, clock: Clock, inputs: BackgroundResult[dict[str, list[Entry]]], record: Mapping[str, Any], plan: Plan
) -> None:
    """Write the manifest of a trained fold: its training and validation scans, how it was trained, and every file.

    Args:
        folder: the folder of the fold.
        clock: runs since the command started.
        inputs: what `training_inputs` returned.
        record: the run's record.
        plan: the plan of the run.
    """
    import torch

    keep = ("configuration", "fold", "steps", "device", "precision", "overrides", "budget_seconds")
    entry = {
        "complete": True,
        **clock.entry(),
        "software": manifest.software(),
        "options": {key: record[key] for key in keep if key in record},
        "plan_sha256": plan_hash(plan.model_dump_json()),
        "computed_with": {"devices": [record.get("device")], "threads": torch.get_num_threads()},
        "cases": [{"case": case, "inputs": files} for case, files in inputs.result().items()],
        "files": manifest.listed(folder, manifest.files_below(folder)),
    }
    manifest.write_entry(folder, "train", manifest.without_uids(entry, [folder]))


def write_evaluation_manifest(
    folder: Path,
    clock: Clock,
    options: Any,
    sides: tuple[Path, Path],
    pairs: Sequence[Pair],
    problems: Mapping[str, str],
    files: Iterable[Path],
) -> None:
    """Write the manifest of an evaluation: what was compared with what, how, and the files with the scores.

    Args:
        folder: the folder of the scores.
        clock: runs since the command started.
        options: what the user asked for, a dataclass.
        sides: files or folders of the predictions and of the references.
        pairs: files that were compared.
        problems: {case: why it was not scored}.
        files: with the scores.
    """
    prediction, reference = (side if side.is_dir() else side.parent for side in sides)
    cases: dict[str, Entry] = {
        pair.case: {
            "case": pair.case,
            "predictions": manifest.listed(prediction, [pair.prediction]),
            "inputs": manifest.listed(reference, [pair.reference]),
        }
        for pair in pairs
    }
    for case, why in problems.items():
        cases.setdefault(case, {"case": case})["problem"] = why
    entry = {
        "complete": True,
        **clock.entry(),
        "software": manifest.software(),
        "options": _options_entry(options),
        "cases": list(cases.values()),
        "files": manifest.listed(folder, files),
    }
    manifest.write_entry(folder, "evaluate", manifest.without_uids(entry, [folder, prediction, reference]))
