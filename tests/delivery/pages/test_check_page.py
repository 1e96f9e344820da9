"""The page of a check: kind by kind, with what to do and a picture of each case once."""

from medseg.delivery.pages.blocks import Notes, Picture, Table
from medseg.delivery.pages.check_page import CheckFacts, check_page
from medseg.delivery.pages.page import render
from medseg.planning.findings import Finding

FACTS = CheckFacts("liver", [("layout", "nnU-Net")], 12, ["b"], ["a note"])
FINDINGS = [
    Finding("truncated", "b", "b.nii ends early", "copy it again"),
    Finding("spacing", "c", "c.nii is coarse", "look at it"),
    Finding("spacing", "d", "d.nii is fine", "look at it"),
    Finding("intensity", "c", "c.nii is dark", "look at c"),
    Finding("intensity", "", "all are odd", "look at all"),
]


def blocks(page, title):
    (section,) = [section for section in page.sections if section.title == title]
    return section.blocks


def test_each_kind_has_a_section():
    page = check_page(FACTS, FINDINGS, {})
    assert [section.title for section in page.sections] == [
        "Files that end too early (error, 1)",
        "Spacings far from the rest (warning, 2)",
        "Intensities far from the rest (warning, 2)",
        "How it was read",
    ]
    assert page.figures == [("12", "cases"), ("11", "can be used"), ("1", "left out, by errors"), ("4", "warnings")]
    assert page.lead.startswith("1 of 12 cases left out")


def test_one_remedy_is_a_note_and_several_a_column():
    page = check_page(FACTS, FINDINGS, {})
    note, table = blocks(page, "Spacings far from the rest (warning, 2)")
    assert note == Notes(["look at it"], "warning")
    assert isinstance(table, Table)
    assert table.rows == [("c", "c.nii is coarse"), ("d", "d.nii is fine")]
    (table,) = blocks(page, "Intensities far from the rest (warning, 2)")
    assert table.rows == [("c", "c.nii is dark", "look at c"), ("all", "all are odd", "look at all")]


def test_a_case_is_shown_once():
    page = check_page(FACTS, FINDINGS, {"c": (b"png", "three slices")})
    pictures = [block for section in page.sections for block in section.blocks if isinstance(block, Picture)]
    assert pictures == [Picture("c: three slices", "c: three slices", b"png")]
    assert 'alt="c: three slices"' in render(page)


def test_nothing_found():
    page = check_page(CheckFacts("liver", [], 3, [], []), [], {})
    assert page.lead == "Nothing wrong was found in 3 cases."
    assert "a note" in render(check_page(FACTS, [], {}))
