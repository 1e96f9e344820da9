"""`medseg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import data_options
from medseg.cli.display import console, progress_display, report_failures
from medseg.cli.records import emit, record_result
from medseg.core.errors import DataError

if TYPE_CHECKING:
    from medseg.evaluation.result import Evaluation
    from medseg.plans.sections import Reading

_WHAT, _WHO, _END = "What is measured", "Which cases", "Output and exit code"


def command(
    prediction: Annotated[Path, typer.Argument(help="Folder of answers, or one label file.", metavar="OUT")],
    reference: Annotated[Path, typer.Argument(help="Folder of reference labels, or one file.", metavar="REFERENCE")],
    tolerance: Annotated[
        list[str] | None,
        typer.Option(help="STRUCTURE=MM: tolerance of its surface Dice (NSD); repeatable.", rich_help_panel=_WHAT),
    ] = None,
    surface: Annotated[
        bool, typer.Option("--surface/--no-surface", help="Distances between surfaces.", rich_help_panel=_WHAT)
    ] = True,
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Also count lesions: detection F1, Dice.", rich_help_panel=_WHAT)
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Also the panoptic quality of instances.", rich_help_panel=_WHAT)
    ] = False,
    empty: Annotated[
        str | None,
        typer.Option(help="What an empty structure scores: default, brats or isles.", rich_help_panel=_WHAT),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another folder of answers to compare with.", rich_help_panel=_WHAT)
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(help="CSV of the cases: id, patient, annotated, site, sex, ...", rich_help_panel=_WHO),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column of the CSV to make subgroups of; repeatable.", rich_help_panel=_WHO)
    ] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a name.", rich_help_panel=_WHO)
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="References without a prediction are counted, not an error.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    threshold: data_options.Threshold = None,
    value_map: data_options.ValueMap = None,
    resample_labels: data_options.ResampleLabels = False,
    segments: data_options.Segments = None,
    overlaps: data_options.OverlapsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where report.html and the tables go; OUT unless given.", rich_help_panel=_END),
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(help="MEASURE=VALUE or STRUCTURE:MEASURE=VALUE; exit code 3 below it.", rich_help_panel=_END),
    ] = None,
) -> None:
    """Score answers against reference labels: overlap, surfaces, volumes, with intervals, as a page and tables.

    [bold]Examples[/]

    medseg evaluate out/ labels/

    medseg evaluate out/ dataset/ --tolerance liver=3 --cases patients.csv --by site

    medseg evaluate new/ labels/ --compare old/ --output scores/

    medseg evaluate out/ labels/ --fail-below Dice=0.8 --fail-below tumour:recall=0.7

    [bold]Exit code[/]: 0 all well, 1 some cases failed, 2 nothing could be scored, 3 below a threshold.
    """
    from medseg.commands.evaluate.evaluate import evaluate
    from medseg.commands.evaluate.options import EvaluateOptions
    from medseg.commands.evaluate.thresholds import below, parse_threshold

    scoring: dict[str, Any] = {"lesions": True} if lesions else {}
    scoring |= {"instances": True} if instances else {}
    scoring |= {} if surface else {"surface": None}
    scoring |= {} if empty is None else {"empty_policy": empty}
    if tolerance:
        scoring["nsd_tolerance_mm"] = dict(_tolerance(text) for text in tolerance)
    for text in fail_below or []:
        parse_threshold(text)  # before anything is computed
    options = EvaluateOptions(
        output=output,
        allow_missing=allow_missing,
        scoring=scoring,
        table=cases,
        patient_pattern=patient_pattern,
        by=by or [],
        compare=compare,
        reading=_reading(threshold, value_map, resample_labels),
        segments=segments or [],
        overlaps=overlaps,
    )
    with progress_display() as show:
        result = evaluate(prediction, reference, options=options, callback=show)
    _show(result)
    if not result.summary.cases:
        raise typer.Exit(2)
    short = below(result.summary, fail_below or [])
    record_result(below_threshold=short)
    for sentence in short:
        console.print(f"[bold red]below the threshold[/]: {sentence}")
    bad = result.failed or (result.other is not None and result.other.failed)
    raise typer.Exit(3 if short else 1 if bad else 0)


def _show(result: Evaluation) -> None:
    """Tables, what was left out, and the files."""
    from medseg.cli.scores import scores
    from medseg.cli.tables import comparison_table, headline, left_out, subgroup_table, table

    for case in result.summary.cases:
        emit("case", case=case.case, state="done", structures=case.figures)
    record_result(files=result.files, **scores(result.summary))
    console.print(table(result.summary))
    console.print(headline(result.summary))
    for attribute, groups in result.subgroups.items():
        console.print(subgroup_table(attribute, groups))
    if result.comparison:
        console.print(comparison_table(result.comparison))
    console.print(f"structures: {result.labels_from}", markup=False)
    for line in left_out(result.summary):
        console.print(line, markup=False)
    for path in result.files:
        console.print(f"  {path}", markup=False, soft_wrap=True)
    report_failures(result.summary.failed)
    report_failures(result.not_compared, became="without a score of the others, not compared", state="not compared")


def _reading(threshold: float | None, value_map: list[str] | None, resample_labels: bool) -> Reading | None:
    """How the references are read, if anything is said about it."""
    from medseg.datasets.data_options import DataOptions
    from medseg.datasets.label_options import read_reading

    said = DataOptions(threshold=threshold, map=value_map or [], resample_labels=resample_labels)
    return read_reading(said) if said.asked() else None


def _tolerance(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name.strip() or _refuse(text), float(value)
    except ValueError:
        return _refuse(text), 0.0


def _refuse(text: str) -> str:
    raise DataError(f"{text!r} is no tolerance.", "Write the structure and millimetres: --tolerance liver=3")
