"""Shapes of a lesson, in numbers worked out by hand."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.dashboard import charts
from fer_lab.dashboard.charts import (
    bin_width,
    binned_means,
    clock,
    css_name,
    lesson_chart,
    mix_bar,
    overlay,
    stacked,
    ticks,
)  # fmt: skip
from fer_lab.dashboard.views import Mean, Part, Series
from fer_lab.dashboard.warning_rules import Warned
from fer_lab.dashboard.words import place, signed
from fer_lab.schema import compose

NAMES, WEIGHTS = ["angry", "happy"], {"angry": -1.0, "happy": 1.0}


def series(seconds: list[int], lsi: list[float]) -> Series:
    happy = (np.array(lsi, float) + 1) / 2
    values = np.array(lsi, float)
    p = np.column_stack([1 - happy, happy])
    return Series(np.array(seconds, int), np.full(len(lsi), 6.0), p, values, values - 0.1, values + 0.1)


def test_a_line_with_a_gap():
    chart = lesson_chart(series([0, 1, 30], [0.0, 1.0, -1.0]), 60, NAMES, WEIGHTS, [], [])
    # 60 seconds on 1000 units; LSI 1 is the top (0), -1 the bottom (100); a run reaches from edge to edge
    assert chart.line == "M0.0 50.0L8.3 50.0L25.0 0.0L33.3 0.0M500.0 100.0L508.3 100.0L516.7 100.0"
    assert [(gap.x, gap.width) for gap in chart.gaps] == [(3.333, 46.667)]
    assert chart.band.startswith("M0.0 55.0L8.3 55.0L25.0 5.0")
    points = json.loads(chart.points)
    assert [point[0] for point in points] == [0, 1, 30]
    assert points[1] == [1, 1.0, 0.9, 1.1, 0.0, 1.0]
    assert json.loads(chart.names) == ["LSI", "low", "high", *NAMES]


def test_the_mix_is_stacked_from_the_best_to_the_worst():
    assert stacked(NAMES, WEIGHTS) == [1, 0]
    chart = lesson_chart(series([0], [0.5]), 60, NAMES, WEIGHTS, [], [])
    (_, lower, first), (_, upper, second) = chart.areas
    assert (lower, upper) == ("happy", "angry")
    assert {float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", first)} == {100.0, 25.0}
    assert {float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", second)} == {25.0, 0.0}
    assert mix_bar([0.25, 0.75], NAMES, WEIGHTS) == [("happy", "happy", 0.0, 75.0), ("angry", "angry", 75.0, 25.0)]


def test_segments_and_warnings_lie_where_they_were():
    part = Part(30.0, 90.0, "Part", Mean(60, 6.0, np.empty(0), 0.0, 0.0, 0.0))
    chart = lesson_chart(series([0], [0.0]), 120, NAMES, WEIGHTS, [part], [Warned("Drop", "", [(60, 89)], False)])
    assert [(s.x, s.width, s.label) for s in chart.segments] == [(25.0, 50.0, "Part")]
    assert [(a.x, a.width, a.label) for a in chart.alerts] == [(50.0, 25.0, "Drop")]


def test_nothing_yet():
    empty = Series(np.empty(0, int), np.empty(0), np.empty((0, 2)), np.empty(0), np.empty(0), np.empty(0))
    chart = lesson_chart(empty, 0, NAMES, WEIGHTS, [], [])
    assert (chart.line, chart.points, chart.gaps) == ("", "[]", [])
    assert overlay([empty]).areas == [("s0", "1", "")]


def test_long_lessons_are_binned():
    assert [bin_width(length) for length in (60, 180, 181, 5400)] == [1, 1, 2, 30]
    means = binned_means(series([0, 1, 4], [0.0, 1.0, 0.5]), np.array([[0.0], [1.0], [0.5]]), 2)
    np.testing.assert_array_equal(means, [[0.5], [np.nan], [0.5]])


@given(st.integers(1, 100_000))
def test_marks_are_few_and_inside(length):
    marks = ticks(length)
    assert 1 <= len(marks) <= 8
    assert all(0 <= percent < 95 for percent, _ in marks)


#: Linear RGB as seen without one kind of cone (Machado, Oliveira and Fernandes 2009, table 1, severity 1.0).
VISION = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_neighbours_in_the_stack_are_told_apart_with_any_colour_vision(vision, scheme):
    css = (Path(charts.__file__).parent / "static" / "charts.css").read_text()
    weights = compose("live").live.weights
    names = [list(weights)[index] for index in stacked(list(weights), weights)]
    assert "contempt" in names
    shown = [
        re.findall("#[0-9a-f]{6}", re.search(rf"--{name}: ([^;]+);", css)[1])[-1 if scheme else 0] for name in names
    ]
    rgb = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in shown]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1).astype(np.float32)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_LRGB2Lab)[0]
    assert np.linalg.norm(np.diff(lab, axis=0), axis=1).min() > 20  # CIE 1976; 2.3 is just noticeable


def test_words():
    assert [clock(s) for s in (0, 65, 3665)] == ["0:00", "1:05", "1:01:05"]
    assert [signed(v) for v in (0.314, -0.2, -0.001, 0.0)] == ["+0.31", "−0.20", "0.00", "0.00"]
    assert [place(v) for v in (-1, 0, 0.5, 7)] == ["0.00%", "50.00%", "75.00%", "100.00%"]
    assert (css_name("happy"), css_name("x y")) == ("happy", "other")
