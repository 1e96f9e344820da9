"""Compare two predictions of the same cases, and summarize one prediction in subgroups of cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from medseg.evaluation.score import MEASURES
from medseg.evaluation.statistics import Comparison, compare, holm
from medseg.evaluation.summary import CaseScore, StructureSummary, Summary, summarize_structure

Comparisons = dict[str, dict[str, Comparison]]
"""{structure: {measure: first minus second}}."""

_NOT_SAID = "not said"


def compare_summaries(first: Summary, second: Summary) -> Comparisons:
    """Return the paired differences of each structure and measure, over the cases that both summaries have.

    The p values of a measure are corrected over the structures (Holm 1979). Measures without a better direction, such
    as the volume of the reference, are not compared.

    Args:
        first: scores of one prediction.
        second: scores of the other; it is subtracted.
    """
    second_cases = {case.case: case for case in second.cases}
    pairs = [(case, second_cases[case.case]) for case in first.cases if case.case in second_cases]
    patients = [case.patient_or_case for case, _ in pairs]
    comparisons: Comparisons = {}
    for name in (name for name in first.structures if name in second.structures):
        figures = [(case_1.figures.get(name, {}), case_2.figures.get(name, {})) for case_1, case_2 in pairs]
        comparisons[name] = {
            measure: compare([f.get(measure) for f, _ in figures], [s.get(measure) for _, s in figures], patients)
            for measure in first.structures[name].figures
            if measure in second.structures[name].figures and MEASURES[measure].better is not None
        }
    return _corrected(comparisons)


def attribute_named(name: str, known: Collection[str]) -> str | None:
    """Return the attribute that a name means: itself, else the only one that differs in upper and lower case at most.

    Args:
        name: as a user wrote it.
        known: the attributes that there are. Columns that medseg knows, such as `split`, are in lower case among them,
            whatever the table has.

    >>> attribute_named("Split", ["Scanner", "split"])
    'split'
    >>> attribute_named("SITE", ["Site", "site"]) is None
    True
    """
    if name in known:
        return name
    alike = [other for other in known if other.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def subgroups(
    cases: Sequence[CaseScore], attribute: str, structures: Sequence[str]
) -> dict[str, dict[str, StructureSummary]]:
    """Summarize the structures in each group of cases with the same value of an attribute.

    Args:
        cases: scores of the cases.
        attribute: the attribute; cases that do not have it are the group "not said".
        structures: names of the structures to summarize.

    Returns:
        {value of the attribute: {structure: summary}}, sorted by value.
    """
    groups: dict[str, list[CaseScore]] = {}
    for case in cases:
        groups.setdefault(case.attributes.get(attribute) or _NOT_SAID, []).append(case)
    return {value: {name: summarize_structure(name, groups[value]) for name in structures} for value in sorted(groups)}


def _corrected(comparisons: Comparisons) -> Comparisons:
    """Return the comparisons with Holm-corrected p values: for each measure, over the structures that have it."""
    measures = {measure for by_measure in comparisons.values() for measure in by_measure}
    p_holm = {
        measure: holm({name: of[measure].p for name, of in comparisons.items() if measure in of})
        for measure in measures
    }
    return {
        name: {measure: replace(result, p_holm=p_holm[measure][name]) for measure, result in by_measure.items()}
        for name, by_measure in comparisons.items()
    }
