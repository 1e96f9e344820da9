"""Sections of a page that show scores: per structure, overall, confusion, cases, comparison, subgroups, failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medseg.core.labels import Labels
from medseg.core.wording import counted
from medseg.delivery.pages.charts import Axis, Spread, spread_chart
from medseg.delivery.pages.page import Block, Chart, Notes, Picture, Section, Table
from medseg.evaluation.comparison import Comparisons
from medseg.evaluation.score import MEASURES, Measure
from medseg.evaluation.statistics import METHOD, Distribution
from medseg.evaluation.summary import CaseScore, StructureSummary, Summary
from medseg.evaluation.tables import value_names

_SHOWN = ("dice", "iou", "hd95", "nsd", "lesion_f1", "panoptic_quality", "volume_error")
_PLOTTED = ("dice", "hd95", "nsd", "lesion_f1", "panoptic_quality")
_MOST_CONFUSED = 24
_MOST_PLOTTED = 40
_MOST_NAMED = 40


def headline(summary: Summary) -> list[tuple[str, str]]:
    """The few figures that matter most."""
    found = [
        (figure(summary.dice_mean), "mean Dice"),
        (figure(summary.overall["iou"].mean), "mean IoU"),
        (figure(summary.miou), "mIoU, voxels pooled"),
    ]
    if (hd95 := summary.overall.get("hd95")) and hd95.mean is not None:
        found.append((figure(hd95.mean, 2), f"mean HD95 ({unit(MEASURES['hd95'], summary)})"))
    cases = len(summary.cases)
    found += [(str(cases), "case scored" if cases == 1 else "cases scored"), (str(len(summary.failed)), "failed")]
    return found


def scores_section(summary: Summary) -> Section:
    """Mean and interval per structure, distributions, every measure, and the rules behind them."""
    charts = [_distribution(summary, measure) for measure in _PLOTTED if measure in summary.measures]
    blocks: list[Block] = [_overview(summary), *charts, *_every_measure(summary), _counts(summary)]
    definitions = [f"{MEASURES[name].title}: {MEASURES[name].definition}." for name in summary.measures]
    rules = [summary.policy.describe(), METHOD, f"mIoU: {summary.miou_definition}", *summary.rules]
    said = Table(
        "Rules and definitions", ["", ""], [[str(n), text] for n, text in enumerate([*rules, *definitions], 1)]
    )
    return Section("scores", "Scores per structure", [*blocks, _as_words(said)])


def confusion_section(summary: Summary, labels: Labels) -> Section:
    """Which structure's voxels were taken for which, as shares of the reference's voxels."""
    names = value_names(labels)
    counts = summary.confusion
    kept = [i for i in range(len(names)) if counts[i].sum() or counts[:, i].sum()]
    if len(kept) > _MOST_CONFUSED:  # the background and the structures that are confused most
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        kept = sorted([0, *sorted(kept[1:], key=lambda i: -int(errors[i]))[: _MOST_CONFUSED - 1]])
    shares = [[float(counts[i, j]) / max(int(counts[i].sum()), 1) for j in kept] for i in kept]
    rows = [[names[i], *[f"{share:.3f}" for share in row]] for i, row in zip(kept, shares, strict=True)]
    caption = (
        "Share of the reference's voxels (row) that were predicted as each value (column), over the "
        f"{counted(summary.miou_cases, 'case')} annotated in full"
    )
    table = Table(caption, ["reference", *[names[i] for i in kept]], rows, shade=shares)
    return Section("confusion", "Confusion between structures", [table] if len(kept) > 1 else [])


def cases_section(pictures: Sequence[tuple[str, str, bytes]], summary: Summary) -> Section:
    """Worst, median and best case as pictures (caption, description, PNG), and every case in a table."""
    drawn = [Picture(caption, alt, png) for caption, alt, png in pictures]
    structures = [*summary.structures]
    rows = [
        [case.case, figure(case.dice_mean), *[_dice(case, name) for name in structures]] for case in ranked(summary)
    ]
    table = Table("Dice of every case, worst first", ["case", "mean", *structures], rows, folded=len(rows) > 12)
    return Section("cases", "Cases", [*drawn, table])


def failures_section(summary: Summary) -> Section:
    """What has no score, by name."""
    blocks: list[Block] = [Notes([f"{case}: {why}" for case, why in summary.failed.items()], "error")]
    for ids, what in (
        (summary.without_prediction, "without a prediction; allowed, and counted here"),
        (summary.without_reference, "without a reference; not scored"),
    ):
        blocks.append(Notes([f"{len(ids)} {what}: {_named(ids)}"] if ids else [], "warning"))
    return Section("failures", "Failures and what was left out", blocks)


def comparison_section(
    comparison: Comparisons, names: tuple[str, str], not_compared: Mapping[str, str] | None = None
) -> Section:
    """Paired differences of two predictions; `not_compared` says why a case has no score of the second."""
    rows = [
        [
            name,
            MEASURES[measure].title,
            str(one.difference.n),
            figure(one.difference.mean, 4, sign=True),
            interval(one.difference, 4),
            p_value(one.p),
            p_value(one.p_holm),
        ]
        for name, measures in comparison.items()
        for measure, one in measures.items()
    ]
    caption = (
        f"{names[0]} minus {names[1]}, over the cases that both have; p: Wilcoxon signed-rank over patients, "
        "Holm-corrected over the structures of each measure"
    )
    head = ["structure", "measure", "cases", "mean difference", "95 % interval", "p", "p (Holm)"]
    absent = [f"{case} is not compared: {why}" for case, why in (not_compared or {}).items()]
    return Section("comparison", "Comparison", [Notes(absent, "warning"), Table(caption, head, rows, words=[1])])


def subgroup_section(attribute: str, groups: Mapping[str, Mapping[str, StructureSummary]]) -> Section:
    """Scores by the value of an attribute."""
    rows = [
        [value, name, str(one.figures["dice"].n), *[_mean_interval(one.figures.get(m)) for m in ("dice", "hd95")]]
        for value, structures in groups.items()
        for name, one in structures.items()
    ]
    head = [attribute, "structure", "cases", "Dice, mean [95 %]", "HD95, mean [95 %]"]
    return Section(
        "by-" + re.sub(r"\W+", "-", attribute), f"By {attribute}", [Table(f"By {attribute}", head, rows, words=[1])]
    )


def ranked(summary: Summary) -> list[CaseScore]:
    """Cases from the lowest mean Dice to the highest; those without any last."""
    return sorted(summary.cases, key=lambda case: (case.dice_mean is None, case.dice_mean or 0.0, case.case))


def figure(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A figure as text; a dash where it is not defined."""
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def interval(one: Distribution, digits: int = 3) -> str:
    """Its bounds as text; a dash where there are none."""
    return "–" if one.low is None or one.high is None else f"[{one.low:.{digits}f}, {one.high:.{digits}f}]"


def p_value(p: float | None) -> str:
    """A p value as text."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def unit(measure: Measure, summary: Summary) -> str:
    """The unit of a measure in this set; empty where it has none."""
    if not measure.unit or all(case.spacing_known for case in summary.cases):
        return measure.unit
    return "pixels"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more, which metrics.json names" * (len(ids) > _MOST_NAMED)
    return ", ".join(ids[:_MOST_NAMED]) + more


def _title(name: str, summary: Summary) -> str:
    said = unit(MEASURES[name], summary)
    return f"{MEASURES[name].title} ({said})" if said else MEASURES[name].title


def _overview(summary: Summary) -> Table:
    shown = [name for name in _SHOWN if name in summary.measures]
    shown += [name for name in summary.measures if not MEASURES[name].source]  # registered, and asked for by name
    rows = [
        [name, str(one.figures["dice"].n), *[_mean_interval(one.figures.get(measure)) for measure in shown]]
        for name, one in summary.structures.items()
    ]
    overall = [_bounds(summary.overall[m].mean, summary.overall[m].low, summary.overall[m].high) for m in shown]
    if len(summary.structures) > 1:
        rows.append(["mean over structures", str(len(summary.cases)), *overall])
    head = ["structure", "cases", *[_title(measure, summary) for measure in shown]]
    return Table("Mean over cases, with its 95 % interval", head, rows)


def _every_measure(summary: Summary) -> list[Table]:
    """One folded table a structure would be many: one a measure, all structures."""
    head = ["structure", "n", "mean", "95 % interval", "median", "IQR", "lowest", "highest"]
    tables = []
    for measure in summary.measures:
        digits = 2 if MEASURES[measure].unit else 3
        rows = []
        for name, structure in summary.structures.items():
            if (one := structure.figures.get(measure)) is None:
                continue
            quartiles = "–" if one.q1 is None or one.q3 is None else f"{one.q1:.{digits}f} to {one.q3:.{digits}f}"
            ends = [figure(value, digits) for value in (one.minimum, one.maximum)]
            middle = [figure(one.mean, digits), interval(one, digits), figure(one.median, digits), quartiles]
            rows.append([name, str(one.n), *middle, *ends])
        tables.append(Table(f"{_title(measure, summary)}: distribution over cases", head, rows, folded=True))
    return tables


def _counts(summary: Summary) -> Table:
    head = ["structure", "cases annotated", "both empty", "only predicted", "only in the reference"]
    rows = [
        [name, *map(str, (one.n_annotated, one.n_both_empty, one.n_reference_empty, one.n_prediction_empty))]
        for name, one in summary.structures.items()
    ]
    return Table("Cases where a structure is empty on one side or both", head, rows, folded=True)


def _as_words(table: Table) -> Table:
    return Table(table.caption, table.head, table.rows, words=[1], folded=True)


def _distribution(summary: Summary, measure: str) -> Chart:
    spreads = {}
    for name, structure in [*summary.structures.items()][:_MOST_PLOTTED]:
        values = [case.figures[name].get(measure) for case in summary.cases if name in case.figures]
        one = structure.figures.get(measure)
        if one is not None:
            spreads[name] = Spread([value for value in values if value is not None], one.mean, one.low, one.high)
    title = f"{MEASURES[measure].title} of each case"
    axis = Axis(_title(measure, summary), None, None if MEASURES[measure].unit else 1)
    more = len(summary.structures) - _MOST_PLOTTED
    caption = f"{title}: a dot a case, the mean as a diamond, its 95 % interval as a bar" + (
        f"; the first {_MOST_PLOTTED} of {len(summary.structures)} structures" if more > 0 else ""
    )
    return Chart(caption, spread_chart(title, spreads, axis))


def _mean_interval(one: Distribution | None) -> str:
    return "–" if one is None else _bounds(one.mean, one.low, one.high)


def _bounds(mean: float | None, low: float | None, high: float | None) -> str:
    """The mean and its interval with three digits behind the point, fewer of large figures."""
    if mean is None:
        return "–"
    digits = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 3
    shown = f"{mean:.{digits}f}"
    return shown if low is None or high is None else f"{shown} [{low:.{digits}f},\u00a0{high:.{digits}f}]"


def _dice(case: CaseScore, name: str) -> str:
    if name not in case.figures:
        return "not annotated"
    return figure(case.figures[name]["dice"]) + {"reference": " (invented)", "prediction": " (missed)"}.get(
        case.structures[name].empty, ""
    )
