"""Content segments: what a csv may say, and which seconds belong where."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.errors import FerLabError
from fer_lab.live.segments import Segment, SegmentMeans, read_segments
from fer_lab.live.summary import Second


def second(number: int, lsi: float = 0.0) -> Second:
    return Second(number, 6.0, 5 + number % 2, np.array([(1 + lsi) / 2, (1 - lsi) / 2]), lsi, 0.1)


def test_times_in_seconds_minutes_or_hours(tmp_path):
    path = tmp_path / "plan.csv"
    path.write_text(
        "\ufefftitle,start,end\nLater,1:00:00,1:00:30.5\n Intro ,0,90\nMiddle,1:30,2:00\n", encoding="utf-8"
    )
    assert read_segments(path) == [
        Segment(0, 90, "Intro"),
        Segment(90, 120, "Middle"),
        Segment(3600, 3630.5, "Later"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("begin,end,title\n0,1,x\n", "'start' does not fit; a line needs start, end"),
        ("start,end,title\n0,soon,x\n", "soon.* does not fit"),
        ("start,end,title\n0,-1,x\n", "'-1' does not fit"),
        ("start,end,title\n0,inf,x\n", "'inf' does not fit"),
        ("start,end,title\n0\n", "does not fit"),
        ("start,end,title\n5,5,x\n", r"'x' \(5 to 5 s\) must end after it starts"),
        ("start,end,title\n0,5,x\n4,9,y\n", r"'x' \(0 to 5 s\) must end after it starts, and before the next begins"),
    ],
)
def test_what_a_plan_may_not_say(text, sentence, tmp_path):
    path = tmp_path / "plan.csv"
    path.write_text(text)
    with pytest.raises(FerLabError, match=sentence):
        read_segments(path)


def test_a_segment_is_the_mean_of_its_stored_seconds_and_kept_when_it_ends():
    kept = []
    means = SegmentMeans([Segment(1, 3, "a"), Segment(3, 4, "b"), Segment(6, 9, "c")], lambda s, m: kept.append((s, m)))
    for number, lsi in ((0, 1.0), (1, 0.5), (2, -0.1), (5, 1.0)):  # none stored of segment b
        means.add(second(number, lsi))
        if number == 2:
            assert kept == []
    assert [(segment.title, mean.second) for segment, mean in kept] == [("a", 2)]
    assert kept[0][1].lsi == pytest.approx(0.2)
    assert kept[0][1].deviation == pytest.approx(0.1)
    means.add(second(8, 0.3))
    means.close()
    means.close()
    assert [(segment.title, mean.lsi) for segment, mean in kept[1:]] == [("c", 0.3)]


@given(st.lists(st.integers(0, 50), unique=True).map(sorted), st.lists(st.integers(0, 50), unique=True).map(sorted))
def test_every_stored_second_is_in_at_most_one_segment(numbers, cuts):
    segments = [Segment(a, b, f"{a}") for a, b in itertools.pairwise(cuts)]
    kept: list[Second] = []
    means = SegmentMeans(segments, lambda segment, mean: kept.append(mean))
    for number in numbers:
        means.add(second(number))
    means.close()
    inside = [n for n in numbers if cuts and cuts[0] <= n < cuts[-1]]
    assert sum(mean.second for mean in kept) == len(inside)
