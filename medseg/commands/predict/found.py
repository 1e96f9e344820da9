"""Find the scans to segment: what is answered, what cannot be, what is passed over, and what a table says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.commands.predict.case_facts import case_facts
from medseg.commands.predict.options import PredictOptions
from medseg.core.case import Case, unmatched_rows
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.layouts.scans import find_scans, unread_scans
from medseg.io.layouts.studies import SeriesRules, parse_rules
from medseg.plans.sections.data import Data

if TYPE_CHECKING:
    from medseg.commands.predict.passed_over import PassedOver


@dataclass(frozen=True)
class FoundScans:
    """What there is to segment.

    Attributes:
        cases: the scans.
        failed: {name: why it cannot be segmented}.
        facts: {case: {column: text}} of the user's table.
        notes: sentences on what is left out, and on what the table lacks.
        passed_over: scans that could be read, and whose names or places are unlike those of the others.
    """

    cases: list[Case]
    failed: dict[str, str]
    facts: dict[str, dict[str, str]]
    notes: list[str]
    passed_over: tuple[PassedOver, ...] = ()


def find(source: Path, options: PredictOptions, data: Data) -> FoundScans:
    """Find the scans to segment, what looks like one and is none of them, and what the user's table says of them.

    Args:
        source: a scan, a DICOM study, or a folder of these.
        options: say how files, series and tables are named.
        data: the model's part of the plan.

    Returns:
        The scans, and what was found beside them.

    Raises:
        MedsegError: there is nothing to segment, or it is not clear what.
    """
    rules = series_rules(data, options)
    cases, failed = find_scans(source, data.channels, options.channels, rules)
    notes: list[str] = []
    passed_over: tuple[PassedOver, ...] = ()
    if source.is_dir() and not options.channels:
        from medseg.commands.predict.passed_over import find_passed_over  # here: a single scan is answered sooner
        from medseg.commands.predict.unseen_cases import unseen_cases

        unread = unread_scans(source, cases, failed, data.channels)
        passed_over, unread = find_passed_over(unread, data.channels, rules)
        failed = dict(sorted({**unread.lost, **failed}.items()))
        cases, of_split = unseen_cases(source, cases)
        notes = [*([of_split] if of_split else []), *unread.notes]
    table = None if options.table is None else Path(options.table)
    facts = case_facts(table, [*(case.id for case in cases), *failed])
    if table is not None:
        notes += unmatched_rows(table, facts.keys() - failed.keys(), [case.id for case in cases], "scan")
    return FoundScans(cases, failed, facts, notes, passed_over)


def series_rules(data: Data, options: PredictOptions) -> SeriesRules:
    """Return how series of DICOM studies are chosen: as the user asked, else as the plan says."""
    rules = parse_rules(options.series, data.channels)[1] if options.series else tuple(data.series_rules)
    return SeriesRules(rules, DicomOptions.of(data.reading))
