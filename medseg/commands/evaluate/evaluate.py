"""`medseg evaluate`: score predictions against references, on the grids of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from medseg.commands.evaluate.case_table import table_notes, with_table
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.commands.evaluate.pair_names import name_segments
from medseg.commands.evaluate.pairing import Side, called_as, find_sides
from medseg.commands.evaluate.refusals import folder_of, refuse_exchanged, refuse_itself, refuse_same, refuse_same_files
from medseg.commands.evaluate.same_values import (
    check_references,
    reading_of_references,
    used_for_others,
    with_values_of,
)
from medseg.commands.evaluate.structures import (
    Structures,
    declared_structures,
    differing_headers,
    structures_of_values,
)
from medseg.commands.evaluate.thresholds import check_thresholds
from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.files import check_folder
from medseg.core.labels import Labels
from medseg.core.progress import Callback, silent
from medseg.datasets.data_options import DataOptions
from medseg.datasets.option_values import reading_from_options
from medseg.delivery.answers.earlier import SCORES, move_others_aside
from medseg.delivery.answers.labels_file import Answers, read_labels_file
from medseg.delivery.pages.score_files import write_results
from medseg.delivery.provenance.entries import write_evaluation_manifest
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.manifest import Clock, is_listed
from medseg.engines.engine import Engine
from medseg.engines.open import open_engine
from medseg.evaluation.comparison import attribute_named, subgroups
from medseg.evaluation.extra_measures import check_registered
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.result import Compared, Evaluation
from medseg.evaluation.summary import Summary, Unscored
from medseg.io.layouts.dataset import assign_patients
from medseg.plans.sections.reading import Reading
from medseg.plans.sections.scoring import Scoring

_MOST_SHOWN = 6


def evaluate(
    prediction: str | Path,
    reference: str | Path,
    labels: Labels | None = None,
    options: EvaluateOptions | None = None,
    callback: Callback = silent,
) -> Evaluation:
    """Score predictions, and write metrics.json, metrics.csv and report.html.

    Args:
        prediction: a label file or a folder of them; files are paired by name without suffix, two files as they are.
        reference: likewise, or the folder of a data set.
        labels: the structures; None for those that `labels.json` beside the predictions declares, else those of the
            data set, else every value that occurs.
        options: what to measure, of which cases, and where to write; None for the defaults.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        The scores of each case and structure, {case: why it has no score}, and the files that were written.

    Raises:
        DataError: nothing can be paired, no structure is known, or an option is not valid. A single bad case does not
            raise: it is named in the result.
        PlanError: `options.scoring` names a measure that is not registered.
    """
    options, clock = options or EvaluateOptions(), Clock()
    with open_engine(options.cluster, callback) as engine:
        return _evaluate(Path(prediction), Path(reference), labels, options, _Scorer(engine, callback), clock)


@dataclass(frozen=True)
class _Scorer:
    """The engine that scores cases, and the callback that receives progress."""

    engine: Engine
    callback: Callback


def _evaluate(
    prediction: Path, reference: Path, labels: Labels | None, options: EvaluateOptions, scorer: _Scorer, clock: Clock
) -> Evaluation:
    """Score predictions as `evaluate` does, on an open engine."""
    sides = predictions, references = find_sides(prediction, reference, options.pair)
    answers = read_labels_file(folder_of(prediction))
    if options.output is None:
        refuse_exchanged(prediction, reference)
    else:
        check_folder(options.output)
    refuse_same(prediction, options.others)
    reading, notes = reading_of_references(answers, options)
    pairs = _pairs(predictions, references, options, reading)
    notes += table_notes(pairs, options.table)
    if labels is None and answers is not None:
        notes += check_references(pairs, answers, references.labels, folder_of(reference), options)
    declared = declared_structures(labels, answers, references.labels)
    pairs, named, assumed = name_segments(
        pairs, declared.labels if declared else None, options.segments, options.overlaps
    )
    by_value = bool(options.map or options.prediction_map or any(pair.reading.segments for pair in pairs))
    if declared is not None:
        # what answers of medseg hold, labels.json says; by it references may call structures otherwise
        differing = () if by_value or answers else differing_headers(pairs, declared.labels)
        settled = replace(declared, notes=(*assumed, *differing))
    elif named is not None:
        settled = Structures(named, "the names in the label files", assumed)
    else:
        settled = structures_of_values(pairs, by_value, scorer.engine, scorer.callback)
    labels = settled.labels
    scoring = _scoring(answers, options)
    # before hours of scoring
    _check_names(labels, pairs, references, options)
    check_thresholds(options.fail_below, labels.names, scoring)
    other_sides = [(path, called_as(find_sides(path, reference, options.pair), references)) for path in options.others]
    refuse_same_files(predictions, [other for _, (other, _) in other_sides])
    summary = _score(pairs, sides, labels, scoring, options.allow_missing, scorer)
    known_attributes = {name for case in summary.cases for name in case.attributes}
    by_attribute = {
        name: subgroups(summary.cases, attribute_named(name, known_attributes) or name, [*summary.structures])
        for name in options.by
    }
    result = Evaluation(
        summary,
        labels,
        settled.origin,
        subgroups=by_attribute,
        similar=_similar_pairs(pairs, references),
        notes=tuple(dict.fromkeys((*notes, *settled.notes, *predictions.notes, *references.notes, *summary.notes))),
    )
    for path, sides_of_other in other_sides:
        result = _with_comparison(result, path, sides_of_other, options, reading, scoring, scorer)
    folder = options.output or folder_of(prediction)
    scans = [(pair, references.scans.get(pair.case)) for pair in pairs]
    earlier = [folder / name for name in SCORES if (folder / name).is_file()]
    replaced = tuple(path for path in earlier if is_listed(path))
    if moved := move_others_aside(folder, [path for path in earlier if path not in replaced]):
        result = replace(result, notes=(*result.notes, moved))
    files = write_results(folder, result, scans, _facts(result, pairs))
    write_evaluation_manifest(folder, clock, options, (prediction, reference), pairs, result.failed, files)
    write_readme(folder, "answers")
    return replace(result, files=files, scans=dict(references.scans), replaced=replaced)


def _with_comparison(
    result: Evaluation,
    path: Path,
    sides: tuple[Side, Side],
    options: EvaluateOptions,
    reading: Reading,
    scoring: Scoring,
    scorer: _Scorer,
) -> Evaluation:
    """Return an evaluation with a comparison with other predictions of the same cases.

    Args:
        result: the evaluation so far.
        path: file or folder of the others.
        sides: their files, and the references, under the names of the cases in the evaluation.
        options: of the command.
        reading: how references are read: alike, whatever they judge.
        scoring: measures and rules.
        scorer: scores the pairs.
    """
    answers, summary = read_labels_file(folder_of(path)), result.summary
    notes = used_for_others(options, path, answers)
    if answers is not None:  # which says what their values mean
        options = replace(options, prediction_threshold=None, prediction_map=())
    pairs = name_segments(_pairs(*sides, options, reading), result.labels, options.segments, options.overlaps).pairs
    pairs, of_values = with_values_of(pairs, result.labels, answers, folder_of(path))
    other = _score(pairs, sides, result.labels, scoring, True, scorer)
    of_files = [note for note in other.notes if note not in summary.notes]  # references are those of the evaluation
    return replace(
        result,
        compared=(*result.compared, Compared.of(summary, other, path)),
        similar=result.similar | _similar_pairs(pairs, sides[1]),
        notes=(*result.notes, *of_values, *notes, *of_files),
    )


def _pairs(predictions: Side, references: Side, options: EvaluateOptions, reading: Reading) -> list[Pair]:
    """Return the pairs of files with what is known of their cases; `reading` says what references hold.

    Raises:
        DataError: a table or a pattern does not fit the cases, no case has an attribute that makes subgroups, or a file
            is on both sides.
    """
    ids = sorted(predictions.files.keys() & references.files.keys())
    for id in ids:
        refuse_itself(predictions.files[id], references.files[id])
    cases = [references.cases.get(id, Case(id, id, ())) for id in ids]
    if options.patient_pattern is not None:
        cases = assign_patients(cases, options.patient_pattern)
    if options.table is not None:
        cases = with_table(cases, Path(options.table))
    cases = [replace(c, annotated=tuple(options.annotated[c.id])) if c.id in options.annotated else c for c in cases]
    known_attributes = sorted({name for case in cases for name in case.attributes})
    absent = [name for name in options.by if attribute_named(name, known_attributes) is None]
    if absent:
        raise DataError(
            f"No case has the attribute {absent[0]!r}; there are {', '.join(known_attributes) or 'none'}.",
            "Give a table of the cases with such a column: --cases table.csv",
        )
    of_predictions = reading_from_options(
        DataOptions(threshold=options.prediction_threshold, map=options.prediction_map)
    )
    return [
        Pair(case, references.files[case.id], predictions.files[case.id], reading, of_predictions, object_maps=True)
        for case in cases
    ]


def _similar_pairs(pairs: Sequence[Pair], references: Side) -> dict[str, str]:
    """Return {prediction: reference} of the pairs whose names are only similar."""
    return {str(pair.prediction): str(pair.reference) for pair in pairs if pair.case in references.similar}


def _score(
    pairs: list[Pair],
    sides: tuple[Side, Side],
    labels: Labels,
    scoring: Scoring,
    allow_missing: bool,
    scorer: _Scorer,
) -> Summary:
    """Score the pairs of label files, and name the cases without a score in the summary.

    Args:
        pairs: label files to score.
        sides: the files of (predictions, references).
        labels: the structures.
        scoring: measures and rules.
        allow_missing: whether a reference may lack a prediction; if not, its case counts as failed.
        scorer: scores the pairs.
    """
    predictions, references = sides
    known = references.files.keys() | references.failed.keys()
    failed = references.failed | {case: why for case, why in predictions.failed.items() if case in known}
    missing = sorted(references.files.keys() - predictions.files.keys() - failed.keys())
    if not allow_missing:
        failed |= dict.fromkeys(missing, "there is no prediction of this name")
    unscored = Unscored(
        failed,
        without_prediction=missing if allow_missing else (),
        without_reference=sorted((predictions.files.keys() | predictions.failed.keys()) - known),
    )
    return summarize_pairs(pairs, labels, scoring, unscored, scorer.callback, scorer.engine)


def _scoring(answers: Answers | None, options: EvaluateOptions) -> Scoring:
    """Return how to score: as `labels.json` beside the predictions says, with the keys that the options replace.

    Raises:
        DataError: a key or value is not valid.
        PlanError: the options name a measure that is not registered. One that only `labels.json` names is left out:
            its model was trained in a process that had registered it.
    """
    base = answers.scoring if answers else Scoring()
    check_registered(options.scoring_keys.get("extra_measures", ()))
    keys = options.scoring_keys
    if options.tolerance and "nsd_tolerance_mm" not in options.scoring:  # of some structures; the others keep theirs
        keys["nsd_tolerance_mm"] = base.nsd_tolerance_mm | keys["nsd_tolerance_mm"]
    try:
        return Scoring.model_validate({**base.model_dump(), **keys})
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"scoring.{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _check_names(labels: Labels, pairs: Sequence[Pair], references: Side, options: EvaluateOptions) -> None:
    """Refuse options that name a structure that does not exist: a typing error would change scores unseen.

    A data set's own record of what was annotated may name structures that a model was not trained on.

    Raises:
        DataError: a name is not one of the structures.
    """
    named = dict.fromkeys(options.scoring_keys.get("nsd_tolerance_mm", {}), "a tolerance is given for")
    from_options = [p for p in pairs if p.about.annotated != references.cases.get(p.case, p.about).annotated]
    for pair in from_options if references.cases else pairs:
        named |= dict.fromkeys(pair.about.annotated or (), f"case {pair.case} is said to be annotated for")
    for name in sorted(named.keys() - set(labels.names)):
        raise DataError(f"There is no structure {name!r}, which {named[name]}; there are {', '.join(labels.names)}.")


def _facts(result: Evaluation, pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Return facts on the evaluation for the page, as (name, value)."""
    similar = "; ".join(f"{Path(name).name} with {Path(other).name}" for name, other in result.similar.items())
    return [
        *([("paired by similar names, as asked", similar)] if similar else []),
        ("predictions", ", ".join(sorted({str(pair.prediction.parent) for pair in pairs}))),
        *[("compared with", str(compared.path)) for compared in result.compared],
        ("references", ", ".join(sorted({str(pair.reference.parent) for pair in pairs}))),
        ("structures", f"{', '.join(result.labels.names)} ({result.labels_from})"),
        *[("note", note) for note in result.notes],
    ]
