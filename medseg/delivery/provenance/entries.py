"""What the manifests of predictions, runs and evaluations say, put together from what is at hand when they end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg.core.case import Case
from medseg.core.parallel import BackgroundResult
from medseg.delivery.answers.prediction_ledger import RECORD, Finished
from medseg.delivery.provenance import manifest
from medseg.delivery.provenance.inputs import identifiers, input_entries
from medseg.delivery.provenance.manifest import Entry
from medseg.evaluation.label_files import Pair
from medseg.inference.backends import choose_backend
from medseg.inference.predictor import Predictor
from medseg.models.model import Model
from medseg.plans.schema import Plan

_OWN_FILES = ("labels.json", "volumes.csv", RECORD)


class Clock:
    """When a command began; started before the work that it times."""

    def __init__(self) -> None:
        self.started, self._began = manifest.now(), time.monotonic()

    def entry(self) -> Entry:
        """Begin, end (now), and the seconds between."""
        return {
            "started": self.started,
            "ended": manifest.now(),
            "seconds": round(time.monotonic() - self._began, 3),
        }


@dataclass(frozen=True)
class Prediction:
    """What is known of a prediction before it starts."""

    source: Path
    output: Path
    predictors: Sequence[Predictor]
    options: Any
    cases: Sequence[Case]
    clock: Clock = field(default_factory=Clock)


@contextmanager
def prediction_manifest(about: Prediction, record: Finished) -> Iterator[dict[str, str]]:
    """Write the manifest of a folder of answers when the block ends, also if it is cut short.

    Yields:
        {case: why it has no answer}, to be filled.
    """
    problems: dict[str, str] = {}
    model = BackgroundResult(lambda: describe_model(about.predictors[0].model, record.made_by["model"]))
    try:
        yield problems
    except BaseException:
        with suppress(OSError):  # what ended the run is the error to tell of
            _write_prediction(about, record, problems, model.result(), complete=False)
        raise
    _write_prediction(about, record, problems, model.result(), complete=True)


def _write_prediction(
    about: Prediction, record: Finished, problems: Mapping[str, str], model: Entry, complete: bool
) -> None:
    output, first = about.output, about.predictors[0]
    folder = about.source if about.source.is_dir() else about.source.parent
    cases = [_case_entry(case, folder, record.entries.get(case.id), problems.get(case.id)) for case in about.cases]
    known = {case.id for case in about.cases}
    cases += [{"case": case, "problem": why} for case, why in problems.items() if case not in known]
    entry = {
        "complete": complete,
        **about.clock.entry(),
        "software": manifest.software(),
        "options": asdict(about.options),
        "model": model,
        "computed_with": computed_with(about.predictors),
        "notes": list(dict.fromkeys((*first.model.notes, *(note for one in about.predictors for note in one.notes)))),
        "cases": cases,
        "files": manifest.listed(output, (output / name for name in _OWN_FILES)),
    }
    entry = manifest.without_uids(entry, (output, folder))
    if about.options.identify:
        for case, told in zip(about.cases, entry["cases"], strict=False):
            told["identifiers"] = identifiers(case)
    manifest.write_entry(output, "predict", entry)


def _case_entry(case: Case, folder: Path, known: Mapping[str, Any] | None, problem: str | None) -> Entry:
    """What came of a case: by the record, else why there is no answer."""
    if known is None:
        return {"case": case.id, "inputs": input_entries(case, folder), "problem": problem or "not answered yet"}
    kept = {key: value for key, value in known.items() if key not in ("case", "scan", "files", "inputs")}
    files = [{"file": name, "sha256": digest} for name, digest in known["files"].items()]
    return {"case": case.id, "inputs": input_entries(case, folder, known.get("inputs")), **kept, "files": files}


def describe_model(model: Model, identity: str) -> Entry:
    """Which model it is: its identity, its plan and its weights, and the stage before it of a cascade."""
    return {"id": identity, **_stage(model)}


def _stage(model: Model) -> Entry:
    folds: Sequence[str | None] = model.folds if len(model.files) == len(model.folds) else [None] * len(model.files)
    base = model.folder.parent if model.folder.is_file() else model.folder
    weights = [
        {**({} if fold is None else {"fold": fold}), **one}
        for fold, path in zip(folds, model.files, strict=True)
        for one in manifest.listed(base, [path])
    ]
    return {
        "name": model.plan.name,
        "configuration": model.configuration_name,
        "folds": list(model.folds),
        "plan_sha256": plan_hash(model.plan.model_dump_json()),
        "mirror_axes": list(model.configuration.mirror_axes) if model.plan.inference.mirror else [],
        "weights": weights,
        "previous": None if model.previous is None else _stage(model.previous),
    }


def plan_hash(text: str) -> str:
    """SHA-256 of a plan's values as one line of JSON, as `Plan.model_dump_json` gives it."""
    return hashlib.sha256(text.encode()).hexdigest()


def computed_with(predictors: Sequence[Predictor]) -> Entry:
    """The devices, and how they compute."""
    first = predictors[0]
    devices = [str(one.device) for one in predictors]
    names = {torch.cuda.get_device_name(one.device) for one in predictors if one.device.type == "cuda"}
    return {
        "devices": devices,
        "device_names": sorted(names),
        "precision": str(first.precision).removeprefix("torch."),
        "backend": choose_backend(first.inference.backend, first.model.networks, first.device),
        "threads": torch.get_num_threads(),
    }


def training_inputs(cases: Iterable[Case], folder: Path) -> BackgroundResult[dict[str, list[Entry]]]:
    """Begin to hash what a run is trained on, labels included; the result is {case: its files}."""
    cases = list(cases)

    def make() -> dict[str, list[Entry]]:
        return {case.id: input_entries(case, folder, label=True) for case in cases}

    return BackgroundResult(make)


def write_run_manifest(
    folder: Path, clock: Clock, inputs: BackgroundResult[dict[str, list[Entry]]], record: Mapping[str, Any], plan: Plan
) -> None:
    """Write the manifest of a trained fold: the scans it saw and kept apart, how it was trained, and every file."""
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
    """Write the manifest of an evaluation: what was compared with what, how, and the files with the scores."""
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
        "options": asdict(options),
        "cases": list(cases.values()),
        "files": manifest.listed(folder, files),
    }
    manifest.write_entry(folder, "evaluate", manifest.without_uids(entry, [folder, prediction, reference]))
