"""Two predictions of the same cases, and one prediction in subgroups of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import Comparison, compare, holm
from medseg.evaluation.summary import CaseScore, StructureSummary, Summary, summarize_structure

Comparisons = dict[str, dict[str, Comparison]]
"""{structure: {measure: first minus second}}."""


def compare_summaries(first: Summary, second: Summary) -> Comparisons:
    """Paired differences per structure and measure, over the cases that both have.

    The p values of a measure are corrected over the structures (Holm); volumes of the reference are not compared.
    """
    other = {case.case: case for case in second.cases}
    both = [(case, other[case.case]) for case in first.cases if case.case in other]
    patients = [case.patient or case.case for case, _ in both]
    found: Comparisons = {}
    for name in (name for name in first.structures if name in second.structures):
        figures = [(a.figures.get(name, {}), b.figures.get(name, {})) for a, b in both]
        found[name] = {
            measure: compare([a.get(measure) for a, _ in figures], [b.get(measure) for _, b in figures], patients)
            for measure in first.structures[name].figures
            if measure in second.structures[name].figures and MEASURES[measure].better is not None
        }
    return _corrected(found)


def subgroups(
    cases: Sequence[CaseScore], attribute: str, structures: Sequence[str]
) -> dict[str, dict[str, StructureSummary]]:
    """{value of the attribute: {structure: summary}}; cases that do not have it are the group "not said"."""
    values = sorted({case.attributes.get(attribute) or "not said" for case in cases})
    groups = {value: [c for c in cases if (c.attributes.get(attribute) or "not said") == value] for value in values}
    return {value: {name: summarize_structure(name, group) for name in structures} for value, group in groups.items()}


def _corrected(found: Comparisons) -> Comparisons:
    measures = {measure for one in found.values() for measure in one}
    by_measure = {
        measure: holm({name: one[measure].p for name, one in found.items() if measure in one}) for measure in measures
    }
    return {
        name: {measure: replace(result, p_holm=by_measure[measure][name]) for measure, result in one.items()}
        for name, one in found.items()
    }
