"""Charts: well-formed, described in words, and drawn where the figures are."""

import itertools
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
    assert (x0, x1) == (64, 400)
    assert (y0, y1) == (214, 14)


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


def test_labels_at_line_ends_do_not_lie_on_one_another():
    lines = {f"structure {i}": [(0, 0.5), (1, 0.9)] for i in range(7)}
    svg = line_chart("Dice", lines, Axis("x"), Axis("y", 0, 1))
    heights = [float(height) for height in re.findall(r'class="end[^"]*" x="\d+" y="([\d.]+)"', svg)]
    assert len(heights) == 7
    assert all(b - a >= 14.9 for a, b in itertools.pairwise(heights))


def test_a_spread_has_a_dot_a_case_a_mean_and_an_interval():
    svg = spread_chart(
        "Dice", {"liver": Spread([0.8, 0.9, 0.9], 0.867, 0.8, 0.95), "spleen": Spread([0.5], 0.5)}, Axis("Dice")
    )
    assert (svg.count("<circle"), svg.count('class="mean"'), svg.count('class="interval"')) == (4, 2, 1)
    assert "liver: 3 cases, mean 0.867 [0.8, 0.95]" in svg
