"""Lessons in SQLite: what comes back, what never gets in, and many writers at once."""

import multiprocessing
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fer_lab.errors import FerLabError

pytest.importorskip("sqlalchemy", reason="the live extra is not installed")
from fer_lab.live import store as store_module
from fer_lab.live.store import Store, open_store
from fer_lab.live.store_tables import Access, User, WebSession

LESSON = {
    "title": "Fractions", "class_name": "4b", "teacher": "ada", "purpose": "research", "model_key": "0" * 16,
    "class_names": ("happy", "sad"), "weights": {"happy": 1.0, "sad": -1.0}, "min_group": 5,
}  # fmt: skip
VALUES = ([0.75, 0.25], 0.5, 0.2, 0.8)
SECOND, SEGMENT = (6.5, 5, *VALUES), (6.5, *VALUES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "lessons.sqlite")


def test_what_is_written_is_read_by_another(store, tmp_path):
    lesson = store.start_lesson(**LESSON)
    for second in (0, 1, 3):
        store.add_second(lesson, second, *SECOND)
    store.add_segment(lesson, 0.0, 2.0, "Introduction", *SEGMENT)

    other = open_store(f"sqlite:///{tmp_path / 'lessons.sqlite'}")
    (found,) = other.lessons()
    assert (found.id, found.title, found.ended, found.class_names) == (lesson, "Fractions", None, ["happy", "sad"])
    assert abs(datetime.now(UTC) - found.started) < timedelta(minutes=1)
    assert [row.second for row in other.seconds(lesson)] == [0, 1, 3]
    (last,) = other.seconds(lesson, since=1)
    assert (last.faces, last.fewest, last.probabilities, last.lsi, last.lsi_low, last.lsi_high) == SECOND
    assert [(row.start_s, row.end_s, row.title) for row in other.segments(lesson)] == [(0, 2, "Introduction")]
    store.end_lesson(lesson)
    assert other.lesson(lesson).ended >= found.started


def test_lessons_of_some_classes_newest_first(store):
    first = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [
        store.start_lesson(**LESSON | {"class_name": name}, started=first + timedelta(days=day))
        for day, name in enumerate(("4a", "4b", "4a"))
    ]
    assert [lesson.id for lesson in store.lessons()] == ids[::-1]
    assert [lesson.id for lesson in store.lessons(["4a"])] == [ids[2], ids[0]]
    assert store.lessons([]) == []


def test_too_few_faces_never_get_in(store):
    lesson = store.start_lesson(**LESSON)
    with pytest.raises(FerLabError, match=r"4 faces are no group of 5"):
        store.add_second(lesson, 0, 6.5, 4, *VALUES)
    with pytest.raises(FerLabError, match=r"4\.9 faces are no group of 5"):
        store.add_segment(lesson, 0.0, 2.0, "Part", 4.9, *VALUES)
    with pytest.raises(FerLabError, match="no lesson 77"):
        store.add_second(77, 0, *SECOND)
    assert store.seconds(lesson) == []


def test_no_column_for_a_single_person(tmp_path, store):
    with sqlite3.connect(tmp_path / "lessons.sqlite") as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: {row[1] for row in plain.execute(f"PRAGMA table_info({table})")} for table in tables}
    values = {"faces", "probabilities", "lsi", "lsi_low", "lsi_high"}
    assert columns == {
        "lessons": {*LESSON, "id", "started", "ended", "privacy"},
        "seconds": {"lesson_id", "second", "fewest", *values},
        "segments": {"lesson_id", "start_s", "end_s", "title", *values},
        "users": {"name", "password_hash", "role", "classes"},
        "sessions": {"token_hash", "user", "csrf", "created", "seen", "expires"},
        "access_log": {"id", "when", "user", "action", "lesson_id"},
    }


def test_purged_lessons_are_gone_from_the_file_too(store, tmp_path):
    now = datetime.now(UTC)
    old = store.start_lesson(**LESSON | {"title": "OLD-LESSON"}, started=now - timedelta(days=40))
    new = store.start_lesson(**LESSON, started=now - timedelta(days=20))
    for lesson in (old, new):
        store.add_second(lesson, 0, *SECOND)
        store.add_segment(lesson, 0.0, 2.0, f"SEGMENT-{lesson}", *SEGMENT)
    with store.writing() as session:
        session.add_all(Access(when=now - timedelta(days=d), user="ada", action="view") for d in (40, 20))
    assert store.purge(now - timedelta(days=30)) == 1
    assert [lesson.id for lesson in store.lessons()] == [new]
    assert (store.seconds(old), store.segments(old), len(store.seconds(new))) == ([], [], 1)
    with store.reading() as session:
        assert session.query(Access).count() == 1
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"OLD-LESSON" not in kept
    assert f"SEGMENT-{old}".encode() not in kept
    assert f"SEGMENT-{new}".encode() in kept


def test_a_session_ends_with_its_user(store):
    now = datetime.now(UTC)
    with store.writing() as session:
        session.add(User(name="ada", password_hash="x", role="teacher", classes=["4b"]))
        session.flush()
        session.add(WebSession(token_hash="t", user="ada", csrf="c", created=now, seen=now, expires=now))
    with store.writing() as session:
        session.delete(session.get(User, "ada"))
    with store.reading() as session:
        assert session.get(WebSession, "t") is None


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+pysqlite:///{}?timeout=3"])
@pytest.mark.parametrize("before", [None, 0o644], ids=["new", "open to all"])
def test_the_file_is_for_this_account_only(form, before, tmp_path):
    path = tmp_path / "mine.sqlite"
    if before:
        path.touch()
        path.chmod(before)
    store = open_store(form.format(path))
    store.start_lesson(**LESSON)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert path.name in {file.name for file in tmp_path.iterdir()}


def test_a_log_that_others_may_read_is_closed_too(store, tmp_path):
    store.start_lesson(**LESSON)
    files = list(tmp_path.iterdir())
    for file in files:
        file.chmod(0o644)
    open_store(tmp_path / "lessons.sqlite")
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_is_another_account_s_and_open_is_refused(store, tmp_path, monkeypatch):
    (tmp_path / "lessons.sqlite").chmod(0o644)

    def chmod(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", chmod)
    with pytest.raises(FerLabError, match=r"lessons\.sqlite is another account's, and others may read it"):
        open_store(tmp_path / "lessons.sqlite")


def test_a_uri_that_hides_its_file_is_refused(tmp_path):
    with pytest.raises(FerLabError, match="is a SQLite URI, of which nobody knows the file"):
        open_store(f"sqlite:///file:{tmp_path}/x.sqlite?uri=true")


def test_of_a_store_without_the_fewest_faces_the_lesson_s_group_is_known(store, tmp_path):
    lessons = [store.start_lesson(**LESSON | {"min_group": least}) for least in (5, 2)]
    for lesson in lessons:
        store.add_second(lesson, 0, *SECOND)
    with sqlite3.connect(tmp_path / "lessons.sqlite") as plain:
        plain.execute("ALTER TABLE seconds DROP COLUMN fewest")
    store.close()
    for _ in range(2):
        again = open_store(tmp_path / "lessons.sqlite")
        assert [again.seconds(lesson)[0].fewest for lesson in lessons] == [5, 2]
    again.add_second(lessons[0], 1, *SECOND)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("/proc/nowhere/x.sqlite", r"store /proc/nowhere/x\.sqlite cannot be opened \("),
        ("postgresql://me:secret@host:port/x", r"store postgresql://\.\.\. cannot be opened \(invalid literal"),
        ("nonsense://x", r"store nonsense://x cannot be opened \("),
        ("postgresql+nodriver://me:secret@host/x", r"store postgresql\+nodriver://host/x cannot be opened \("),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_sentence(url, sentence):
    with pytest.raises(FerLabError, match=sentence) as error:
        open_store(url)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_text("no database" * 100)
    with pytest.raises(FerLabError, match="cannot be opened"):
        open_store(path)


def test_a_killed_writer_keeps_every_second_it_was_told(tmp_path):
    path = tmp_path / "lessons.sqlite"
    code = f"""
        import os, signal
        from fer_lab.live.store import open_store
        store = open_store({str(path)!r})
        lesson = store.start_lesson(**{LESSON!r})
        for second in range(5):
            store.add_second(lesson, second, *{SECOND!r})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60).returncode == -9
    store = open_store(path)
    (lesson,) = store.lessons()
    assert [row.second for row in store.seconds(lesson.id)] == [0, 1, 2, 3, 4]
    assert lesson.ended is None


def test_a_new_store_waits_for_whoever_is_making_it(tmp_path):
    path = tmp_path / "lessons.sqlite"
    maker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    maker.execute("BEGIN IMMEDIATE")  # SQLite refuses another's change to a write-ahead log at once, then
    timer = threading.Timer(0.1, maker.execute, ["COMMIT"])
    timer.start()
    store = open_store(path)
    timer.join()
    store.start_lesson(**LESSON)
    assert maker.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    maker.close()


def test_an_endless_wait_for_a_new_store_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_BUSY_S", 0)
    maker = sqlite3.connect(tmp_path / "lessons.sqlite", isolation_level=None)
    maker.execute("BEGIN IMMEDIATE")
    with pytest.raises(FerLabError, match=r"cannot be opened \(database is locked\)"):
        open_store(tmp_path / "lessons.sqlite")
    maker.close()


def test_a_lesson_whose_run_was_killed_ends_with_its_last_second(store):
    now = datetime.now(UTC)
    lost, empty, going, ended, new = (
        store.start_lesson(**LESSON, started=now - timedelta(hours=hours)) for hours in (14, 13, 14, 15, 1)
    )
    for second in (0, 1800):
        store.add_second(lost, second, *SECOND)
    store.add_second(going, 3 * 3600, *SECOND)
    store.end_lesson(ended, now)
    assert store.end_lost() == [lost, empty]
    assert store.end_lost() == []
    assert store.lesson(lost).ended == now - timedelta(hours=14) + timedelta(seconds=1801)
    assert store.lesson(empty).ended == store.lesson(empty).started
    assert [store.lesson(lesson).ended for lesson in (going, ended, new)] == [None, now, None]


def _teach(path: Path, number: int, seconds: int) -> int:
    store = open_store(path)
    lesson = store.start_lesson(**LESSON | {"class_name": f"class {number}"})
    for second in range(seconds):
        store.add_second(lesson, second, *SECOND)
    store.end_lesson(lesson)
    store.close()
    return lesson


@pytest.mark.parametrize(
    ("classes", "seconds"), [(4, 10), pytest.param(50, 60, marks=pytest.mark.slow)], ids=["4", "50"]
)
def test_many_classes_write_at_once_and_nothing_is_lost(classes, seconds, tmp_path):
    path = tmp_path / "lessons.sqlite"
    with ProcessPoolExecutor(classes, mp_context=multiprocessing.get_context("spawn")) as pool:
        lessons = list(pool.map(_teach, [path] * classes, range(classes), [seconds] * classes))
    store = open_store(path)
    assert len(set(lessons)) == classes
    assert all(lesson.ended for lesson in store.lessons())
    for lesson in lessons:
        assert [row.second for row in store.seconds(lesson)] == list(range(seconds))
