"""The page: self-contained, escaped, without empty panels."""

import re
from html.parser import HTMLParser

from medseg.delivery.pages.blocks import Chart, Facts, Notes, Picture, Table
from medseg.delivery.pages.charts import Axis, line_chart
from medseg.delivery.pages.page import Page, Section, render, write_page

PNG = bytes.fromhex("89504e470d0a1a0a")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page(*blocks) -> Page:
    return Page("Report", "Lead.", [("0.9", "mean Dice")], [Section("one", "One", blocks), Section("two", "Two", [])])


def tags(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


def test_blocks_are_shown_and_a_section_without_any_is_not():
    found = tags(render(page(Facts([("plan", "liver")]), Table("Scores", ["structure", "Dice"], [["liver", "0.9"]]))))
    assert "liver" in found.text
    assert "Two" not in found.text
    assert [attrs["scope"] for tag, attrs in found.found if tag == "th"] == ["col", "col", "row"]


def test_empty_blocks_leave_no_panel():
    found = tags(
        render(page(Facts([]), Notes([]), Chart("Loss", ""), Table("none", ["a"], []), Picture("p", "p", b"")))
    )
    assert not {"dl", "figure", "table"} & {tag for tag, _ in found.found}
    assert "One" not in found.text


def test_text_from_outside_is_escaped():
    text = render(page(Facts([("<script>", '"&')]), Notes(["<img src=x>"]), Table("<b>", ["<i>"], [["<u>", "1"]])))
    assert not {"img", "b", "i", "u"} & {tag for tag, _ in tags(text).found}
    assert text.count("<script") == 1


def test_nothing_is_fetched_and_only_the_bundled_script_runs():
    svg = line_chart("Loss", {"loss": [(0, 1), (1, 0)]}, Axis("steps"), Axis("loss"))
    found = tags(render(page(Chart("Loss", svg), Picture("worst", "the worst case", PNG)))).found
    links = [attrs[name] for _, attrs in found for name in ("src", "href") if name in attrs]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not any(tag in ("link", "iframe") for tag, _ in found)
    assert [attrs for tag, attrs in found if tag == "script"] == [{}]
    (policy,) = (attrs["content"] for tag, attrs in found if attrs.get("http-equiv") == "Content-Security-Policy")
    assert re.fullmatch(r"default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src [^;]+; img-src data:", policy)
    assert [attrs["alt"] for tag, attrs in found if tag == "img"] == ["the worst case"]


def test_shading_follows_the_figures(tmp_path):
    write_page(tmp_path / "page.html", page(Table("t", ["a", "b", "c"], [["x", "1", "0"]], shade=[[1.0, 0.0]])))
    text = (tmp_path / "page.html").read_text()
    assert "0.70)" in text
    assert "0.00)" in text
