"""Who sees what of the lessons, and what of it is written down."""

import csv
import io
import re
from typing import Any

import pytest

from fer_lab.dashboard import accounts

from .conftest import EVIL, PASSWORD, add_lesson, csrf, sign_in


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


@pytest.mark.parametrize(
    "number", ["99999999999999999999", "2147483648", "-1", "1%20OR%201=1", "1;drop%20table%20users"]
)
def test_numbers_that_are_no_lesson(number, browse):
    assert browse("root").get(f"/lessons/{number}").status_code == 404


def test_researchers_get_means_and_no_series(browse):
    client = browse("rita")
    page = client.get("/lessons/1")
    assert "+0.50" in page.text
    for absent in ("data-points", "Minute by minute", "seconds.csv", "LSI over time"):
        assert absent not in page.text
    assert " ada " not in plain(page.text)  # the teacher
    # the second segment has 30 seconds, less than the 60 that an aggregate takes
    assert "Long part" in page.text
    assert "Short part" not in page.text
    assert [row[2] for row in rows(client.get("/lessons/1/segments.csv").text)] == ["title", "Long part"]
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
    store.add_second(3, 40, 7.0, [0.1, 0.2, 0.7], -0.5, -0.7, -0.3)
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


def test_a_recording_worked_through_slowly_is_shown_while_it_goes_on(browse, store):
    lesson = add_lesson(store, "Slow", "7a", 0.5, 40, ended=False, ago=1000)
    client = browse("ada", "dashboard.fresh_s=600")
    assert "too few faces" in plain(client.get(f"/lessons/{lesson}/panel").text).partition("Early")[0]
    store.add_second(lesson, 40, 6.0, [0.6, 0.3, 0.1], 0.5, 0.25, 0.75)
    assert "Now at 0:40 +0.50 LSI" in plain(client.get(f"/lessons/{lesson}/panel").text)


def test_a_lesson_recorded_with_a_smaller_group_is_not_shown_either(browse, store):
    lesson = store.start_lesson(
        title="Three of us", class_name="7a", teacher="", purpose="research", model_key="0",
        class_names=["happy", "sad"], weights={"happy": 1.0, "sad": -1.0}, min_group=1,
    )  # fmt: skip
    for second in range(30):
        store.add_second(lesson, second, 3.0, [0.81, 0.19], 0.62, 0.5, 0.7)
    store.add_segment(lesson, 0.0, 20.0, "Part", 3.0, [0.81, 0.19], 0.62, 0.5, 0.7)
    client = browse("root")
    for path in ("", "/panel", "/summary", "/seconds.csv", "/segments.csv"):
        assert "0.62" not in client.get(f"/lessons/{lesson}{path}").text
    for path in ("/", "/lessons.csv", f"/compare?lesson=1&lesson={lesson}"):
        assert "0.62" not in client.get(path).text


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
