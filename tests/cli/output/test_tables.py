"""Scores on the terminal, as text."""

import numpy as np
import pytest
from rich.console import Console

from medseg.cli.output.tables import (
    comparison_table,
    headline_table,
    pooled_table,
    scores_table,
    subgroup_table,
    unpaired_lines,
)
from medseg.core.labels import Labels
from medseg.evaluation.comparison import compare_summaries, subgroups
from medseg.evaluation.lesions import LesionScore, PanopticScore
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import StructureScore, SurfaceScore
from medseg.evaluation.summary import CaseScore, Unscored, summarize

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
HALF = Overlap(tp=2, fp=2, fn=2, tn=10)  # Dice 1/2, IoU 1/3
MISSED = Overlap(tp=0, fp=0, fn=5, tn=11)
BOTH_EMPTY = Overlap(tp=0, fp=0, fn=0, tn=16)


def case(name, overlaps, voxel_volume=1.0, **rest):
    """A case of which only voxels were counted."""
    scores = {key: StructureScore(overlap, voxel_volume or 1.0, diagonal=10.0) for key, overlap in overlaps.items()}
    return CaseScore(name, scores, spacing_known=voxel_volume is not None, **rest)


def lines(drawn, width=140):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(drawn)
    return [line.rstrip() for line in capture.get().splitlines()]


def rows_of(drawn):
    return [line.split() for line in lines(drawn)]


def rows(summary):
    return rows_of(scores_table(summary))


def test_a_row_for_each_structure():
    cases = [
        case("a", {"liver": HALF, "spleen": MISSED}, 0.5),
        case("b", {"liver": HALF, "spleen": BOTH_EMPTY}, 0.5),
    ]
    volume, units, heading, liver, spleen = rows(summarize(ORGANS, cases, np.diag([10, 4, 0])))
    assert heading == ["structure", "cases", "Dice", "IoU", "ml", "empty", "empty"]
    assert units == ["error", "both", "one"]
    assert volume == ["volume"]
    assert liver == ["liver", "2", "0.5000", "0.3333", "0.00", "0", "0"]
    assert spleen == ["spleen", "1", "0.0000", "0.0000", "-1.25", "1", "1"]


def test_names_are_whole_on_80_columns_with_every_column():
    labels = Labels(structures={"pedestrian": 1})
    surface = SurfaceScore(99.0, 98.76, 12.3, 0.987, 2.0)
    overlaps = HALF, HALF, HALF, Overlap(tp=0, fp=0, fn=6000, tn=9000)
    scores = [StructureScore(overlap, 1.0, 10.0, surface) for overlap in overlaps]
    cases = [CaseScore(str(number), {"pedestrian": score}, spacing_known=False) for number, score in enumerate(scores)]
    *_, row = shown = lines(scores_table(summarize(labels, cases, np.diag([40, 10]))), width=80)
    assert row.startswith("pedestrian ")
    assert row.split()[-1] == "1"  # empty on one side
    assert max(map(len, shown)) <= 80
    assert "interval" in shown[-2]


def test_classes_are_pooled_with_the_background_and_pixel_accuracy_says_why_it_misleads():
    score = StructureScore(Overlap(tp=0, fp=0, fn=5, tn=95), 1.0, diagonal=10.0)
    labels = Labels(structures={"A": 1})  # 100 pixels, 5 of class A, all answered background
    summary = summarize(labels, [CaseScore("a", {"A": score})], np.array([[95, 0], [5, 0]]))
    assert rows_of(pooled_table(summary))[-2:] == [
        ["background", "0.9500", "1.0000", "0.9500"],
        ["A", "0.0000", "0.0000", "0.0500"],
    ]
    headline = lines(headline_table(summary), width=400)
    assert headline[2].split()[:2] == ["mIoU", "0.4750"]
    assert headline[3].split()[:3] == ["pixel", "accuracy", "0.9500"]
    assert "'background' everywhere would have 0.9500" in headline[3]


def test_what_is_not_defined_is_a_dash():
    summary = summarize(ORGANS, [case("a", {"liver": BOTH_EMPTY}, None)], np.zeros((3, 3), int))
    *_, liver, spleen = rows(summary)
    assert liver == ["liver", "0", "-", "-", "0.00", "1"]
    assert spleen == ["spleen", "0", "-", "-", "-", "0"]
    assert lines(headline_table(summary))[0].split()[:3] == ["mean", "Dice", "-"]


def test_a_comparison_and_subgroups_have_a_row_each():
    first = [case(f"c{n}", {"liver": HALF}, attributes={"site": "AB"[n % 2]}) for n in range(4)]
    second = [case(f"c{n}", {"liver": MISSED}) for n in range(4)]
    labels = Labels(structures={"liver": 1})
    compared = compare_summaries(*(summarize(labels, one, np.diag([9, 9])) for one in (first, second)))
    assert rows_of(comparison_table(compared))[-1] == [
        "liver",
        "Dice",
        "4",
        "+0.5000",
        *["0.500", "to", "0.500"],
        "0.125",
    ]
    groups = subgroups(first, "site", ["liver"])
    assert [row[:4] for row in rows_of(subgroup_table("site", groups))[-2:]] == [
        ["A", "liver", "2", "0.5000"],
        ["B", "liver", "2", "0.5000"],
    ]


@pytest.mark.parametrize("name", ["[left]", "[/]", "tumour [bold]", ":cat:", "a\\"])
def test_names_are_printed_as_they_are(name):
    labels = Labels(structures={name: 1})
    summary = summarize(labels, [case("a", {name: HALF}, 1.0)], np.diag([10, 4]))
    assert lines(scores_table(summary))[3].startswith(f"{name}  ")
    everywhere = summarize(labels, [case("a", {name: HALF}, 1.0)], np.diag([4, 10]))
    assert f"{name!r} everywhere" in " ".join(lines(headline_table(everywhere), 400))


def test_the_headline_says_what_is_averaged_and_how_empty_structures_count():
    summary = summarize(ORGANS, [case("a", {"liver": HALF, "spleen": MISSED}, 1.0)], np.diag([10, 4, 0]))
    dice, iou, miou, accuracy, empty, *_ = (" ".join(line.split()) for line in lines(headline_table(summary), 400))
    assert dice == "mean Dice 0.2500 mean over 1 case per structure, then over 2 structures"
    assert iou == "mean IoU 0.1667 likewise"
    assert miou.startswith("mIoU 1.0000 IoU from the counts summed over all fully annotated cases, mean over")
    assert accuracy.startswith("pixel accuracy 1.0000 share of voxels with the right class; misleads")
    assert empty.startswith("empty empty structures (default): both sides empty: not in the mean, counted")


def test_long_explanations_wrap_beside_their_figures():
    summary = summarize(ORGANS, [case("a", {"liver": HALF, "spleen": MISSED}, 1.0)], np.diag([10, 4, 0]))
    narrow = lines(headline_table(summary), width=60)
    assert max(map(len, narrow)) <= 60
    assert "volume" in lines(scores_table(summary), width=80)[0]
    titles = ["mean Dice", "mean IoU ", "mIoU     ", "pixel acc", "empty    "]
    assert [line[:9] for line in narrow if line[:9].strip()] == titles


def test_cases_without_a_counterpart_are_named():
    nothing = np.zeros((3, 3), int)
    assert unpaired_lines(summarize(ORGANS, [], nothing)) == []
    summary = summarize(ORGANS, [], nothing, Unscored({}, ["b"], [str(number) for number in range(13)]))
    assert unpaired_lines(summary) == [
        "1 without prediction, counted: b",
        "13 without reference, not scored: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...",
    ]


def test_objects_have_lines_where_they_were_counted():
    score = StructureScore(HALF, 1.0, 10.0, lesions=LesionScore(2, 1, 1, 0, 0.5), instances=PanopticScore(1, 0, 1, 0.6))
    summary = summarize(ORGANS, [CaseScore("a", {"liver": score})], np.diag([10, 4, 0]))
    shown = [line.split() for line in lines(headline_table(summary))]
    assert ["mean", "Lesion", "F1", "0.6667", "likewise"] in shown  # 2 / (2 + 0 + 1)
    assert ["mean", "PQ", "0.4000", "likewise"] in shown  # 2 * 0.6 / (2 + 0 + 1)
