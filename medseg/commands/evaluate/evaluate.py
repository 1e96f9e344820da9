"""`medseg evaluate`: score predictions against references, on the grids of the files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from medseg.commands.evaluate.options import EvaluateOptions
from medseg.commands.evaluate.pair_names import name_segments
from medseg.commands.evaluate.pairing import Side, called_as, find_sides
from medseg.commands.evaluate.same_values import check_references, with_values_of
from medseg.commands.evaluate.structures import (
    Structures,
    declared_structures,
    differing_headers,
    structures_of_values,
)
from medseg.core.case import Case, parse_row, rows_by_case
from medseg.core.errors import DataError
from medseg.core.files import check_folder
from medseg.core.labels import Labels
from medseg.core.progress import Callback, silent
from medseg.datasets.data_options import DataOptions
from medseg.datasets.option_values import reading_from_options
from medseg.delivery.answers.earlier import SCORES
from medseg.delivery.answers.labels_file import Answers, read_labels_file
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.delivery.pages.score_files import write_results
from medseg.delivery.provenance.entries import write_evaluation_manifest
from medseg.delivery.provenance.folder_files import write_readme
from medseg.delivery.provenance.manifest import Clock
from medseg.engines.engine import Engine
from medseg.engines.open import open_engine
from medseg.evaluation.comparison import attribute_named, subgroups
from medseg.evaluation.extra_measures import check_registered
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.result import Compared, Evaluation
from medseg.evaluation.summary import Summary, Unscored
from medseg.io.images import AS_STORED
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
    answers = read_labels_file(_folder_of(prediction))
    if options.output is None:
        _refuse_exchanged(prediction, reference)
    else:
        check_folder(options.output)
    _refuse_same(prediction, options.others)
    pairs = _pairs(predictions, references, options, answers)
    if labels is None and answers is not None:
        check_references(pairs, answers, references.labels, _folder_of(reference), options)
    declared = declared_structures(labels, answers, references.labels)
    pairs, named, assumed = name_segments(
        pairs, declared.labels if declared else None, options.segments, options.overlaps
    )
    by_value = bool(options.map or options.prediction_map or any(pair.reading.segments for pair in pairs))
    if declared is not None:
        # what answers of medseg hold, labels.json says; by it references may call structures otherwise
        settled = (
            declared if by_value or answers else replace(declared, notes=differing_headers(pairs, declared.labels))
        )
    elif named is not None:
        settled = Structures(named, "the names in the label files", assumed)
    else:
        settled = structures_of_values(pairs, by_value, scorer.engine, scorer.callback)
    labels = settled.labels
    scoring = _scoring(answers, options)
    _check_names(labels, pairs, references, options)
    # before hours of scoring
    other_sides = [(path, called_as(find_sides(path, reference, options.pair), references)) for path in options.others]
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
        notes=tuple(dict.fromkeys((*settled.notes, *predictions.notes, *references.notes))),
    )
    for path, sides_of_other in other_sides:
        other_pairs = _pairs(*sides_of_other, options, answers)  # references are read alike whatever they judge
        other_pairs = name_segments(other_pairs, labels, options.segments, options.overlaps).pairs
        other_pairs, notes = with_values_of(other_pairs, labels, read_labels_file(_folder_of(path)), _folder_of(path))
        other = _score(other_pairs, sides_of_other, labels, scoring, True, scorer)
        similar = result.similar | _similar_pairs(other_pairs, sides_of_other[1])
        compared = (*result.compared, Compared.of(summary, other, path))
        result = replace(result, compared=compared, similar=similar, notes=(*result.notes, *notes))
    folder = options.output or _folder_of(prediction)
    scans = [(pair, references.scans.get(pair.case)) for pair in pairs]
    replaced = tuple(folder / name for name in SCORES if (folder / name).is_file())
    files = write_results(folder, result, scans, _facts(result, pairs))
    write_evaluation_manifest(folder, clock, options, (prediction, reference), pairs, result.failed, files)
    write_readme(folder, "answers")
    return replace(result, files=files, scans=dict(references.scans), replaced=replaced)


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _pairs(predictions: Side, references: Side, options: EvaluateOptions, answers: Answers | None) -> list[Pair]:
    """Return the pairs of files with what is known of their cases.

    Raises:
        DataError: a table or a pattern does not fit the cases, no case has an attribute that makes subgroups, or a file
            is on both sides.
    """
    ids = sorted(predictions.files.keys() & references.files.keys())
    for id in ids:
        _refuse_itself(predictions.files[id], references.files[id])
    cases = [references.cases.get(id, Case(id, id, ())) for id in ids]
    if options.patient_pattern is not None:
        cases = assign_patients(cases, options.patient_pattern)
    if options.table is not None:
        cases = _with_table(cases, Path(options.table))
    cases = [replace(c, annotated=tuple(options.annotated[c.id])) if c.id in options.annotated else c for c in cases]
    known_attributes = sorted({name for case in cases for name in case.attributes})
    absent = [name for name in options.by if attribute_named(name, known_attributes) is None]
    if absent:
        raise DataError(
            f"No case has the attribute {absent[0]!r}; there are {', '.join(known_attributes) or 'none'}.",
            "Give a table of the cases with such a column: --cases table.csv",
        )
    reading = options.reading or _reading(options) or (answers.reading if answers else AS_STORED)
    of_predictions = reading_from_options(
        DataOptions(threshold=options.prediction_threshold, map=options.prediction_map)
    )
    return [
        Pair(case, references.files[case.id], predictions.files[case.id], reading, of_predictions, object_maps=True)
        for case in cases
    ]


def _reading(options: EvaluateOptions) -> Reading | None:
    """Return how the options say that references are read; None if they say nothing."""
    data_options = DataOptions(threshold=options.threshold, map=options.map, resample_labels=options.resample_labels)
    return None if data_options == DataOptions() else reading_from_options(data_options)


def _similar_pairs(pairs: Sequence[Pair], references: Side) -> dict[str, str]:
    """Return {prediction: reference} of the pairs whose names are only similar."""
    return {str(pair.prediction): str(pair.reference) for pair in pairs if pair.case in references.similar}


def _refuse_exchanged(prediction: Path, reference: Path) -> None:
    """Refuse answers of `medseg predict` as references to files that are none.

    nnU-Net's command takes references first. Overlaps would be the same, signed errors, precision and recall those of
    the other side, and the scores would be written beside the references. `--output` says that it is meant, and where
    the scores belong.

    Raises:
        DataError: only the second folder has a ledger of `predict`.
    """
    if (_folder_of(reference) / LEDGER_NAME).is_file() and not (_folder_of(prediction) / LEDGER_NAME).is_file():
        first, second = shlex.quote(str(reference)), shlex.quote(str(prediction))
        raise DataError(
            f"{reference} holds answers of medseg predict, and {prediction} does not: the two seem to be exchanged.",
            f"Expected the answers first, then the references: `medseg evaluate {first} {second}`. If they are meant "
            "as they stand, say where the scores belong: --output FOLDER",
        )


def _refuse_same(prediction: Path, others: Sequence[Path]) -> None:
    """Refuse to compare predictions with themselves: every difference would be 0, as if two models agreed.

    Raises:
        DataError: one of the other paths leads to the same file or folder.
    """
    if any(other.exists() and prediction.samefile(other) for other in others):
        raise DataError(
            f"{prediction} would be compared with itself.",
            "Expected other predictions of the same cases: --compare OTHER",
        )


def _refuse_itself(prediction: Path, reference: Path) -> None:
    """Refuse to score a file against itself, as where one folder is given twice: every score would be perfect.

    Raises:
        DataError: both paths lead to one file.
    """
    if prediction.exists() and reference.exists() and prediction.samefile(reference):
        raise DataError(
            f"{prediction} and {reference} are one file: it would be scored against itself.",
            "Expected the predictions first, then the references that were drawn.",
        )


def _with_table(cases: list[Case], path: Path) -> list[Case]:
    """Return the cases with patient, annotated structures and attributes from a table; rows of other cases are unused.

    Raises:
        DataError: as `rows_by_case`.
    """
    of_cases = rows_by_case(path, [case.id for case in cases], "label files")
    rows = {
        id: parse_row({**row, "id": id, "channels": "-"}, path, line, Path()) for id, (line, row) in of_cases.items()
    }
    return [_with_row(case, rows[case.id]) if case.id in rows else case for case in cases]


def _with_row(case: Case, row: Case) -> Case:
    return replace(
        case,
        patient=row.patient if row.patient != case.id else case.patient,  # a row without one repeats the id
        annotated=row.annotated or case.annotated,
        attributes={**case.attributes, **row.attributes},
    )


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
    try:
        return Scoring.model_validate({**base.model_dump(), **options.scoring_keys})
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
