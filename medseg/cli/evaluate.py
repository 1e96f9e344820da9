"""`medseg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import show_next
from medseg.cli.output.records import emit, record_result
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.core.machine.starting import starting
from medseg.core.options import Option

if TYPE_CHECKING:
    from medseg.evaluation.result import Evaluation


def command(
    *,
    prediction: Annotated[Path, Option(metavar="OUT")],
    reference: Path,
    options: EvaluateOptions,
) -> None:
    """Score answers against reference labels: overlap, surfaces, volumes, with intervals, as a page and tables.

    Exit code: 0 all well, 1 some cases failed or could not be compared, 2 nothing could be scored, 3 below a threshold.

    Args:
        prediction: Folder of answers, or one label file.
        reference: Folder of reference labels, or one file.
        options: What to measure, and of which cases.

    Examples:
        medseg evaluate out/ labels/
        medseg evaluate out/ dataset/ --tolerance liver=3 --cases patients.csv --by site
        medseg evaluate new/ labels/ --compare old/ --compare older/ --output scores/
        medseg evaluate out/ labels/ --fail-below Dice=0.8 --fail-below tumour:recall=0.7
    """
    with starting():
        from medseg.commands.evaluate.evaluate import evaluate
        from medseg.commands.evaluate.thresholds import below

    with progress_display() as show:
        result = evaluate(prediction, reference, options=options, callback=show)
    _show(result)
    if not result.summary.cases:
        raise typer.Exit(2)
    misses = below(result.summary, options.fail_below)
    record_result(below_threshold=misses)
    for sentence in misses:
        console.print("below the threshold", style="bold red", end=": ")
        console.print(sentence, markup=False)
    lacking = any(compared.not_compared for compared in result.compared) and not options.allow_missing
    some_failed = result.failed or lacking or any(compared.summary.failed for compared in result.compared)
    raise typer.Exit(3 if misses else 1 if some_failed else 0)


def _show(result: Evaluation) -> None:
    """Print the scores as tables, what was left out, and the files; and write them as records."""
    from medseg.cli.output.tables import (
        comparison_table,
        headline_table,
        pooled_table,
        scores_record,
        scores_table,
        subgroup_table,
        unpaired_lines,
    )

    for case in result.summary.cases:
        emit("case", case=case.case, state="done", structures=case.figures)
    record_result(files=result.files, **scores_record(result.summary))
    console.print(scores_table(result.summary))
    console.print(pooled_table(result.summary))
    console.print(headline_table(result.summary))
    for attribute, groups in result.subgroups.items():
        console.print(subgroup_table(attribute, groups))
    for compared in result.compared:
        others = f"--compare {compared.path}" if len(result.compared) > 1 else "--compare"
        console.print(f"differences: these answers minus those of {others}", markup=False, soft_wrap=True)
        console.print(comparison_table(compared.differences))
    console.print(f"structures: {result.labels_from}", markup=False)
    show_notes(result.notes)
    for prediction, reference in result.similar.items():
        console.print(f"paired by similar names: {prediction} with {reference}", markup=False, soft_wrap=True)
    for line in unpaired_lines(result.summary):
        console.print(line, markup=False)
    for path in result.files:
        replaced = " (replaces earlier scores)" if path in result.replaced else ""
        console.print(f"  {path}{replaced}", markup=False, soft_wrap=True)
    report_failures(result.summary.failed)
    for compared in result.compared:
        outcome = "without a score of the others, not compared"
        outcome += f" with {compared.path}" if len(result.compared) > 1 else ""
        report_failures(compared.not_compared, outcome=outcome, state="not compared")
    worst = min(result.summary.cases, key=lambda case: 1.0 if case.dice_mean is None else case.dice_mean, default=None)
    if worst is not None and worst.case in result.scans:
        show_next("view", result.scans[worst.case], worst.prediction, "--reference", worst.reference)
