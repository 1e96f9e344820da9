"""The page of how far answers can be trusted."""

from medseg.confidence.assessment import MEANINGS, Assessment, Flag, StructureQuality
from medseg.delivery.pages.page import render
from medseg.delivery.pages.quality_page import quality_page

GOOD = Assessment({"liver": StructureQuality(0.95, 0.9, 0.98, 1400.0, 1600.0)}, ())
BAD = Assessment(
    {"liver": StructureQuality(0.4, 0.2, 0.6, 90.0, 400.0)}, (Flag("volume", "liver", 5.0, 2.0, "liver is <small>"),)
)
EMPTY = Assessment({"liver": StructureQuality()}, ())


def test_doubtful_answers_come_first_with_their_reasons() -> None:
    volumes = {"a": {"liver": 1500.0}, "b": {"liver": 200.0}, "c": {"liver": 0.0}}
    units = dict.fromkeys(volumes, "ml")
    page = quality_page({"a": GOOD, "b": BAD, "c": EMPTY}, volumes, units, {"c": ("It is constant.",)})
    (table,) = page.sections[0].blocks
    assert [row[0] for row in table.rows] == ["b", "c", "a"]
    assert table.rows[0][2:] == ("0.40 (0.20 to 0.60)", "200 (90 to 400) ml", "volume: liver")
    text = render(page)
    assert "Look at 2 of 3 answers first" in text
    assert "liver is &lt;small&gt;" in text
    assert "It is constant." in text
    assert all(meaning in text for meaning in MEANINGS.values())


def test_answers_without_a_flag() -> None:
    page = quality_page({"a": GOOD}, {"a": {"liver": 1500.0}}, {"a": "ml"}, {})
    assert page.lead == "Nothing about 1 answer is unlike the training cases."


def test_names_lead_to_the_cases_that_have_a_page() -> None:
    volumes = {"a": {"liver": 1500.0}, "b": {"liver": 200.0}}
    page = quality_page({"a": GOOD, "b": BAD}, volumes, dict.fromkeys(volumes, "ml"), {}, {"b": "view/b.html"})
    (table,) = page.sections[0].blocks
    assert table.links == {0: "view/b.html"}
    assert '<a href="view/b.html">b</a>' in render(page)
    assert "leads to the case in the viewer" in table.caption
