"""Charts: well-formed, described in words, and drawn where the figures are."""

import re
import xml.etree.ElementTree as xml

from medseg.delivery.pages.charts import Axis, Spread, line_chart, spread_chart

NAMESPACE = "{http://www.w3.org/2000/svg}"


def places(svg: str) -> list[tuple[float, float]]:
    points = xml.fromstring(svg).find(f"{NAMESPACE}polyline").get("points")
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def test_a_line_runs_from_the_lower_left_to_the_upper_right_corner():
    (x0, y0), (x1, y1) = places(
        line_chart("Dice", {"mean": [(0, 0.0), (10, 1.0)]}, Axis("steps", 0, 10), Axis("Dice", 0, 1))
    )
    assert (x0, x1) == (62, 418)
    assert (y0, y1) == (184, 14)


def test_a_point_without_a_figure_leaves_a_gap():
    svg = line_chart("Dice", {"a": [(0, 0.1), (1, 0.2), (2, None), (3, 0.3), (4, 0.4)]}, Axis("x"), Axis("y"))
    assert svg.count("<polyline") == 2


def test_charts_say_in_words_what_they_show():
    root = xml.fromstring(line_chart("Loss", {"loss": [(0, 1.5), (9, 0.25)]}, Axis("steps"), Axis("loss")))
    assert root.get("role") == "img"
    assert root.find(f"{NAMESPACE}title").text == "Loss"
    assert root.find(f"{NAMESPACE}desc").text == "loss over steps: loss from 1.5 to 0.25"


def test_names_cannot_break_out_of_the_drawing():
    svg = line_chart("<b>", {'<script>&"': [(0, 1), (1, 2)]}, Axis("<x>"), Axis("&"))
    xml.fromstring(svg)
    assert "<script>" not in svg


def test_nothing_to_draw_gives_nothing():
    assert line_chart("Dice", {"a": [(0, None)]}, Axis("x"), Axis("y")) == ""
    assert spread_chart("Dice", {"a": Spread([], None)}, Axis("Dice")) == ""


def texts(svg: str) -> list[str]:
    return [text.text for text in xml.fromstring(svg).iter(f"{NAMESPACE}text")]


def test_the_legend_names_every_line_with_its_last_figure():
    for count, width in ((7, 9), (7, 40)):
        lines = {f"{i}{'x' * width}": [(0, 0.5), (1, 0.9)] for i in range(count)}
        svg = line_chart("Dice", lines, Axis("x"), Axis("y", 0, 1))
        assert [text for text in texts(svg) if "x" * width in text] == [f"{name} 0.9" for name in lines]
        assert svg.count("<polyline") == svg.count('<line class="line') == count


def test_a_name_that_is_wider_than_the_chart_is_broken_and_not_cut():
    svg = line_chart("Dice", {"x" * 60: [(0, 0.5)], "y": [(0, 0.5)]}, Axis("a"), Axis("b", 0, 1))
    assert "".join(text for text in texts(svg) if "x" in text).count("x") == 60
    assert "y 0.5" in texts(svg)


def test_of_many_lines_the_first_is_named_and_the_others_are_counted():
    svg = line_chart("Dice", {f"s{i}": [(0, 0.5), (1, 0.9)] for i in range(12)}, Axis("x"), Axis("y", 0, 1))
    assert [text for text in texts(svg) if "s0" in text or "other" in text] == ["s0 0.9", "the other 11"]


def test_figures_at_the_ticks_have_as_many_digits_as_each_other():
    svg = line_chart("Dice", {"a": [(0, 0.75), (40, 1.0)]}, Axis("x"), Axis("y"))
    ticks = [text for text in texts(svg)[:-1] if re.fullmatch(r"[\d.]+", text)]
    assert ticks == ["0.75", "0.80", "0.85", "0.90", "0.95", "1.00", "0", "10", "20", "30", "40"]


def test_names_and_figures_of_spreads_are_whole_and_do_not_meet():
    long, short = "x" * 50, "liver"
    svg = spread_chart("HD95", {long: Spread([50.0], 31.4223, 10.797, 50.22), short: Spread([1], 1.0)}, Axis("mm"))
    said = xml.fromstring(svg).iter(f"{NAMESPACE}text")
    shown = {text.text: float(text.get("y")) for text in said if text.get("class") == "row"}
    assert [*shown] == [long, "31.42 [10.80,\u00a050.22]", short, "1.00"]
    assert shown["31.42 [10.80,\u00a050.22]"] > shown[long] + 15
    svg = spread_chart("HD95", {short: Spread([1], 1.0)}, Axis("mm"))
    heights = {text.get("y") for text in xml.fromstring(svg).iter(f"{NAMESPACE}text") if text.get("class") == "row"}
    assert len(heights) == 1


def test_a_spread_has_a_dot_a_case_a_mean_and_an_interval():
    svg = spread_chart(
        "Dice", {"liver": Spread([0.8, 0.9, 0.9], 0.867, 0.8, 0.95), "spleen": Spread([0.5], 0.5)}, Axis("Dice")
    )
    assert (svg.count("<circle"), svg.count('class="mean"'), svg.count('class="interval"')) == (4, 2, 1)
    assert "liver: 3 cases, mean 0.867 [0.800,\u00a00.950]" in svg
