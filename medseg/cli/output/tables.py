"""Scores as tables for the terminal, and as the records of --json hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from medseg.core.wording import counted
from medseg.evaluation.comparison import Comparisons
from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import Distribution
from medseg.evaluation.summary import StructureSummary, Summary

_MOST_NAMED = 12
_NO_FIGURE = "-"
_MOST_WORST = 5
_COUNTED = ("lesion_f1", "panoptic_quality")
_COMPARED = ("dice", "hd95", "nsd", "lesion_f1", "panoptic_quality")


def scores_table(summary: Summary) -> Table:
    """Return a table with a row per structure: cases, Dice with its interval, IoU, surface scores, volume error.

    Where structures are empty on one side or both, more columns count these cases. Where there are too few patients for
    intervals, they have no column: headings are short, so that names are whole on 80 columns.
    """
    known = all(case.spacing_known for case in summary.cases)
    intervals = [_interval(structure.figures["dice"]) for structure in summary.structures.values()]
    with_intervals = any(text != _NO_FIGURE for text in intervals)
    columns = ["cases", "Dice", *["95 %\ninterval"] * with_intervals, "IoU"]
    columns += [f"HD95\n{'mm' if known else 'pixels'}"] * ("hd95" in summary.measures)
    columns += ["NSD"] * ("nsd" in summary.measures)
    columns += [f"volume\nerror\n{'ml' if known else 'pixels'}"]
    counts = [_empty_counts(structure) for structure in summary.structures.values()]
    with_both, with_one = any(both for both, _ in counts), any(one_side for _, one_side in counts)
    columns += ["both\nempty"] * with_both + ["one\nempty"] * with_one
    table = _new_table("structure", columns)
    for (name, structure), interval in zip(summary.structures.items(), intervals, strict=True):
        both, one_side = _empty_counts(structure)
        cells = [str(structure.n), _mean(structure, "dice", 4), *[interval] * with_intervals]
        cells += [_mean(structure, "iou", 4)]
        cells += [_mean(structure, "hd95", 2)] * ("hd95" in summary.measures)
        cells += [_mean(structure, "nsd", 3)] * ("nsd" in summary.measures)
        cells += [_mean(structure, "volume_error", 2)]
        cells += [str(both)] * with_both + [str(one_side)] * with_one
        table.add_row(Text(name), *cells)
    return table


def _empty_counts(structure: StructureSummary) -> tuple[int, int]:
    """Return in how many cases a structure is empty on both sides, and on one side only."""
    return structure.n_both_empty, structure.n_reference_empty + structure.n_prediction_empty


def pooled_table(summary: Summary) -> Table:
    """Return a table with a row per class, the background's too: IoU and accuracy of the voxels of all cases together.

    The last column says how much of the reference a class is; a dash stands for a class that neither side has.
    """
    table = _new_table("class", ("pooled\nIoU", "voxels\nfound", "share of\nthe reference"))
    total = int(summary.confusion.sum())
    for name, overlap in summary.pooled.classes.items():
        share = overlap.n_reference / total if total else None
        table.add_row(Text(name), _figure(overlap.iou, 4), _figure(overlap.recall, 4), _figure(share, 4))
    return table


def headline_table(summary: Summary) -> Table:
    """Return the overall figures with what each is a mean of, and how empty structures count."""
    cases = counted(len(summary.cases), "case")
    structures = counted(len(summary.structures), "structure")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    dice = summary.overall["dice"]
    bounds = "" if dice.low is None else f", 95 % interval {_figure(dice.low, 3)} to {_figure(dice.high, 3)}"
    mean_of = f"mean over {cases} per structure, then over {structures}{bounds}"
    table.add_row("mean Dice", _figure(dice.mean, 4), mean_of)
    table.add_row("mean IoU", _figure(summary.overall["iou"].mean, 4), "likewise")
    for measure in (measure for measure in _COUNTED if measure in summary.measures):
        table.add_row(f"mean {MEASURES[measure].title}", _figure(summary.overall[measure].mean, 4), "likewise")
    table.add_row("mIoU", _figure(summary.miou, 4), summary.pooled.miou_definition)
    if summary.pooled.pixel_accuracy is not None:
        warning = Text(summary.pooled.accuracy_warning)  # it names a structure
        table.add_row("pixel accuracy", _figure(summary.pooled.pixel_accuracy, 4), warning)
    table.add_row("empty", "", summary.policy.describe())
    return table


def comparison_table(comparison: Comparisons) -> Table:
    """Return a table of paired differences per structure, of the measures that matter most; report.html has all."""
    table = _new_table("structure", ("measure", "cases", "mean\ndifference", "95 %\ninterval", "p\n(Holm)"))
    for name, measures in comparison.items():
        for measure in (measure for measure in _COMPARED if measure in measures):
            difference, p_holm = measures[measure].difference, measures[measure].p_holm
            mean = "-" if difference.mean is None else f"{difference.mean:+.4f}"
            p = "-" if p_holm is None else "<0.001" if p_holm < 0.001 else f"{p_holm:.3f}"
            title = MEASURES[measure].title
            table.add_row(Text(name), title, str(difference.n), mean, _interval(difference, " to "), p)
    return table


def subgroup_table(attribute: str, groups: Mapping[str, Mapping[str, StructureSummary]]) -> Table:
    """Return a table of the Dice of each structure in each subgroup.

    Args:
        attribute: The attribute of cases that makes the subgroups.
        groups: {value of the attribute: {structure: its scores}}.
    """
    table = _new_table(attribute, ("structure", "cases", "Dice\nmean", "95 %\ninterval", "Dice\nmedian"))
    for value, structures in groups.items():
        for name, structure in structures.items():
            dice = structure.figures["dice"]
            figures = (_figure(dice.mean, 4), _interval(dice), _figure(dice.median, 4))
            table.add_row(Text(value), Text(name), str(dice.n), *figures)
    return table


def dice_table(summary: Summary) -> Table:
    """Return a table of the Dice of each structure: mean with its interval, median, and quartiles."""
    table = _new_table("structure", ("cases", "Dice\nmean", "95 %\ninterval", "median", "quartiles", "lowest"))
    for name, structure in summary.structures.items():
        dice = structure.figures["dice"]
        quartiles = "-" if dice.q1 is None or dice.q3 is None else f"{dice.q1:.3f}-{dice.q3:.3f}"
        figures = (_figure(dice.mean, 4), _interval(dice), _figure(dice.median, 4), quartiles, _figure(dice.minimum, 3))
        table.add_row(Text(name), str(dice.n), *figures)
    return table


def folds_table(folds: Mapping[str, Mapping[str, StructureSummary]]) -> Table:
    """Return a table of the mean Dice of each fold.

    Args:
        folds: {fold: {structure: its scores}}.
    """
    table = _new_table("fold", ("cases", "mean\nDice"))
    for fold, structures in folds.items():
        means = [structure.dice_mean for structure in structures.values() if structure.dice_mean is not None]
        cases = max((structure.n_annotated for structure in structures.values()), default=0)
        table.add_row(Text(fold), str(cases), _figure(fmean(means) if means else None, 4))
    return table


def worst_cases_line(summary: Summary) -> str:
    """Return a line that names the cases with the lowest mean Dice."""
    worst = [case for case in summary.worst_first if case.dice_mean is not None][:_MOST_WORST]
    return "worst cases: " + ", ".join(f"{case.case} {case.dice_mean:.3f}" for case in worst)


def unpaired_lines(summary: Summary) -> list[str]:
    """Return a line that names the references without a prediction, and one for the reverse, where there are any."""
    groups = {
        "without prediction, counted": summary.without_prediction,
        "without reference, not scored": summary.without_reference,
    }
    return [
        f"{len(cases)} {what}: {', '.join(cases[:_MOST_NAMED])}{', ...' * (len(cases) > _MOST_NAMED)}"
        for what, cases in groups.items()
        if cases
    ]


def _new_table(first_heading: str, headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first_heading, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _mean(structure: StructureSummary, measure: str, digits: int) -> str:
    return _figure(structure.figures[measure].mean, digits) if measure in structure.figures else _NO_FIGURE


def _interval(distribution: Distribution, between: str = "-") -> str:
    low, high = distribution.low, distribution.high
    return _NO_FIGURE if low is None or high is None else f"{low:.3f}{between}{high:.3f}"


def _figure(value: float | None, digits: int) -> str:
    return _NO_FIGURE if value is None else f"{value:.{digits}f}"


def scores_record(summary: Summary | None) -> dict[str, Any]:
    """Return the means over cases of every measure, per structure and over all; nothing where nothing was scored."""
    if summary is None:
        return {}
    return {
        "cases": len(summary.cases),
        "overall": {name: distribution.mean for name, distribution in summary.overall.items()},
        "miou": summary.miou,
        "pixel_accuracy": summary.pooled.pixel_accuracy,
        "pooled_iou": {name: overlap.iou for name, overlap in summary.pooled.classes.items()},
        "structures": {
            name: {measure: figure.mean for measure, figure in structure.figures.items()}
            for name, structure in summary.structures.items()
        },
    }
