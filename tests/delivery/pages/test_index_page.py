"""The page of a folder of answers as data: what stands on cards and in the table of volumes."""

from __future__ import annotations

from dataclasses import replace

from medseg.core.labels import Labels
from medseg.delivery.answers.case_pages import CaseSlice
from medseg.delivery.pages.blocks import Sheet, Table
from medseg.delivery.pages.index_page import CaseShown, index_page
from medseg.delivery.pages.page import render

ORGANS = Labels(structures={"liver": 1, "spleen": 2})
SLICE = CaseSlice("axial 3 of 9", ("spleen",), b"png")
WHOLE = CaseShown("a b", [SLICE], "view/a b.html", 10, {"liver": 1500.0, "spleen": 0.0}, "ml")
ODD = CaseShown("c", [], "", 5_300_000, {"liver": 20.25, "spleen": 3.5}, "ml", ["It is odd."])


def test_a_card_has_slices_sizes_and_a_link() -> None:
    page = index_page("toy", [WHOLE, ODD], {"d": "torn"}, ORGANS)
    failed, sheet, _ = (section.blocks[0] for section in page.sections)
    assert failed.items == ["d: torn"]  # type: ignore[union-attr]
    assert isinstance(sheet, Sheet)
    assert sheet.caption.endswith("The patient's right is on the left.")
    whole, odd = sheet.cards
    assert [(entry.name, entry.figure) for entry in whole.legend] == [("liver", "1500 ml"), ("spleen", "none")]
    assert [(entry.name, entry.figure) for entry in odd.legend] == [("liver", "20 ml"), ("spleen", "3.500 ml")]
    assert whole.slices[0].alt == "a b: axial 3 of 9, structures outlined, where spleen is largest"
    assert (whole.link, whole.missing, whole.notes) == ("view/a%20b.html", "", ())
    assert odd.missing.startswith("No page to look at the scan, as it has 5.3 million voxels")
    assert 'class="card doubt"' in render(page)


def test_the_page_leads_to_that_of_the_flags_where_there_is_one() -> None:
    link = '<a href="quality.html">Which answers to distrust</a>'
    assert link in render(index_page("toy", [WHOLE], {}, ORGANS, judged=True))
    assert link not in render(index_page("toy", [WHOLE], {}, ORGANS))


def test_the_table_has_one_precision_a_column_and_a_column_only_for_what_there_is() -> None:
    def table_of(*cases: CaseShown, labels: Labels = ORGANS) -> Table:
        (table,) = index_page("toy", cases, {}, labels).sections[-1].blocks
        assert isinstance(table, Table)
        return table

    doubtful = replace(WHOLE, notes=["Its spacing is unusual.", "dice: low", "cut: at the edge"])
    assert table_of(doubtful).rows[0][-1] == "Its spacing is unusual; dice: low; cut: at the edge"
    table = table_of(WHOLE, ODD)
    assert table.head == ["case", "liver (ml)", "spleen (ml)", "warnings"]
    assert table.rows == [["a b", "1500", "0.000", ""], ["c", "20", "3.500", "It is odd."]]
    assert table.links == {0: "view/a%20b.html"}
    mixed = table_of(WHOLE, CaseShown("p", [], "", 9, {"liver": 7.0}, "pixels"))
    assert mixed.head == ["case", "liver", "spleen", "unit"]
    assert mixed.rows[1] == ["p", "7.0", "–", "pixels"]
    many = Labels(structures={f"s{n}": n for n in range(1, 12)})
    long = table_of(CaseShown("c", [], "view/c.html", 9, {"s1": 1.5, "s2": 20.0}, "ml"), labels=many)
    assert long.head == ["case", "structure", "volume (ml)"]
    assert long.rows == [["c", "s1", "1.500"], ["c", "s2", "20.00"]]
    assert long.links == {0: "view/c.html", 1: "view/c.html"}
