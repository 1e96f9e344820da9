"""Sections on scores: the figures are those of the summary, and nothing undefined looks like a figure."""

import numpy as np
import pytest

from medseg.core.labels import Labels
from medseg.delivery.pages.blocks import Picture, Table
from medseg.delivery.pages.score_sections import (
    cases_section,
    confusion_section,
    details_section,
    failures_section,
    headline,
    scores_section,
)
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import StructureScore, SurfaceScore
from medseg.evaluation.summary import CaseScore, Unscored, summarize

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
HALF, MISSED = Overlap(tp=2, fp=2, fn=2, tn=10), Overlap(tp=0, fp=0, fn=5, tn=11)
SURFACE = SurfaceScore(hd=3.0, hd95=2.5, assd=1.0, nsd=0.75, tolerance=2.0)
NO_SURFACE = SurfaceScore(hd=None, hd95=None, assd=None, nsd=0.0, tolerance=2.0)


@pytest.fixture
def summary():
    cases = [
        CaseScore(
            name,
            {
                "liver": StructureScore(HALF, 0.5, 20.0, SURFACE),
                "spleen": StructureScore(MISSED, 0.5, 20.0, NO_SURFACE),
            },
        )
        for name in "abc"
    ]
    confusion = np.array([[8, 2, 0], [2, 2, 0], [5, 0, 0]])
    return summarize(ORGANS, cases, confusion, Unscored({"d": "torn"}, ["e"], []))


def rows(block):
    assert isinstance(block, Table)
    return [list(row) for row in block.rows]


def test_the_headline_has_the_overall_figures(summary):
    assert headline(summary) == [
        ("0.250", "mean Dice"),
        ("0.167", "mean IoU"),
        (f"{summary.miou:.3f}", "mIoU, voxels pooled"),
        ("2.50", "mean HD95 (mm)"),
        ("3", "cases scored"),
        ("1", "failed"),
    ]


def test_undefined_scores_are_dashes_and_counted(summary):
    overview, *_ = scores_section(summary).blocks
    liver, spleen = rows(overview)
    assert overview.head[:5] == ["structure", "cases", "Dice", "IoU", "HD95 (mm)"]
    assert liver[:3] == ["liver", "3", "0.500 [0.500,\u00a00.500]"]
    assert spleen[4] == "–"
    assert overview.foot[:2] == ["mean over structures", "3"]


def test_rules_and_definitions_stand_on_the_page(summary):
    text = " ".join(row[1] for row in rows(details_section(summary).blocks[-1]))
    for words in ("both sides empty: not in the mean", "bootstrap over patients", "Hausdorff", "2 TP"):
        assert words in text


def test_confusion_is_a_share_of_the_reference(summary):
    (table,) = confusion_section(summary, ORGANS).blocks
    assert rows(table)[0] == ["background", "0.800", "0.200", "0.000"]
    assert rows(table)[2] == ["spleen", "1.000", "0.000", "0.000"]
    assert table.shade[1] == [0.5, 0.5, 0.0]


def test_many_structures_are_cut_to_the_most_confused():
    labels = Labels(structures={f"s{n}": n for n in range(1, 61)})
    counts = np.diag(np.full(61, 100))
    counts[50, 51] = 9
    summary = summarize(labels, [], counts)
    (table,) = confusion_section(summary, labels).blocks
    names = [row[0] for row in rows(table)]
    assert len(names) == 24
    assert {"background", "s50", "s51"} <= {*names}


def test_cases_are_listed_worst_first_and_misses_are_named(summary):
    *_, table = cases_section([Picture("Worst case: a", "a in words", b"png")], summary, {"b": "view/b.html"}).blocks
    assert rows(table)[0] == ["a", "0.250", "0.500", "0.000 (missed)"]
    assert {rows(table)[number][0]: link for number, link in table.links.items()} == {"b": "view/b.html"}


def test_failures_come_by_name(summary):
    errors, missing, other = failures_section(summary).blocks
    assert (errors.items, errors.tone) == (["d: torn"], "error")
    assert missing.items == ["1 without a prediction; allowed, and counted here: e"]
    assert other.items == []
