"""`medseg evaluate`: answers against references, on the grids of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from medseg.commands.evaluate.options import EvaluateOptions
from medseg.commands.evaluate.pair_names import name_segments
from medseg.commands.evaluate.pairing import Side, find_sides
from medseg.core.case import Case, parse_row, read_rows
from medseg.core.errors import DataError, MedsegError
from medseg.core.labels import Labels
from medseg.core.parallel import map_cases
from medseg.core.progress import Callback, silent, track
from medseg.datasets.data_options import DataOptions
from medseg.datasets.label_options import read_reading
from medseg.delivery.answers.labels_file import Answers, read_labels_file
from medseg.delivery.pages.score_files import write_results
from medseg.delivery.provenance.entries import Clock, write_evaluation_manifest
from medseg.evaluation.comparison import compare_summaries, subgroups
from medseg.evaluation.extra_measures import check_registered
from medseg.evaluation.label_files import Pair, summarize_pairs
from medseg.evaluation.result import Evaluation, Subgroups
from medseg.evaluation.summary import Summary, Unscored
from medseg.io.layouts.dataset import assign_patients
from medseg.io.layouts.find import infer_labels
from medseg.plans.sections import Reading, Scoring


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
        labels: the structures; else what `labels.json` beside the predictions says, else the data set's
            declaration, else every value that occurs is a structure.

    Raises:
        DataError: nothing can be paired, or no structure is known. A single bad case does not raise.
    """
    options, clock = options or EvaluateOptions(), Clock()
    prediction, reference = Path(prediction), Path(reference)
    sides = find_sides(prediction, reference)
    pairs, said = _pairs(*sides, prediction, options)
    declared = labels or (said.labels if said is not None else sides[1].labels)
    pairs, named = name_segments(pairs, declared, options.segments, options.overlaps)
    if declared is None and named is not None:
        labels, labels_from = named, "the names in the RTSTRUCT and SEG files"
    else:
        labels, labels_from = _settle_labels(labels, said, sides[1], pairs, callback)
    scoring = _scoring(said, options)
    _check_names(labels, pairs, sides[1], options)
    others = find_sides(Path(options.compare), reference) if options.compare else None  # before hours of scoring
    found = Evaluation(_score(pairs, sides, labels, scoring, options, callback), labels, labels_from)
    if others is not None and options.compare is not None:
        more, _ = _pairs(*others, Path(options.compare), options)
        more, _ = name_segments(more, labels, options.segments, options.overlaps)
        other = _score(more, others, labels, scoring, replace(options, allow_missing=True), callback)
        found = replace(found, other=other, comparison=compare_summaries(found.summary, other))
    found = replace(found, subgroups=_subgroups(found.summary, options.by))
    folder = prediction if prediction.is_dir() else prediction.parent
    scans = [(pair, sides[1].scans.get(pair.case)) for pair in pairs]
    folder = options.output or folder
    files = write_results(folder, found, scans, _facts(found, pairs))
    write_evaluation_manifest(folder, clock, options, (prediction, reference), pairs, found.failed, files)
    return replace(found, files=files)


def _pairs(
    predictions: Side, references: Side, prediction: Path, options: EvaluateOptions
) -> tuple[list[Pair], Answers | None]:
    """The pairs of files with what is known of their cases, and what stands beside the predictions."""
    said = read_labels_file(prediction if prediction.is_dir() else prediction.parent)
    reading = options.reading or _reading(options) or (said.reading if said else None)
    ids = sorted(predictions.files.keys() & references.files.keys())
    cases = [references.cases.get(id, Case(id, id, ())) for id in ids]
    if options.patient_pattern is not None:
        cases = assign_patients(cases, options.patient_pattern)
    if options.table is not None:
        cases = _with_facts(cases, Path(options.table))
    cases = [replace(c, annotated=tuple(options.annotated[c.id])) if c.id in options.annotated else c for c in cases]
    absent = [name for name in options.by if not any(name in case.attributes for case in cases)]
    if absent:
        there = sorted({name for case in cases for name in case.attributes})
        raise DataError(
            f"No case has the attribute {absent[0]!r}; there are {', '.join(there) or 'none'}.",
            "Give a table of the cases with such a column: --cases table.csv",
        )
    how = {} if reading is None else {"reading": reading}
    return [Pair(c, references.files[c.id], predictions.files[c.id], **how) for c in cases], said


def _reading(options: EvaluateOptions) -> Reading | None:
    """Return how the options say that references are read; None if they say nothing."""
    given = DataOptions(threshold=options.threshold, map=options.map, resample_labels=options.resample_labels)
    return None if given == DataOptions() else read_reading(given)


def _with_facts(cases: list[Case], path: Path) -> list[Case]:
    """Cases with what a table says of them."""
    rows = {}
    for line, row in enumerate(read_rows(path), start=2):
        id = row.get("id") or row.pop("case", "")
        if id in rows:
            raise DataError(f"{path}, line {line}: case {id!r} has a row already.", "Keep one row for each case.")
        rows[id] = parse_row({**row, "id": id, "channels": "-"}, path, line, Path())
    if not rows.keys() & {case.id for case in cases}:
        raise DataError(
            f"{path} names none of the cases: it has {', '.join(sorted(rows)[:3])}, ...; "
            f"the cases are {', '.join(case.id for case in cases[:3])}, ...",
            "Its column id (or case) has to hold the names of the label files without suffix.",
        )
    return [
        replace(
            case,
            patient=rows[case.id].patient if rows[case.id].patient != case.id else case.patient,
            annotated=rows[case.id].annotated or case.annotated,
            attributes={**case.attributes, **rows[case.id].attributes},
        )
        if case.id in rows
        else case
        for case in cases
    ]


def _score(
    pairs: list[Pair],
    sides: tuple[Side, Side],
    labels: Labels,
    scoring: Scoring,
    options: EvaluateOptions,
    callback: Callback,
) -> Summary:
    """Score the pairs, and name what has no score."""
    predictions, references = sides
    known = references.files.keys() | references.failed.keys()
    failed = references.failed | {case: why for case, why in predictions.failed.items() if case in known}
    missing = sorted(references.files.keys() - predictions.files.keys() - failed.keys())
    if not options.allow_missing:
        failed |= dict.fromkeys(missing, "there is no prediction of this name")
    unscored = Unscored(
        failed,
        without_prediction=missing if options.allow_missing else (),
        without_reference=sorted(predictions.files.keys() - known),
    )
    return summarize_pairs(pairs, labels, scoring, unscored, callback)


def _scoring(said: Answers | None, options: EvaluateOptions) -> Scoring:
    base = said.scoring if said else Scoring()
    check_registered(options.scoring_keys.get("extra_measures", ()))
    try:
        return Scoring.model_validate({**base.model_dump(), **options.scoring_keys})
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"scoring.{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _check_names(labels: Labels, pairs: Sequence[Pair], references: Side, options: EvaluateOptions) -> None:
    """Refuse what was asked about structures that there are not: a slip would change scores unseen.

    What a data set itself says of its cases may name structures that a model was not trained on.
    """
    named = dict.fromkeys(options.scoring_keys.get("nsd_tolerance_mm", {}), "a tolerance is given for")
    given = [pair for pair in pairs if pair.about.annotated != references.cases.get(pair.case, pair.about).annotated]
    for pair in given if references.cases else pairs:
        named |= dict.fromkeys(pair.about.annotated or (), f"case {pair.case} is said to be annotated for")
    for name in sorted(named.keys() - set(labels.names)):
        raise DataError(f"There is no structure {name!r}, which {named[name]}; there are {', '.join(labels.names)}.")


def _settle_labels(
    labels: Labels | None, said: Answers | None, references: Side, pairs: Sequence[Pair], callback: Callback
) -> tuple[Labels, str]:
    """The structures, and where they come from."""
    if labels is not None:
        return labels, "as given"
    if said is not None:
        return said.labels, "labels.json beside the predictions"
    if references.labels is not None:
        return references.labels, "the data set of the references"
    values: set[int] = set()
    errors: list[MedsegError] = []
    for _, found in track(map_cases(_values, pairs), "look for structures", len(pairs), callback):
        if isinstance(found, MedsegError):
            errors.append(found)  # it is named when the case is scored
        else:
            values |= found
    if len(errors) == len(pairs):
        raise errors[0]
    return infer_labels(values), "every value that occurs"


def _values(pair: Pair) -> set[int]:
    found = (np.unique(image.array) for image in pair.read())
    return {int(value) for values in found for value in values}


def _subgroups(summary: Summary, by: Sequence[str]) -> Subgroups:
    return {attribute: subgroups(summary.cases, attribute, [*summary.structures]) for attribute in by}


def _facts(found: Evaluation, pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """What the page says of how was scored."""
    return [
        ("predictions", ", ".join(sorted({str(pair.prediction.parent) for pair in pairs}))),
        ("references", ", ".join(sorted({str(pair.reference.parent) for pair in pairs}))),
        ("structures", f"{', '.join(found.labels.names)} ({found.labels_from})"),
    ]
