"""Scores as tables for the terminal, and as the records of --json hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from medseg.core.wording import counted
from medseg.evaluation.comparison import Comparisons
from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import Distribution
from medseg.evaluation.summary import StructureSummary, Summary

_MOST_NAMED = 12
_COUNTED = ("lesion_f1", "panoptic_quality")
_COMPARED = ("dice", "hd95", "nsd", "lesion_f1", "panoptic_quality")


def table(summary: Summary) -> Table:
    """One row per structure: cases, Dice with its interval, IoU, surface scores, volume error, empty sides if any."""
    known = all(case.spacing_known for case in summary.cases)
    columns = ["cases", "Dice", "95 % interval", "IoU"]
    columns += [f"HD95\n{'mm' if known else 'pixels'}"] * ("hd95" in summary.measures)
    columns += ["NSD"] * ("nsd" in summary.measures)
    columns += [f"volume error\n{'ml' if known else 'pixels'}"]
    both = any(one.n_both_empty for one in summary.structures.values())
    lone = any(one.n_reference_empty + one.n_prediction_empty for one in summary.structures.values())
    columns += ["both\nempty"] * both + ["one\nempty"] * lone
    drawn = _table("structure", columns)
    for name, one in summary.structures.items():
        cells = [str(one.n), _mean(one, "dice", 4), _interval(one.figures["dice"]), _mean(one, "iou", 4)]
        cells += [_mean(one, "hd95", 2)] * ("hd95" in summary.measures)
        cells += [_mean(one, "nsd", 3)] * ("nsd" in summary.measures)
        cells += [_mean(one, "volume_error", 2)]
        cells += [str(one.n_both_empty)] * both + [str(one.n_reference_empty + one.n_prediction_empty)] * lone
        drawn.add_row(Text(name), *cells)
    return drawn


def headline(summary: Summary) -> Table:
    """The overall figures with what each is a mean of, and how structures count that a case does not have."""
    cases = counted(len(summary.cases), "case")
    structures = counted(len(summary.structures), "structure")
    drawn = Table.grid(padding=(0, 2, 0, 0))
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True, justify="right")
    drawn.add_column()
    dice = summary.overall["dice"]
    bounds = "" if dice.low is None else f", 95 % interval {_figure(dice.low, 3)} to {_figure(dice.high, 3)}"
    mean_of = f"mean over {cases} per structure, then over {structures}{bounds}"
    drawn.add_row("mean Dice", _figure(dice.mean, 4), mean_of)
    drawn.add_row("mean IoU", _figure(summary.overall["iou"].mean, 4), "likewise")
    for measure in (measure for measure in _COUNTED if measure in summary.measures):
        drawn.add_row(f"mean {MEASURES[measure].title}", _figure(summary.overall[measure].mean, 4), "likewise")
    drawn.add_row("mIoU", _figure(summary.miou, 4), summary.miou_definition)
    drawn.add_row("empty", "", summary.policy.describe())
    return drawn


def comparison_table(comparison: Comparisons) -> Table:
    """Paired differences per structure of the measures that matter most; report.html has all."""
    drawn = _table("structure", ("measure", "cases", "mean\ndifference", "95 %\ninterval", "p\n(Holm)"))
    for name, measures in comparison.items():
        for measure in (measure for measure in _COMPARED if measure in measures):
            one = measures[measure]
            difference = "-" if one.difference.mean is None else f"{one.difference.mean:+.4f}"
            p = "-" if one.p_holm is None else "<0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
            title = MEASURES[measure].title
            drawn.add_row(Text(name), title, str(one.difference.n), difference, _interval(one.difference, " to "), p)
    return drawn


def subgroup_table(attribute: str, groups: Mapping[str, Mapping[str, StructureSummary]]) -> Table:
    """Dice of each structure in each subgroup."""
    drawn = _table(attribute, ("structure", "cases", "Dice\nmean", "95 %\ninterval", "Dice\nmedian"))
    for value, structures in groups.items():
        for name, one in structures.items():
            dice = one.figures["dice"]
            figures = (_figure(dice.mean, 4), _interval(dice), _figure(dice.median, 4))
            drawn.add_row(Text(value), Text(name), str(dice.n), *figures)
    return drawn


def left_out(summary: Summary) -> list[str]:
    """A line that names the references without a prediction that were allowed, and one for the reverse."""
    groups = {
        "without prediction, counted": summary.without_prediction,
        "without reference, not scored": summary.without_reference,
    }
    return [
        f"{len(cases)} {what}: {', '.join(cases[:_MOST_NAMED])}{', ...' * (len(cases) > _MOST_NAMED)}"
        for what, cases in groups.items()
        if cases
    ]


def _table(first: str, headings: Sequence[str]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column(first, overflow="fold")
    for heading in headings:
        drawn.add_column(heading, justify="right", no_wrap=True)
    return drawn


def _mean(structure: StructureSummary, measure: str, digits: int) -> str:
    return _figure(structure.figures[measure].mean, digits) if measure in structure.figures else "-"


def _interval(one: Distribution, between: str = "-") -> str:
    return "-" if one.low is None or one.high is None else f"{one.low:.3f}{between}{one.high:.3f}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def scores(summary: Summary | None) -> dict[str, Any]:
    """Means over cases of every measure, per structure and over all; nothing where nothing was scored."""
    if summary is None:
        return {}
    return {
        "cases": len(summary.cases),
        "overall": {name: one.mean for name, one in summary.overall.items()},
        "miou": summary.miou,
        "structures": {
            name: {measure: one.mean for measure, one in structure.figures.items()}
            for name, structure in summary.structures.items()
        },
    }
