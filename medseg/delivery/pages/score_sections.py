"""Sections of a page that show scores: per structure, overall, confusion, cases, comparison, subgroups, failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.delivery.pages.blocks import Block, Chart, Notes, Picture, Table
from medseg.delivery.pages.charts import Axis, Spread, spread_chart
from medseg.delivery.pages.figures import NOTHING, digits_for, figure, interval, with_interval
from medseg.delivery.pages.page import Section
from medseg.evaluation.pooled import ALL_CLASSES
from medseg.evaluation.result import Compared
from medseg.evaluation.score import MEASURES, Measure
from medseg.evaluation.statistics import METHOD, Distribution
from medseg.evaluation.summary import CaseScore, Overall, StructureSummary, Summary
from medseg.evaluation.tables import value_names

_SHOWN = ("dice", "iou", "hd95", "nsd", "lesion_f1", "panoptic_quality", "volume_error")
_PLOTTED = ("dice", "hd95", "nsd", "lesion_f1", "panoptic_quality")
_MOST_CONFUSED = 24
_MOST_PLOTTED = 40
_MOST_NAMED = 40
"""Structures in the confusion table and in a chart, and cases in a list, so that each can still be read."""


def headline(summary: Summary) -> list[tuple[str, str]]:
    """Return the few figures that matter most, as (figure, what it is)."""
    figures = [
        (figure(summary.dice_mean), "mean Dice"),
        (figure(summary.overall["iou"].mean), "mean IoU"),
        (figure(summary.miou), "mIoU, voxels pooled"),
    ]
    if (hd95 := summary.overall.get("hd95")) and hd95.mean is not None:
        figures.append((figure(hd95.mean, 2), f"mean HD95 ({_unit(MEASURES['hd95'], summary)})"))
    cases = len(summary.cases)
    figures += [(str(cases), "case scored" if cases == 1 else "cases scored"), (str(len(summary.failed)), "failed")]
    return figures


def scores_section(summary: Summary) -> Section:
    """Return a section with means and intervals, and the distribution of each case's scores."""
    charts = [_distribution(summary, measure) for measure in _PLOTTED if measure in summary.measures]
    return Section("scores", "Scores per structure", [_overview(summary), *charts])


def details_section(summary: Summary) -> Section:
    """Return a section with every measure, scores over the voxels of all cases, and the rules of scoring."""
    definitions = [f"{MEASURES[name].title}: {MEASURES[name].definition}." for name in summary.measures]
    rules = [summary.policy.describe(), METHOD, f"mIoU: {summary.pooled.miou_definition}", *_accuracy_rule(summary)]
    rules += summary.rules
    numbered = [[str(number), text] for number, text in enumerate([*rules, *definitions], 1)]
    rules_table = Table("Rules and definitions", ["", ""], numbered, words=[1], folded=True)
    blocks: list[Block] = [_pooled(summary), *_every_measure(summary), _counts(summary), rules_table]
    return Section("measures", "Every measure", blocks)


def _pooled(summary: Summary) -> Table:
    """Return a table of the classes, the background's too, over the voxels of all cases together."""
    pooled = summary.pooled
    rows = [
        [name, figure(overlap.iou), figure(overlap.recall), str(overlap.n_reference)]
        for name, overlap in pooled.classes.items()
    ]
    foot = [ALL_CLASSES, figure(pooled.miou), figure(pooled.pixel_accuracy), str(int(summary.confusion.sum()))]
    warning = f"; pixel accuracy: {pooled.accuracy_warning}" * (pooled.pixel_accuracy is not None)
    cases = counted(summary.miou_cases, "case")
    caption = f"IoU of each class over the voxels of {cases} annotated in full together, and their mean{warning}"
    recall = "voxels found (all classes: pixel accuracy)"
    return Table(caption, ["class", "IoU, pooled", recall, "voxels in the reference"], rows, foot=foot)


def _accuracy_rule(summary: Summary) -> list[str]:
    return [f"Pixel accuracy: {summary.pooled.accuracy_warning}"] * (summary.pooled.pixel_accuracy is not None)


def confusion_section(summary: Summary, labels: Labels) -> Section:
    """Return a section on which structure's voxels were taken for which, as shares of the reference's voxels."""
    names = value_names(labels)
    counts = summary.confusion
    shown = [i for i in range(len(names)) if counts[i].sum() or counts[:, i].sum()]
    if len(shown) > _MOST_CONFUSED:  # the background and the structures that are confused most
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        shown = sorted([0, *sorted(shown[1:], key=lambda i: -int(errors[i]))[: _MOST_CONFUSED - 1]])
    shares = [[float(counts[i, j]) / max(int(counts[i].sum()), 1) for j in shown] for i in shown]
    rows = [[names[i], *[f"{share:.3f}" for share in row]] for i, row in zip(shown, shares, strict=True)]
    caption = (
        "Share of the reference's voxels (row) that were predicted as each value (column), over the "
        f"{counted(summary.miou_cases, 'case')} annotated in full"
    )
    table = Table(caption, ["reference", *[names[i] for i in shown]], rows, shade=shares)
    return Section("confusion", "Confusion between structures", [table] if len(shown) > 1 else [])


def cases_section(pictures: Sequence[Picture], summary: Summary, links: Mapping[str, str]) -> Section:
    """Return a section with pictures of some cases, and every case in a table.

    Args:
        pictures: Of some cases.
        summary: The scores.
        links: {case: page where it can be looked at, relative to this one}.
    """
    structures, cases = [*summary.structures], summary.worst_first
    rows = [[case.case, figure(case.dice_mean), *[_dice(case, name) for name in structures]] for case in cases]
    of_rows = {number: links[case.case] for number, case in enumerate(cases) if case.case in links}
    caption = "Dice of every case, worst first" + "; a name leads to the case in the viewer" * bool(of_rows)
    head = ["case", "mean", *structures]
    return Section("cases", "Cases", [*pictures, Table(caption, head, rows, folded=len(rows) > 12, links=of_rows)])


def failures_section(summary: Summary) -> Section:
    """Return a section that names what has no score, and why."""
    blocks: list[Block] = [Notes([f"{case}: {why}" for case, why in summary.failed.items()], "error")]
    for ids, what in (
        (summary.without_prediction, "without a prediction; allowed, and counted here"),
        (summary.without_reference, "without a reference; not scored"),
    ):
        blocks.append(Notes([f"{len(ids)} {what}: {_first_ids(ids)}"] if ids else [], "warning"))
    return Section("failures", "Failures and what was left out", blocks)


def comparison_section(others: Sequence[Compared]) -> Section:
    """Return a section with the paired differences from other predictions.

    Args:
        others: The other predictions; where there are several, each table names its own.
    """
    blocks: list[Block] = []
    for compared in others:
        named = f" in {compared.path}" if len(others) > 1 else ""
        absent = [f"{case} is not compared: {why}{named}" for case, why in compared.not_compared.items()]
        blocks += [Notes(absent, "warning"), _differences(compared, named)]
    return Section("comparison", "Comparison", blocks)


def _differences(others: Compared, named: str) -> Table:
    """Return the table of the differences; `named` says from which predictions, where it is not clear."""
    rows = [
        [
            name,
            MEASURES[measure].title,
            str(compared.difference.n),
            figure(compared.difference.mean, 4, sign=True),
            interval(compared.difference.low, compared.difference.high, 4),
            _p_value(compared.p),
            _p_value(compared.p_holm),
        ]
        for name, measures in others.differences.items()
        for measure, compared in measures.items()
    ]
    caption = (
        f"these predictions minus the others{named}, over the cases that both have; p: Wilcoxon signed-rank over "
        "patients, Holm-corrected over the structures of each measure"
    )
    caption += ", not over the folders" if named else ""
    head = ["structure", "measure", "cases", "mean difference", "95 % interval", "p", "p (Holm)"]
    return Table(caption, head, rows, words=[1])


def subgroup_section(attribute: str, groups: Mapping[str, Mapping[str, StructureSummary]]) -> Section:
    """Return a section with the scores of each subgroup.

    Args:
        attribute: The attribute of cases that makes the subgroups.
        groups: {value of the attribute: {structure: its scores}}.
    """
    shown = [(value, name, scores) for value, structures in groups.items() for name, scores in structures.items()]
    columns = [_column([scores.figures.get(measure) for _, _, scores in shown]) for measure in ("dice", "hd95")]
    rows = [
        [value, name, str(scores.figures["dice"].n), *(column[number] for column in columns)]
        for number, (value, name, scores) in enumerate(shown)
    ]
    head = [attribute, "structure", "cases", "Dice, mean [95 %]", "HD95, mean [95 %]"]
    return Section(
        "by-" + re.sub(r"\W+", "-", attribute), f"By {attribute}", [Table(f"By {attribute}", head, rows, words=[1])]
    )


def _column(distributions: Sequence[Distribution | Overall | None]) -> list[str]:
    """Return the cells of a column of means with their intervals, all with as many digits."""
    bounds = [(None, None, None) if d is None else (d.mean, d.low, d.high) for d in distributions]
    digits = digits_for(value for of_row in bounds for value in of_row)
    return [with_interval(*of_row, digits) for of_row in bounds]


def _p_value(p: float | None) -> str:
    """Return a p value as text."""
    return NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _unit(measure: Measure, summary: Summary) -> str:
    """Return the unit of a measure, which is pixels where the spacing of a case is not known; empty without a unit."""
    if not measure.unit or all(case.spacing_known for case in summary.cases):
        return measure.unit
    return "pixels"


def _first_ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more, which metrics.json names" * (len(ids) > _MOST_NAMED)
    return ", ".join(ids[:_MOST_NAMED]) + more


def _title(name: str, summary: Summary) -> str:
    unit = _unit(MEASURES[name], summary)
    return f"{MEASURES[name].title} ({unit})" if unit else MEASURES[name].title


def _overview(summary: Summary) -> Table:
    shown = [name for name in _SHOWN if name in summary.measures]
    shown += [name for name in summary.measures if not MEASURES[name].source]  # registered, and asked for by name
    structures = [*summary.structures.values()]
    columns = [
        _column([*(scores.figures.get(measure) for scores in structures), summary.overall[measure]])
        for measure in shown
    ]
    rows = [
        [name, str(scores.figures["dice"].n), *(column[number] for column in columns)]
        for number, (name, scores) in enumerate(summary.structures.items())
    ]
    foot = ["mean over structures", str(len(summary.cases)), *(column[-1] for column in columns)]
    head = ["structure", "cases", *[_title(measure, summary) for measure in shown]]
    return Table("Mean over cases, with its 95 % interval", head, rows, foot=foot if len(structures) > 1 else ())


def _every_measure(summary: Summary) -> list[Table]:
    """Return a folded table for each measure with all structures; one for each structure would be too many."""
    head = ["structure", "n", "mean", "95 % interval", "median", "IQR", "lowest", "highest"]
    tables = []
    for measure in summary.measures:
        of_measure = {
            name: structure.figures[measure]
            for name, structure in summary.structures.items()
            if measure in structure.figures
        }
        digits = digits_for(end for values in of_measure.values() for end in (values.minimum, values.maximum))
        rows = []
        for name, values in of_measure.items():
            quartiles = NOTHING
            if values.q1 is not None and values.q3 is not None:
                quartiles = f"{values.q1:.{digits}f} to {values.q3:.{digits}f}"
            bounds = interval(values.low, values.high, digits)
            middle = [figure(values.mean, digits), bounds, figure(values.median, digits), quartiles]
            ends = [figure(values.minimum, digits), figure(values.maximum, digits)]
            rows.append([name, str(values.n), *middle, *ends])
        tables.append(Table(f"{_title(measure, summary)}: distribution over cases", head, rows, folded=True))
    return tables


def _counts(summary: Summary) -> Table:
    head = ["structure", "cases annotated", "both empty", "only predicted", "only in the reference"]
    rows = []
    for name, scores in summary.structures.items():
        counts = (scores.n_annotated, scores.n_both_empty, scores.n_reference_empty, scores.n_prediction_empty)
        rows.append([name, *map(str, counts)])
    return Table("Cases where a structure is empty on one side or both", head, rows, folded=True)


def _distribution(summary: Summary, measure: str) -> Chart:
    spreads = {}
    for name, structure in [*summary.structures.items()][:_MOST_PLOTTED]:
        values = [case.figures[name].get(measure) for case in summary.cases if name in case.figures]
        mean = structure.figures.get(measure)
        if mean is not None:
            spreads[name] = Spread([value for value in values if value is not None], mean.mean, mean.low, mean.high)
    title = f"{MEASURES[measure].title} of each case"
    axis = Axis(_title(measure, summary), None, None if MEASURES[measure].unit else 1)
    more = len(summary.structures) - _MOST_PLOTTED
    caption = f"{title}: a dot for each case, the mean as a diamond, its 95 % interval as a bar" + (
        f"; the first {_MOST_PLOTTED} of {len(summary.structures)} structures" if more > 0 else ""
    )
    return Chart(caption, spread_chart(title, spreads, axis))


def _dice(case: CaseScore, name: str) -> str:
    if name not in case.figures:
        return "not annotated"
    return figure(case.figures[name]["dice"]) + {"reference": " (invented)", "prediction": " (missed)"}.get(
        case.structures[name].empty, ""
    )
