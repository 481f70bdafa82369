"""Charts show what is finite, on a logarithmic scale."""

import xml.etree.ElementTree as ET

import pytest

from bench.simulation.chart import chart


def test_an_image_has_a_line_and_a_name_for_each_policy_and_skips_what_never_ended():
    lines = {"a_b": [(0.5, 10.0), (0.85, 1000.0)], "ours & co": [(0.5, 5.0), (0.85, float("inf"))]}
    image = ET.fromstring(chart("title", "load", "p99", lines, own="ours & co", tick=".0%"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    corners = [line.get("points").split() for line in image.findall("svg:polyline", space)]
    assert [len(points) for points in corners] == [2, 1]
    low, high = (float(point.split(",")[1]) for point in corners[0])
    assert low > high  # SVG counts downwards
    words = {text.text for text in image.iter("{http://www.w3.org/2000/svg}text")}
    assert {"title", "a b", "ours & co", "50%", "85%", "10 ms", "1 s"} <= words


def test_equal_steps_of_ten_are_equally_far_apart():
    image = ET.fromstring(chart("t", "x", "y", {"a": [(2, 1.0), (4, 10.0), (8, 100.0)]}, own="a"))
    points = image.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    one, two, three = (float(point.split(",")[1]) for point in points)
    assert one - two == pytest.approx(two - three, abs=0.1)


def test_an_image_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw in 'title'"):
        chart("title", "load", "p99", {"a": [(1, float("inf"))]}, own="a")
