"""The order in which scans should be annotated."""

from medseg.confidence.assessment import Assessment, Flag, StructureQuality
from medseg.confidence.ranking import rank


def said(dice: float | None, *scan: float) -> Assessment:
    return Assessment({"a": StructureQuality(dice=dice)}, (), scan)


def test_doubtful_scans_come_first_and_no_two_alike() -> None:
    order = rank(
        {
            "worst": said(0.2, 0.0, 0.0),
            "its twin": said(0.25, 0.0, 0.0),
            "another kind": said(0.5, 4.0, 0.0),
            "good": said(0.95, 0.0, 4.0),
        }
    )
    assert [scan.case for scan in order] == ["worst", "another kind", "good", "its twin"]
    assert [scan.doubt for scan in order] == [0.8, 0.5, 0.05, 0.75]
    assert order[0].novelty == 1
    assert order[-1].novelty == 0


def test_a_scan_without_an_answer_is_the_most_doubtful() -> None:
    assert rank({"a": said(0.1, 0.0), "b": said(None, 1.0), "c": said(0.9, 2.0)})[0].case == "b"


def test_without_figures_on_scans_doubt_alone_decides() -> None:
    assert [scan.case for scan in rank({"a": said(0.9), "b": said(0.3), "c": said(0.6)})] == ["b", "c", "a"]
    assert rank({}) == []


def test_structures_that_should_be_there_and_are_not_count_as_wrong() -> None:
    """One organ of four is answered, and well: the mean Dice is (0.9 + 0 + 0 + 0) / 4, and not 0.9."""
    missing = tuple(Flag("missing", name, 1.0, 0.0, "") for name in "bcd")
    without = {name: StructureQuality() for name in "bcd"}
    one_of_four = Assessment({"a": StructureQuality(dice=0.9), **without}, missing, (0.0,))
    order = rank({"good": said(0.6, 5.0), "one of four": one_of_four})
    assert [scan.case for scan in order] == ["one of four", "good"]
    assert order[0].doubt == 0.775
    # structures that many cases lack are not missed
    assert rank({"a": Assessment({"a": StructureQuality(dice=0.9), **without}, ())})[0].doubt == 0.1
