"""The index of a class over all its lessons: means worked by hand, and lessons that are not comparable kept apart."""

import csv
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("sqlalchemy", reason="the live extra is not installed")

from fer_lab.errors import FerLabError
from fer_lab.live.store import open_store
from fer_lab.live.summarise import class_rows, summarise
from fer_lab.schema import compose

NAMES, WEIGHTS = ["happy", "sad"], {"happy": 1.0, "sad": -1.0}


def lesson(store, class_name, values, segments=(), weights=WEIGHTS, day=1):
    """A lesson of one second a value, the index of which it is; segments: (start, end, title)."""
    number = store.start_lesson(
        title="t", class_name=class_name, teacher="ada", purpose="research", model_key="k", class_names=NAMES,
        weights=weights, min_group=5, started=datetime(2026, 1, day, tzinfo=UTC) + timedelta(hours=8),
    )  # fmt: skip
    for second, lsi in enumerate(values):
        store.add_second(number, second, 6 + second, 5, [(1 + lsi) / 2, (1 - lsi) / 2], lsi, lsi - 0.1, lsi + 0.1)
    for start, end, title in segments:
        store.add_segment(number, start, end, title, 6, [0.5, 0.5], 0.0, -0.1, 0.1)
    return number


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lessons.sqlite"
    store = open_store(path)
    lesson(store, "4b", [0.2, 0.4, -0.6, -0.8], [(0, 2, "talk"), (2, 4, "quiz")])
    lesson(store, "4b", [0.6], [(0, 60, "talk")], day=2)
    lesson(store, "4a", [0.5, 0.5])
    lesson(store, "4a", [], day=2)  # nobody was seen
    store.close()
    return path


def test_a_class_over_its_lessons_and_segments_by_hand(path, tmp_path) -> None:
    rows = summarise(compose("summarise", [f"store={path}", f"sink={tmp_path / 'out'}"]))["rows"]
    assert [(row["class"], row["segment"], row["lessons"], row["seconds"]) for row in rows] == [
        ("4a", "", 1, 2), ("4b", "", 2, 5), ("4b", "talk", 2, 3), ("4b", "quiz", 1, 2)
    ]  # fmt: skip
    whole, talk = rows[1], rows[2]
    assert whole["lsi"] == pytest.approx((0.2 + 0.4 - 0.6 - 0.8 + 0.6) / 5)
    assert (whole["lowest"], whole["highest"]) == pytest.approx((-0.2, 0.6))
    assert whole["faces"] == pytest.approx((6 + 7 + 8 + 9 + 6) / 5)
    assert talk["lsi"] == pytest.approx(0.4)
    assert (talk["lsi_low"], talk["lsi_high"]) == pytest.approx((0.3, 0.5))
    assert talk["happy"] == pytest.approx(0.7)
    kept = list(csv.DictReader((tmp_path / "out" / "classes.csv").open()))
    assert [float(row["lsi"]) for row in kept] == [row["lsi"] for row in rows]


def test_other_weights_are_never_averaged(path) -> None:
    store = open_store(path)
    lesson(store, "4a", [-1.0], weights={"happy": 2.0, "sad": 0.0}, day=3)
    rows = [row for row in class_rows(store) if row["class"] == "4a"]
    store.close()
    assert [(row["weights"], row["lsi"]) for row in rows] == [(1, 0.5), (2, -1.0)]


def test_equal_titles_in_a_lesson_are_one_segment(path) -> None:
    store = open_store(path)
    lesson(store, "4c", [0.0, 0.3, 0.6], [(0, 1, "talk"), (2, 3, "talk")])
    (talk,) = [row for row in class_rows(store) if row["class"] == "4c" and row["segment"]]
    store.close()
    assert (talk["lessons"], talk["seconds"], talk["lsi"]) == (1, 2, pytest.approx(0.3))


def test_no_store_and_an_empty_one(tmp_path) -> None:
    with pytest.raises(FerLabError, match="does not exist"):
        summarise(compose("summarise", [f"store={tmp_path / 'none.sqlite'}"]))
    assert not (tmp_path / "none.sqlite").exists()
    open_store(tmp_path / "empty.sqlite").close()
    with pytest.raises(FerLabError, match="holds no second"):
        summarise(compose("summarise", [f"store={tmp_path / 'empty.sqlite'}"]))
