"""Thresholds for pipelines."""

import numpy as np
import pytest

from medseg.commands.evaluate.thresholds import below, parse_threshold
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.score import StructureScore
from medseg.evaluation.summary import CaseScore, summarize

HALF = StructureScore(Overlap(tp=2, fp=2, fn=2, tn=10), 1.0, 10.0)
PERFECT = StructureScore(Overlap(tp=4, fp=0, fn=0, tn=12), 1.0, 10.0)


@pytest.fixture
def summary():
    cases = [CaseScore("a", {"liver": PERFECT, "spleen": HALF})]
    return summarize(Labels(structures={"liver": 1, "spleen": 2}), cases, np.diag([9, 4, 2]))


def test_names_may_be_written_as_in_tables():
    assert parse_threshold("Dice=0.8") == ("", "dice", 0.8)
    assert parse_threshold("left lung: hd95 x=1".replace(" hd95 x", "IoU")) == ("left lung", "iou", 1.0)


def test_what_lies_below_is_named(summary):
    assert below(summary, ["Dice=0.7", "liver:dice=1"]) == []
    assert below(summary, ["Dice=0.8", "spleen:Dice=0.6"]) == [
        "mean dice is 0.7500, below 0.8",
        "spleen dice is 0.5000, below 0.6",
    ]


@pytest.mark.parametrize(
    "text", ["Dice", "Dice>0.5", "HD95=2", "volume_error=1", "beauty=1", "Dice=high", "Dice=.", "Dice=1.2.3"]
)
def test_what_is_no_threshold_is_refused(text):
    with pytest.raises(DataError, match="is not a threshold"):
        parse_threshold(text)


def test_a_structure_or_measure_that_was_not_scored_is_refused(summary):
    with pytest.raises(DataError, match="no structure 'heart'; there are liver, spleen"):
        below(summary, ["heart:Dice=0.5"])
    with pytest.raises(DataError, match="nsd was not measured"):
        below(summary, ["NSD=0.5"])
