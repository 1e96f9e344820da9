"""`medseg predict`: scans in, labels on their own grids out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.result import PredictResult, collect, volumes_csv
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.files import write_text
from medseg.core.progress import Callback, silent
from medseg.delivery.answers.answer import Forms, Outcome, answer_path
from medseg.delivery.answers.dicom_objects import Writer, prepare_writer
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.delivery.answers.maps import map_files
from medseg.delivery.answers.options import Maps, WriteOptions
from medseg.delivery.answers.prediction_ledger import Finished
from medseg.delivery.answers.segment import segment
from medseg.delivery.dicom.objects import Maker
from medseg.delivery.provenance.entries import Clock, Prediction, prediction_manifest
from medseg.delivery.provenance.manifest import now, without_uids
from medseg.inference.fast import fast_overrides
from medseg.inference.predictor import Predictor
from medseg.io.dicom.pixels.stacks import options_of, series_at
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SERIES_REASON, SeriesRules, parse_rules
from medseg.models.identity import identity
from medseg.models.workspace import Workspace
from medseg.networks.device import choose_devices
from medseg.plans.sections import Data

_MOST_TOLD = 20


def predict(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: PredictOptions | None = None,
    callback: Callback = silent,
) -> PredictResult:
    """Segment one scan or a folder of them, and write labels, volumes.csv, labels.json, predict.jsonl and
    manifest.json.

    Raises:
        MedsegError: no model is meant, or there is nothing to segment. A single bad case does not raise.
    """
    options, clock = options or PredictOptions(), Clock()
    predictors = load_predictors(model, workspace, options)
    return predict_with(predictors, source, output, options, callback, clock)


def predict_with(
    predictors: Sequence[Predictor],
    source: str | Path,
    output: str | Path,
    options: PredictOptions,
    callback: Callback = silent,
    clock: Clock | None = None,
) -> PredictResult:
    """`predict` with a model that is loaded, once a device; `clock` runs from before it was loaded for this call.

    Raises:
        MedsegError: there is nothing to segment.
    """
    output, clock = Path(output), clock or Clock()
    loaded = predictors[0].model
    data = loaded.plan.data
    cases, failed = find_scans(Path(source), data.channels, options.channels, series_rules(data, options))
    _check_maps(predictors[0], options.maps)
    writer = _writer(predictors[0], options.write, cases)
    failed |= writer.refused
    cases = [case for case in cases if case.id not in writer.refused]
    answers = _answers(Path(source), output, cases)
    answers += [path for case in cases for path in writer.paths(case, output)]
    answers += [path for case in cases for path in map_files(options.maps, case, output, loaded.plan.labels)]
    about = Prediction(Path(source), output, predictors, options, cases, clock)
    made_by = _made_by(predictors[0], options.maps) | writer.record
    with (
        Finished(output, made_by, options.keep_finished, answers) as record,
        prediction_manifest(about, record) as problems,
    ):
        kept = {case.id: _earlier(case, record, output) for case in cases if record.holds(case)}
        left = [case for case in cases if case.id not in kept]
        outcomes = list(kept.values())
        if left:
            note = partial(_note, record=record)
            forms = Forms(options.maps, writer)
            outcomes += segment(predictors, left, output, callback, written=note, forms=forms)
        of_network = (note for predictor in predictors for note in predictor.notes)
        notes = (*loaded.notes, *_chosen_series(cases), *writer.notes, *of_network)
        result = collect(cases, outcomes, failed, tuple(kept), tuple(dict.fromkeys(notes)))
        write_labels_file(output, loaded.plan)
        write_text(output / "volumes.csv", volumes_csv(result))
        record.close(cases)
        problems |= result.failed
    return result


def load_predictors(model: str | Path | None, workspace: str | Path, options: PredictOptions) -> list[Predictor]:
    """The model, once a device.

    Raises:
        MedsegError: none is meant, or it cannot be loaded.
    """
    path = Workspace(Path(workspace)).model_path(model, options.configuration)
    overrides = [*(fast_overrides() if options.fast else ()), *options.overrides]
    if options.mirror is not None:
        overrides.append(f"inference.mirror={str(options.mirror).lower()}")
    if options.frame is not None:
        overrides.append(f"data.reading.frame={options.frame}")
    overrides += [f"data.reading.{key}=true" for key in ("resample_tilt", "allow_gaps") if getattr(options, key)]
    return [
        Predictor.load(
            path,
            str(device),
            options.folds,
            overrides,
            configuration=options.configuration,
            checkpoint=options.checkpoint,
        )
        for device in choose_devices(options.device)
    ]


def series_rules(data: Data, options: PredictOptions) -> SeriesRules:
    """How series of DICOM studies are chosen: as asked, else as the plan says."""
    rules = parse_rules(options.series, data.channels)[1] if options.series else tuple(data.series_rules)
    return SeriesRules(rules, options_of(data.reading))


def _check_maps(predictor: Predictor, maps: Maps) -> None:
    """Say at once, and not of each case, that a single look has no spread."""
    mirrored = predictor.inference.mirror and predictor.configuration.mirror_axes
    if maps.spread and len(predictor.model.networks) == 1 and not mirrored:
        raise PlanError(
            "--spread is taken over folds and mirrored copies; here are one fold and no mirrored copies.",
            "Add --mirror, or take a model of several folds.",
        )


def _chosen_series(cases: Sequence[Case]) -> list[str]:
    """Which series of DICOM studies were taken, and why, in sentences."""
    chosen = [case for case in cases if SERIES_REASON in case.attributes]
    told = [
        f"{case.id}: {' and '.join(series_at(path).title for path in case.channels)}; {case.attributes[SERIES_REASON]}"
        for case in chosen[:_MOST_TOLD]
    ]
    return told + [f"and {len(chosen) - _MOST_TOLD} more studies, see manifest.json"] * (len(chosen) > _MOST_TOLD)


def _writer(predictor: Predictor, options: WriteOptions, cases: Sequence[Case]) -> Writer:
    """In which forms the cases are answered, all checked that can be before anything is computed."""
    model = predictor.model
    maker = Maker("AUTOMATIC", f"medseg {model.plan.name}", __version__, identity(model))
    return prepare_writer(options, cases, model.plan.labels, model.plan.codes, maker, model.plan.data.reading)


def _answers(source: Path, output: Path, cases: Sequence[Case]) -> list[Path]:
    """Make the folder before anything is computed, and refuse one in which an answer would replace a scan."""
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file; expected a folder for the answers.")
    if source.is_dir() and source.resolve() == output.resolve():
        raise DataError(f"The answers would lie among the scans in {output}.", "Name another folder for the answers.")
    output.mkdir(parents=True, exist_ok=True)
    answers = [answer_path(case, output) for case in cases]
    for case, answer in zip(cases, answers, strict=True):
        if any(answer.resolve() == file.resolve() for file in case.channels):
            raise DataError(
                f"The answer {answer} would replace the scan itself.", "Name another folder for the answers."
            )
    return answers


def _made_by(predictor: Predictor, maps: Maps) -> dict[str, Any]:
    """What decides the answers, for the record."""
    model = predictor.model
    inference = {f"inference.{key}": value for key, value in model.plan.inference.model_dump(mode="json").items()}
    became = {"device type": predictor.device.type, "precision": str(predictor.precision).removeprefix("torch.")}
    how = {"folds": list(model.folds), "maps": asdict(maps), **became, **inference}
    return {"medseg": __version__, "model": identity(model), **how}


def _note(outcome: Outcome, record: Finished) -> None:
    about = {"volumes": outcome.volumes, "unit": outcome.unit, "ended": now(), **without_uids(outcome.about)}
    record.add(outcome.case, outcome.files, about)


def _earlier(case: Case, record: Finished, output: Path) -> Outcome:
    """What an earlier run noted of a case."""
    entry = record.entries[case.id]
    files = tuple(output / name for name in entry["files"])
    return Outcome(case, files, entry.get("volumes") or {}, str(entry.get("unit", "")))
