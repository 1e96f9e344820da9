"""`medseg predict`: scans in, labels on their own grids out.

What only some predictions need (DICOM, maps, cascades, nnU-Net's models, packages) is imported in the functions that
use it, here and on the floors below: the first scan is then answered sooner, and who reads along meets less.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.commands.predict.found import find
from medseg.commands.predict.index import folder_of, pages_of, remove_earlier
from medseg.commands.predict.judged import QUALITY, judged_by
from medseg.commands.predict.notes import run_notes
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.pages import write_pages
from medseg.commands.predict.result import PredictResult
from medseg.commands.predict.volume_tables import check_workbook, remove_volume_tables, write_volume_tables
from medseg.core.case import Case
from medseg.core.errors import DataError, PlanError
from medseg.core.files import check_folder
from medseg.core.progress import Callback, Progress, silent
from medseg.core.wording import counted
from medseg.delivery.answers.answer import Forms, Outcome
from medseg.delivery.answers.dicom_objects import known_codes, prepare_writer
from medseg.delivery.answers.earlier import TABLES_BESIDE, move_aside, move_others_aside, move_unanswered_aside
from medseg.delivery.answers.formats import AnswerFormat, answer_path, format_named
from medseg.delivery.answers.instances import TABLE as OBJECTS_TABLE
from medseg.delivery.answers.instances import Instances, write_table
from medseg.delivery.answers.labels_file import write_labels_file
from medseg.delivery.answers.options import Maps
from medseg.delivery.answers.pictures import Pictures
from medseg.delivery.answers.prediction_ledger import PredictionLedger, finished_entry
from medseg.delivery.answers.segment import segment
from medseg.delivery.answers.viewers import write_viewer_tables
from medseg.delivery.pages.own_page import remove_own_page
from medseg.delivery.provenance.entries import Prediction, computed_with, prediction_manifest
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.manifest import Clock, now, without_uids
from medseg.inference.predictor import Predictor
from medseg.models.identity import identity
from medseg.models.workspace import Workspace
from medseg.networks.device import choose_devices

if TYPE_CHECKING:
    from medseg.commands.predict.on_cluster import OnCluster


def predict(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    workspace: str | Path = ".",
    options: PredictOptions | None = None,
    callback: Callback = silent,
) -> PredictResult:
    """Segment one scan or a folder of scans.

    Writes the labels, volumes.csv, labels.json, predict.jsonl and manifest.json. A single bad case does not raise; it
    is named in the result.

    Args:
        source: a scan, a DICOM study, or a folder of these.
        output: folder for the answers.
        model: a run's folder, `<plan>/<configuration>`, a package, or a model folder or zip of nnU-Net's; None if the
            workspace has one trained model.
        workspace: folder with `plans/` and `runs/`.
        options: everything else.
        callback: receives progress; may raise `Cancelled`.

    Returns:
        The answers with their volumes, {case: why it has no answer}, and notes.

    Raises:
        MedsegError: there is no model, several fit, or there is nothing to segment.
    """
    options, clock = options or PredictOptions(), Clock()
    if not isinstance(source, str | Path):
        raise DataError(
            f"Scans were given as {type(source).__name__}; expected the path of a scan or a folder.",
            "medseg.Predictor segments an image in memory, or a list of files as the channels of one scan.",
        )
    if options.cluster is not None:
        from medseg.commands.predict.on_cluster import predict_on_cluster

        return predict_on_cluster(source, output, model, workspace, options, callback, clock)
    predictors = load_predictors(model, workspace, options)
    return predict_with(predictors, source, output, options, callback, clock)


def predict_with(
    predictors: Sequence[Predictor],
    source: str | Path,
    output: str | Path,
    options: PredictOptions,
    callback: Callback = silent,
    clock: Clock | None = None,
    elsewhere: OnCluster | None = None,
) -> PredictResult:
    """Segment one scan or a folder of scans with a model that is loaded: see `predict`.

    Args:
        predictors: the model, once per device.
        source: a scan, a DICOM study, or a folder of these.
        output: folder for the answers.
        options: everything else.
        callback: receives progress; may raise `Cancelled`.
        clock: runs since the command started; None if the model was not loaded for this call.
        elsewhere: answers the cases in place of these predictors.

    Returns:
        As `predict`.

    Raises:
        MedsegError: there is nothing to segment.
    """
    check_workbook(options.xlsx)
    source, output, clock, model = Path(source), Path(output), clock or Clock(), predictors[0].model
    for predictor in predictors:
        predictor.take_notes()  # of a call before that ended early: `watch` has one for each study
    scans = find(source, options, model.plan.data)
    forms = _forms(predictors[0], options, scans.cases, output, source)
    failed = {**scans.failed, **forms.writer.refused}
    cases = [case for case in scans.cases if case.id not in forms.writer.refused]
    _prepare_folder(source, output, cases, forms.format)
    files = {case.id: forms.files(case, output, model.plan.labels) for case in cases}
    made_by = _made_by(predictors[0], options, forms) | (elsewhere.decided_by_workers if elsewhere else {})
    described = partial(computed_with, predictors) if elsewhere is None else elsewhere.computed_with
    prediction = Prediction(source, output, predictors, options, cases, described, clock, scans.passed_over)
    answer = partial(_segment_noted, predictors) if elsewhere is None else elsewhere.answer
    with (
        PredictionLedger(output, made_by, options.keep_finished, [*chain(*files.values())]) as ledger,
        prediction_manifest(prediction, ledger) as problems,
    ):
        kept = {case.id: _earlier_outcome(case, ledger, output) for case in cases if ledger.holds(case)}
        remaining = [case for case in cases if case.id not in kept]
        moved = _clear(ledger, remaining, ledger.of_others({case.id: files[case.id] for case in remaining}))
        if (again := _replaced(ledger, cases, failed, output)) is not None:  # the answers are still there
            callback(Progress("predict", 0, len(cases), {"note": again}))
        outcomes = [*kept.values()]
        if remaining:
            with ledger.answering(remaining):
                outcomes += answer(remaining, forms, ledger, callback)
        unanswered = [*failed, *(outcome.case.id for outcome in outcomes if outcome.problem is not None)]
        remove_earlier(output, [Case(id, id, ()) for id in unanswered if ledger.knows(id)])
        moved += move_unanswered_aside(output, ledger.drop(unanswered))
        notes = [*moved, *scans.notes]
        notes += run_notes(predictors, options, cases, forms)
        if options.instances:
            tables = [forms.instances.files(outcome.case, output)[1] for outcome in outcomes if outcome.files]
            notes.append(f"instances.csv lists {counted(write_table(output, sorted(tables)), 'object')}")
        frame = model.plan.data.reading.frame
        result = PredictResult.of(cases, outcomes, failed, tuple(kept), tuple(dict.fromkeys(notes)), frame)
        result = replace(result, facts=scans.facts, passed_over=scans.passed_over)
        result = _write_beside(prediction, forms, result, outcomes, options.xlsx)
        ledger.close(cases)
        problems |= result.failed
    write_readme(output, "answers")
    return result


def _clear(ledger: PredictionLedger, remaining: Sequence[Case], of_others: Sequence[Path]) -> list[str]:
    """Remove or move aside what describes answers that are about to be replaced: a run may be killed at any moment.

    Args:
        ledger: the ledger of the folder of the answers.
        remaining: the cases whose answers are replaced.
        of_others: files of these answers that somebody changed or added, which are moved aside as well.

    Returns:
        Sentences on what was moved.
    """
    if not remaining:
        return []
    output = ledger.folder
    if ledger.is_new:
        of_others = [*of_others, *(output / name for name in TABLES_BESIDE if (output / name).is_file())]
    moved = [text for text in (move_aside(output), move_others_aside(output, of_others)) if text]
    remove_volume_tables(output)
    (output / OBJECTS_TABLE).unlink(missing_ok=True)
    remove_earlier(output, remaining)
    remove_own_page(output / QUALITY)
    return moved


def _write_beside(
    prediction: Prediction, forms: Forms, result: PredictResult, outcomes: Sequence[Outcome], workbook: bool
) -> PredictResult:
    """Write what lies beside the answers: names, tables and pages. The result has notes on what could not be."""
    output, model = prediction.output, prediction.predictors[0].model
    write_labels_file(output, model.plan)
    write_viewer_tables(output, model.plan.labels)
    failed = without_uids(result.failed, (output, folder_of(prediction.source)))
    if (missing := write_volume_tables(output, replace(result, failed=failed), workbook)) is not None:
        result = replace(result, notes=(*result.notes, missing))
    return write_pages(output, prediction.source, model, forms.pages, result, outcomes)


def load_predictors(model: str | Path | None, workspace: str | Path, options: PredictOptions) -> list[Predictor]:
    """Load a model, once per device.

    Args:
        model: as in `predict`.
        workspace: as in `predict`.
        options: say which folds, devices and settings.

    Returns:
        The predictors, one for each device.

    Raises:
        MedsegError: there is no model, several fit, or it cannot be loaded.
    """
    selected = options.selection and not options.folds and options.checkpoint is None
    path = Workspace(Path(workspace)).model_path(model, options.configuration, selection=selected)
    overrides = list(options.overrides)
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
            fast=options.fast,
            selection=options.selection,
        )
        for device in choose_devices(options.device)
    ]


def _forms(predictor: Predictor, options: PredictOptions, cases: Sequence[Case], output: Path, source: Path) -> Forms:
    """Return the forms of the answers that are asked for, after checking that the model and the scans allow them.

    Raises:
        MedsegError: a form is impossible for every case; the writer's `refused` names single ones.
    """
    model, plan = predictor.model, predictor.model.plan
    _check_spread(predictor, options.maps)
    form = format_named(options.format, plan.labels, plan.data.dimensions)
    pictures = Pictures(options.overlay, options.palette, plan.data)
    pictures.check(plan.labels)
    instances = Instances(options.instances, plan.data.reading.boundaries, None if form is None else form.numbers)
    instances.check(plan.labels)
    writer = prepare_writer(options.write, cases, model, output, form)
    # only NRRD has a place for codes; looking them up would delay the first scan
    coded = any(answer_path(case, output, form).suffix == ".nrrd" for case in cases)
    codes = known_codes(plan) if coded else {}
    return Forms(
        options.maps,
        writer,
        pictures,
        instances,
        form,
        codes,
        pages_of(options, cases, plan.data, (output, folder_of(source))),
    )


def _replaced(ledger: PredictionLedger, cases: Sequence[Case], failed: Collection[str], output: Path) -> str | None:
    """Return a note on answers of an earlier run: which are replaced, and which stay; None where there are none."""
    again = {case.id for case in cases}.intersection(ledger.replaced)
    stay = len({*ledger.replaced} - again - {*failed})
    parts = [f"{counted(len(again), 'answer')} of an earlier run in {output} will be replaced"] if again else []
    if stay:
        stays = "stays" if stay == 1 else "stay"
        parts.append(f"{counted(stay, 'answer')} to other scans {stays} in {output}, without a line in its tables")
    return "; ".join(parts) or None


def _segment_noted(
    predictors: Sequence[Predictor], cases: Sequence[Case], forms: Forms, ledger: PredictionLedger, callback: Callback
) -> list[Outcome]:
    """Segment cases, and note each in the ledger as soon as its answer is written."""

    def on_written(outcome: Outcome) -> None:
        ledger.note(finished_entry(ledger.folder, outcome.case, outcome.files, about_answer(outcome)))

    outcomes = []
    for outcome in segment(predictors, cases, ledger.folder, callback, on_written=on_written, forms=forms):
        outcomes.append(outcome)
        if outcome.problem is not None:
            ledger.note_failed(outcome.case)
    return outcomes


def about_answer(outcome: Outcome) -> dict[str, Any]:
    """Return the ledger's further entries on an answer that was just written, beside its files."""
    return {"volumes": outcome.volumes, "unit": outcome.unit, "ended": now(), **without_uids(outcome.about)}


def _check_spread(predictor: Predictor, maps: Maps) -> None:
    """Refuse maps of the spread where there is a single prediction: now, and not for each case."""
    mirrored = predictor.inference.mirror and predictor.configuration.mirror_axes
    if maps.spread and len(predictor.model.networks) == 1 and not mirrored and not predictor.model.others:
        raise PlanError(
            "--spread compares the answers of several folds or of mirrored copies; this model has one fold, and "
            "mirroring is off.",
            ("Add --mirror, or use" if predictor.configuration.mirror_axes else "Use") + " a model with several folds.",
        )


def _prepare_folder(source: Path, output: Path, cases: Sequence[Case], form: AnswerFormat | None) -> None:
    """Make the folder for the answers, in which no answer may replace a scan.

    Raises:
        DataError: one would, or the folder is a file.
    """
    check_folder(output)
    if source.is_dir() and source.resolve() == output.resolve():
        raise DataError(
            f"The answers would be written among the scans in {output}.", "Name another folder for the answers."
        )
    output.mkdir(parents=True, exist_ok=True)
    for case in cases:
        answer = answer_path(case, output, form)
        if any(answer.resolve() == file.resolve() for file in case.channels):
            raise DataError(
                f"The answer {answer} would replace the scan itself.", "Name another folder for the answers."
            )


def how_computed(predictor: Predictor) -> dict[str, Any]:
    """Return everything that the labels from a predictor depend on besides the scan, as JSON."""
    model = predictor.model
    return {
        "medseg": __version__,
        "model": identity(model),
        "folds": list(model.folds),
        "device type": predictor.device.type,
        "precision": str(predictor.precision).removeprefix("torch."),
        **{f"inference.{key}": value for key, value in model.plan.inference.model_dump(mode="json").items()},
    }


def _made_by(predictor: Predictor, options: PredictOptions, forms: Forms) -> dict[str, Any]:
    """Return everything that the answers depend on, for the ledger."""
    return {
        **how_computed(predictor),
        "maps": asdict(forms.maps),
        **forms.writer.record,
        **judged_by(predictor.model, options),
        # only where they are asked for: folders of earlier versions can still be continued
        **({} if forms.format is None else {"format": forms.format.suffix}),
        **{name: True for name in ("overlay", "palette", "instances") if getattr(options, name)},
    }


def _earlier_outcome(case: Case, ledger: PredictionLedger, output: Path) -> Outcome:
    """Return the outcome of a case as an earlier run recorded it."""
    entry = ledger.entries[case.id]
    files = tuple(output / name for name in entry["files"])
    about: dict[str, Any] = {key: entry[key] for key in ("warnings", "quality", "grid") if key in entry}
    return Outcome(case, files, entry.get("volumes") or {}, str(entry.get("unit", "")), about=about)
