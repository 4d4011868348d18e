"""Who sees what of the lessons, and what of it is written down."""

import csv
import io
import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.dashboard import accounts, views
from fer_lab.dashboard.views import Mean, Part
from fer_lab.live.store_tables import Lesson, LessonSecond, LessonSegment

from .conftest import EVIL, PASSWORD, WEIGHTS, add_lesson, csrf, sign_in


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def plain(html: str) -> str:
    """The text of a page, blanks collapsed."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


#: status of (list, own lesson, other lesson, running lesson, its panel, seconds.csv, segments.csv, summary, users, log)
SEEN = {
    "root": (200, 200, 200, 200, 200, 200, 200, 200, 200, 200),
    "ada": (200, 200, 404, 200, 200, 200, 200, 200, 403, 403),
    "rita": (200, 200, 200, 404, 403, 403, 200, 200, 403, 403),
    "nemo": (200, 404, 404, 404, 404, 404, 404, 404, 403, 403),
    None: (303, 303, 303, 303, 401, 303, 303, 303, 303, 303),
}
PATHS = ("/", "/lessons/1", "/lessons/2", "/lessons/3", "/lessons/3/panel", "/lessons/1/seconds.csv",
         "/lessons/1/segments.csv", "/lessons/1/summary", "/users", "/log")  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_roles(name, browse):
    client = browse(name)
    assert tuple(client.get(path).status_code for path in PATHS) == SEEN[name]


def test_a_lesson_of_another_class_is_as_if_it_were_not_there(browse, store):
    client = browse("ada")
    other, none = client.get("/lessons/2"), client.get("/lessons/77")
    assert (other.status_code, other.text) == (none.status_code, none.text)
    for path in ("/", "/?class=8b"):
        text = client.get(path).text
        assert "8b" not in plain(text)  # not among the attributes: a random token may hold these letters
        assert "class=8b" not in text
    assert client.get("/compare?lesson=1&lesson=2").status_code == 404
    assert "alert" not in client.get("/lessons.csv").text
    entries = [(entry.action, entry.lesson_id) for entry in accounts.noted(store) if "refused" in entry.action]
    assert entries == [("refused or missing lesson", key) for key in (2, 77, 2)]


@pytest.mark.parametrize("number", ["9" * 20, "9" * 5000, "2147483648", "-1", "1%20OR%201=1", "1;drop%20table%20users"])
def test_numbers_that_are_no_lesson(number, browse):
    client = browse("root")
    for path in ("", "/panel", "/summary", "/seconds.csv", "/segments.csv"):
        assert client.get(f"/lessons/{number}{path}").status_code == 404


def test_researchers_get_means_and_no_series(browse):
    client = browse("rita")
    page = client.get("/lessons/1")
    assert "+0.50" in page.text
    for absent in ("data-points", "Minute by minute", "seconds.csv", "LSI over time"):
        assert absent not in page.text
    assert " ada " not in plain(page.text)  # the teacher
    # the second segment has 30 seconds, less than the 60 that an aggregate takes; the first would give it away
    for absent in ("Long part", "Short part"):
        assert absent not in page.text
    assert [row[2] for row in rows(client.get("/lessons/1/segments.csv").text)] == ["title"]
    assert "data-points" not in client.get("/lessons/1/summary").text
    assert 'class="line s0"' not in client.get("/compare?lesson=1&lesson=2").text
    listed = rows(client.get("/lessons.csv").text)
    assert "teacher" not in listed[0]
    assert [row[0] for row in listed[1:]] == ["2", "1"]  # the running one's mean would give its seconds away


def test_researchers_get_no_mean_over_a_short_lesson(browse, store):
    short = add_lesson(store, "Short", "7a", 0.5, 40)
    client = browse("rita")
    assert "too few moments" in client.get(f"/lessons/{short}").text
    assert "+0.50" not in client.get(f"/lessons/{short}").text
    (row,) = [row for row in rows(client.get("/lessons.csv").text) if row[0] == str(short)]
    assert row[-5:] == [""] * 5


def test_what_people_wrote_is_text_everywhere(browse):
    client = browse("root")
    for path in ("/", "/lessons/2", "/lessons/2/summary", "/compare?lesson=2&lesson=1", "/log"):
        text = client.get(path).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text
    assert "<b>x" not in client.get("/?class=<b>x").text
    assert "<b>x" not in sign_in(browse(), "<b>x", next="/<b>x").text


def test_a_live_lesson(browse, store):
    client = browse("ada", "dashboard.fresh_s=600")
    first = plain(client.get("/lessons/3").text)
    assert "Now at 0:39 +0.50 LSI" in first
    assert "95 % band +0.25 to +0.75 · 6 faces" in first
    panel = client.get("/lessons/3/panel")
    version = panel.headers["x-version"]
    assert client.get(f"/lessons/3/panel?version={version}").status_code == 204
    store.add_second(3, 40, 7.0, 6, [0.1, 0.2, 0.7], -0.5, -0.7, -0.3)
    news = client.get(f"/lessons/3/panel?version={version}")
    assert "Now at 0:40 −0.50 LSI" in plain(news.text)
    assert "x-ended" not in news.headers
    store.end_lesson(3)
    assert client.get(f"/lessons/3/panel?version={news.headers['x-version']}").headers["x-ended"] == "1"


def test_a_moment_with_too_few_faces_shows_no_number(browse, store):
    lesson = add_lesson(store, "Left", "7a", 0.5, 40, ended=False, ago=20)  # nothing for twenty seconds
    text = plain(browse("ada").get(f"/lessons/{lesson}").text)
    now = text.partition("Now")[2].partition("Early warnings")[0]
    assert "too few faces" in now
    assert "fewer than 5 faces" in now
    assert not re.search(r"[+−]\d", now)


def test_an_early_warning_is_over_when_nothing_new_comes(browse, store):
    def lesson(ago: int) -> str:
        made = add_mixed(store, [], [0.6] * 700 + [-0.2] * 130, [9] * 830, ended=False, ago=ago)
        warnings = client.get(f"/lessons/{made}").text.partition("Early warnings")[2].partition("</section>")[0]
        return re.sub(r"\s+", " ", warnings)

    client = browse("ada", "dashboard.fresh_s=60")
    now, old = lesson(830), lesson(1800)
    assert '<li class="on">' in now
    assert "<strong>since 12" in now
    assert '<li class="on">' not in old
    assert re.search(r"<span>12:\d\d–13:49</span>", old)


def test_a_comparison_says_what_the_lessons_do_not_share(browse, store):
    client = browse("root")

    def remarks(*lessons: int) -> list[bool]:
        text = client.get("/compare?" + "&".join(f"lesson={lesson}" for lesson in lessons)).text
        return [words in text for words in ("different weights of the index", "judged by different models")]

    assert remarks(1, 2) == [False, False]
    with store.writing() as session:
        session.get(Lesson, 2).model_key = "1" * 16
        session.get(Lesson, 3).weights = WEIGHTS | {"angry": -0.5}
    assert remarks(1, 2) == [False, True]
    assert remarks(1, 3) == [True, False]
    assert remarks(1, 2, 3) == [True, True]


def test_a_recording_worked_through_slowly_is_shown_while_it_goes_on(browse, store):
    lesson = add_lesson(store, "Slow", "7a", 0.5, 40, ended=False, ago=1000)
    client = browse("ada", "dashboard.fresh_s=600")
    assert "too few faces" in plain(client.get(f"/lessons/{lesson}/panel").text).partition("Early")[0]
    store.add_second(lesson, 40, 6.0, 6, [0.6, 0.3, 0.1], 0.5, 0.25, 0.75)
    assert "Now at 0:40 +0.50 LSI" in plain(client.get(f"/lessons/{lesson}/panel").text)


def add_mixed(
    store: Any, parts: list[tuple[float, float]], lsi: list[float], fewest: list[int], ended: bool = True, ago: int = 0
) -> int:
    """A lesson of two emotions, recorded with groups of one: 9 faces on average in every second."""
    lesson = store.start_lesson(
        title="Three of us", class_name="7a", teacher="", purpose="research", model_key="0",
        class_names=["happy", "sad"], weights={"happy": 1.0, "sad": -1.0}, min_group=1,
        started=datetime.now(UTC) - timedelta(seconds=ago),
    )  # fmt: skip
    columns = [
        {"faces": 9.0, "probabilities": [(1 + x) / 2, (1 - x) / 2], "lsi": x, "lsi_low": x, "lsi_high": x} for x in lsi
    ]
    with store.writing() as session:
        session.add_all(
            LessonSecond(lesson_id=lesson, second=second, fewest=few, **own)
            for second, (own, few) in enumerate(zip(columns, fewest, strict=True))
        )
        session.add_all(
            LessonSegment(lesson_id=lesson, title=f"Part {start:g}", start_s=start, end_s=end, **columns[0])
            for start, end in parts
        )
    if ended:
        store.end_lesson(lesson)
    return lesson


def test_nothing_is_shown_of_a_second_in_which_few_faces_were_seen_for_a_while(browse, store):
    # one frame of one face and one of 17: nine on average
    lesson = add_mixed(store, [(0, 30)], [0.62] * 30, [1] * 30)
    client = browse("root")
    for path in ("", "/panel", "/summary", "/seconds.csv", "/segments.csv"):
        text = client.get(f"/lessons/{lesson}{path}").text
        assert "0.62" not in text
        assert "0.8100" not in text
    for path in ("/", "/lessons.csv", f"/compare?lesson=1&lesson={lesson}"):
        assert "0.62" not in client.get(path).text


def test_a_hidden_second_is_in_no_mean(browse, store):
    lsi = [0.2] * 9 + [-1.0]
    lesson = add_mixed(store, [(0, 10)], lsi, [9] * 9 + [4])
    client = browse("root")
    (_, segment) = rows(client.get(f"/lessons/{lesson}/segments.csv").text)
    assert segment[4:] == ["0.6000", "0.4000", "0.2000", "0.2000", "0.2000"]
    (row,) = [row for row in rows(client.get("/lessons.csv").text) if row[0] == str(lesson)]
    assert row[-5:] == ["9", "9.0000", "0.2000", "0.2000", "0.2000"]
    page = plain(client.get(f"/lessons/{lesson}").text)
    assert "+0.20" in page
    assert "+0.08" not in page  # the mean with it
    hidden = add_mixed(store, [(0, 10)], lsi, [4] * 10)
    assert len(rows(client.get(f"/lessons/{hidden}/segments.csv").text)) == 1


def parts_of(*spans: tuple[int, int]) -> list[Part]:
    nothing = np.empty(0)
    return [Part(start, end, "", Mean(end - start, 9.0, nothing, 0.0, 0.0, 0.0)) for start, end in spans]


@pytest.mark.parametrize(
    ("whole", "spans", "shown"),
    [
        (121, [(0, 120)], []),  # the last second would be the difference
        (120, [(0, 120)], [(0, 120)]),
        (180, [(0, 120)], [(0, 120)]),
        (200, [(0, 80), (80, 170), (170, 200)], [(80, 170)]),  # without the 80 too, 110 are left
        (200, [(0, 80), (80, 200)], [(0, 80), (80, 200)]),
        (400, [(0, 120), (1, 122), (200, 300)], [(1, 122), (200, 300)]),  # the first two differ by seconds
        (400, [(0, 300), (0, 299)], [(0, 300)]),
        (59, [(0, 59)], []),
        (0, [], []),
    ],
)
def test_what_means_give_away_by_hand(whole, spans, shown):
    assert [(part.start_s, part.end_s) for part in views.apart(parts_of(*spans), whole, 60)] == shown


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=5), st.integers(0, 20), st.integers(2, 15))
def test_no_sum_or_difference_of_shown_means_is_over_few_seconds(spans, more, least):
    parts = parts_of(*((start, start + length) for start, length in spans))
    whole = max([0, *(int(part.end_s) for part in parts)]) + more
    shown = views.apart(parts, whole, least)
    assert not shown or whole >= least
    second = np.arange(whole)
    told = [(second >= part.start_s) & (second < part.end_s) for part in shown]
    told += [second >= 0] if whole >= least else []
    signs = np.array(list(itertools.product((-1, 0, 1), repeat=len(told))))
    involved = np.count_nonzero(signs @ np.array(told, int).reshape(len(told), whole), axis=1)
    assert not ((involved > 0) & (involved < least)).any()


def test_a_researcher_cannot_subtract_a_part_from_the_whole(browse, store):
    lesson = add_mixed(store, [(0, 120)], [0.5] * 120 + [-0.9], [9] * 121)
    assert len(rows(browse("rita").get(f"/lessons/{lesson}/segments.csv").text)) == 1
    assert len(rows(browse("root").get(f"/lessons/{lesson}/segments.csv").text)) == 2
    lesson = add_mixed(store, [(0, 120)], [0.5] * 180, [9] * 180)
    assert len(rows(browse("rita").get(f"/lessons/{lesson}/segments.csv").text)) == 2


def test_a_lesson_without_any_moment(browse, store):
    lesson = store.start_lesson(
        title="Empty", class_name="7a", teacher="ada", purpose="research", model_key="0", class_names=["happy", "sad"],
        weights={"happy": 1.0, "sad": -1.0}, min_group=5,
    )  # fmt: skip
    client = browse("ada")
    assert "too few faces" in client.get(f"/lessons/{lesson}").text
    store.end_lesson(lesson)
    for path in (f"/lessons/{lesson}", f"/lessons/{lesson}/summary", f"/compare?lesson=1&lesson={lesson}", "/"):
        page = client.get(path)
        assert page.status_code == 200
        assert "too few faces" in page.text
    assert len(rows(client.get(f"/lessons/{lesson}/seconds.csv").text)) == 1


def test_a_comparison_in_numbers(browse):
    text = plain(browse("root").get("/compare?lesson=1&lesson=2&lesson=1").text)
    assert "+0.50" in text
    assert "−0.50 −1.00" in text  # its mean, and the difference to the first
    assert "Choose two to 6" in plain(browse("root").get("/compare?lesson=1").text)


def test_exports(browse):
    client = browse("ada")
    answer = client.get("/lessons/1/seconds.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'attachment; filename="lesson_1_seconds.csv"' in answer.headers["content-disposition"]
    table = rows(answer.text)
    assert table[0] == ["second", "faces", "happy", "neutral", "angry", "lsi", "lsi_low", "lsi_high"]
    assert len(table) == 101
    assert table[1] == ["0", "6.0000", "0.6000", "0.3000", "0.1000", "0.5000", "0.2500", "0.7500"]
    segments = rows(client.get("/lessons/1/segments.csv").text)
    assert [row[:3] for row in segments[1:]] == [
        ["0.0000", "70.0000", "Long part"],
        ["70.0000", "100.0000", "Short part"],
    ]


@pytest.mark.parametrize("title", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_cell_is_a_formula(title, browse, store):
    add_lesson(store, title, "7a", 0.5, 40)
    titles = [row[1] for row in rows(browse("ada").get("/lessons.csv").text)]
    assert f"'{title}" in titles


def test_who_saw_what_is_in_the_log(browse, store):
    client = browse("ada")
    for path in ("/lessons/1", "/lessons/3", "/lessons/3/panel", "/lessons/1/summary", "/lessons/1/seconds.csv"):
        client.get(path)
    client.get("/users")
    seen = [(entry.user, entry.action, entry.lesson_id) for entry in reversed(accounts.noted(store))]
    assert seen == [
        ("ada", "signed in", None),
        ("ada", "saw lesson", 1),
        ("ada", "watched live", 3),
        ("ada", "summary", 1),
        ("ada", "exported seconds", 1),
        ("ada", "refused: /users", None),
    ]
    page = browse("root").get("/log").text
    assert "exported seconds" in page
    assert browse("root").get("/log?before=x").status_code == 200
    assert "watched live" not in browse("root").get("/log?before=2").text


def test_a_lesson_that_is_only_read_by_its_panel_is_in_the_log_once(browse, store):
    client = browse("ada")
    version = client.get("/lessons/3/panel").headers["x-version"]
    client.get("/lessons/3/panel")
    browse("ada").get(f"/lessons/3/panel?version={version}")  # another login, which says that it has seen all
    browse("ada").get("/lessons/1/panel")
    entries = [(entry.action, entry.lesson_id) for entry in reversed(accounts.noted(store))]
    assert [entry for entry in entries if entry[1]] == [("watched live", 3), ("watched live", 3), ("saw lesson", 1)]


def test_admins_manage_accounts(browse, store):
    root, ada = browse("root"), browse("ada")

    def do(**fields: str) -> Any:
        return root.post("/users", data={"csrf": csrf(root.get("/users").text)} | fields)

    added = do(do="add", name="grace", role="teacher", classes="8b, 7a ,", password=PASSWORD)
    assert "grace may sign in now" in added.text
    assert browse("grace").get("/lessons/2").status_code == 200
    assert do(do="add", name="grace", role="teacher", password=PASSWORD).status_code == 400
    assert do(do="add", name="x y", role="teacher", password=PASSWORD).status_code == 400
    assert do(do="add", name="eve", role="owner", password=PASSWORD).status_code == 400
    assert do(do="add", name="eve", role="teacher", password="short").status_code == 400
    assert ada.get("/lessons/1").status_code == 200
    assert do(do="change", name="ada", role="teacher", classes="8b", password="").status_code == 200
    assert ada.get("/lessons/1").headers["location"].startswith("/login")  # her login ended with the change
    assert browse("ada").get("/lessons/1").status_code == 404
    assert do(do="remove", name="ada").status_code == 200
    assert sign_in(browse(), "ada").status_code == 401
    last = do(do="change", name="root", role="teacher", classes="", password="")
    assert (last.status_code, "is the last admin" in last.text.replace("&#39;", "'")) == (400, True)
    assert do(do="remove", name="root").status_code == 400
    assert "add user grace as teacher" in root.get("/log").text


def test_a_broken_store_is_one_sentence(browse, store, monkeypatch):
    from fer_lab.errors import FerLabError

    client = browse("ada")
    monkeypatch.setattr(
        store, "lessons", lambda *_: (_ for _ in ()).throw(FerLabError("The store does not take this."))
    )
    page = client.get("/")
    assert (page.status_code, "The store does not take this." in page.text) == (503, True)
