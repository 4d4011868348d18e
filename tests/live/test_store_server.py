"""A store that is a database server: the same as in a file, from many sides at once, through a server's restart."""

import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from fer_lab.errors import FerLabError

from .postgres import postgres  # noqa: F401
from .test_store import LESSON as FRACTIONS
from .test_store import SECOND, SEGMENT, VALUES

pytest.importorskip("sqlalchemy", reason="the live extra is not installed")
from sqlalchemy import create_engine, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from fer_lab.live.__main__ import live
from fer_lab.live.purge import purge
from fer_lab.live.store import open_store
from fer_lab.live.store_server import be_patient, reason, without_account
from fer_lab.live.store_tables import Access, Base, LessonSecond, LessonSegment, User
from fer_lab.live.summarise import summarise
from fer_lab.schema import compose

LESSON = {**FRACTIONS, "title": "Brüche 😀 'x\""}


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("postgresql+psycopg://me:secret@host:1/x?password=secret", "postgresql+psycopg://host:1/x"),
        ("postgresql://me:half@secret@host/x", "postgresql://host/x"),
        ("postgresql://me:secret?@host/x", "postgresql://host/x"),
        ("postgresql://me:secret@host:port/x", "postgresql://..."),
        ("/a@b/lessons.sqlite", "/a@b/lessons.sqlite"),
    ],
)
def test_messages_name_a_store_without_its_account(where, shown):
    assert without_account(where) == shown


def test_a_database_s_reason_is_one_line():
    assert reason(OperationalError("", {}, ValueError("refused\n\tIs it running?"))) == "refused"
    assert reason(ValueError()) == "ValueError"


def test_a_server_that_is_gone_is_waited_for_once(monkeypatch):
    engine, now, missing = create_engine("sqlite://", poolclass=NullPool), [0.0], [3]
    monkeypatch.setattr("fer_lab.live.store_server.time.monotonic", lambda: now[0])
    monkeypatch.setattr("fer_lab.live.store_server.time.sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    be_patient(engine, 10)
    connect = engine.dialect.connect

    def sometimes(*arguments, **named):
        missing[0] -= 1
        if missing[0] >= 0:
            raise sqlite3.OperationalError("gone")
        return connect(*arguments, **named)

    monkeypatch.setattr(engine.dialect, "connect", sometimes)
    engine.connect().close()
    assert now == [1.5]
    for waited in (10, 0):  # it does not come back: the next write need not wait for it again
        missing[0], start = 1000, now[0]
        with pytest.raises(OperationalError, match="gone"):
            engine.connect()
        assert now[0] - start == waited
    missing[0] = 0
    engine.connect().close()
    missing[0], start = 2, now[0]
    engine.connect().close()
    assert now[0] - start == 1


def test_a_driver_without_its_library_is_named(monkeypatch):
    def no_library(*arguments, **named):
        raise ImportError("no pq wrapper available")

    monkeypatch.setattr("fer_lab.live.store_server.create_engine", no_library)
    with pytest.raises(FerLabError, match=r"driver psycopg is not installed: pip install 'psycopg\[binary\]'\."):
        open_store("postgresql+psycopg://me@host/x")


def test_the_tables_are_postgresql_s_too():
    tables = Base.metadata.tables.items()
    said = {name: str(CreateTable(table).compile(dialect=postgresql.dialect())) for name, table in tables}
    assert said.keys() == {"lessons", "seconds", "segments", "users", "sessions", "access_log"}
    assert '"when" TIMESTAMP WITHOUT TIME ZONE NOT NULL' in said["access_log"]
    assert '"user" VARCHAR NOT NULL' in said["access_log"]  # a reserved word there
    for table in ("seconds", "segments"):
        assert "FOREIGN KEY(lesson_id) REFERENCES lessons (id) ON DELETE CASCADE" in said[table]
        assert "probabilities JSON NOT NULL" in said[table]
    assert "id SERIAL NOT NULL" in said["lessons"]


def test_what_is_written_is_read_by_another(postgres):  # noqa: F811
    store, started = open_store(postgres), datetime(2026, 3, 29, 3, 30, 0, 123456, timezone(timedelta(hours=2)))
    lesson = store.start_lesson(**LESSON, started=started, privacy={"switches": {"retention_days": 7.5}})
    for second in (3, 0, 1):
        store.add_second(lesson, second, *SECOND)
    store.add_segment(lesson, 0.0, 2.5, "Introduction", *SEGMENT)
    other = open_store(postgres)
    (found,) = other.lessons(["4b"])
    assert (found.id, found.title, found.started, found.ended) == (lesson, LESSON["title"], started, None)
    assert (found.class_names, found.weights) == (["happy", "sad"], LESSON["weights"])
    assert [row.second for row in other.seconds(lesson)] == [0, 1, 3]
    (last,) = other.seconds(lesson, since=1)
    assert (last.faces, last.fewest, last.probabilities, last.lsi, last.lsi_low, last.lsi_high) == SECOND
    assert [(row.start_s, row.end_s, row.title) for row in other.segments(lesson)] == [(0, 2.5, "Introduction")]
    store.end_lesson(lesson)
    assert timedelta(0) <= datetime.now(UTC) - other.lesson(lesson).ended < timedelta(minutes=1)
    with pytest.raises(FerLabError, match=r"4 faces are no group of 5"):
        store.add_second(lesson, 4, 6.5, 4, *VALUES)
    with pytest.raises(FerLabError, match=r"does not take this \(duplicate key [^\n]*\)"):
        store.add_second(lesson, 3, *SECOND)
    store.close()
    other.close()


def _teach(url: str, number: int, seconds: int) -> int:
    store = open_store(url, patient=True)
    lesson = store.start_lesson(**LESSON | {"class_name": f"class {number}"})
    for second in range(seconds):
        store.add_second(lesson, second, *SECOND)
    store.end_lesson(lesson)
    store.close()
    return lesson


def test_many_classes_make_the_tables_and_write_at_once(postgres):  # noqa: F811
    classes, seconds = 6, 30
    with ProcessPoolExecutor(classes, mp_context=multiprocessing.get_context("spawn")) as pool:
        lessons = list(pool.map(_teach, [postgres] * classes, range(classes), [seconds] * classes))
    store = open_store(postgres)
    assert len(set(lessons)) == classes
    assert all(lesson.ended for lesson in store.lessons())
    for lesson in lessons:
        assert [row.second for row in store.seconds(lesson)] == list(range(seconds))
    store.close()


def test_of_two_first_admins_one_is_made_and_the_last_one_stays(postgres, monkeypatch):  # noqa: F811
    accounts = pytest.importorskip("fer_lab.dashboard.accounts", reason="the live extra is not installed")
    monkeypatch.setattr(accounts, "hashed", lambda password: password)
    store, names = open_store(postgres), ("ada", "grace", "lin", "mary")

    def refused(work, *words):
        try:
            work(store, *words)
        except FerLabError as error:
            return str(error)

    with ThreadPoolExecutor(len(names)) as pool:
        made = list(pool.map(lambda name: refused(accounts.add_user, name, "p", "admin", (), True), names))
        assert sorted(map(str, made)) == ["None", *["The first account exists already: sign in with it."] * 3]
        for name in names:
            refused(accounts.add_user, name, "p", "admin")
        assert [user.name for user in accounts.users(store)] == list(names)
        gone = list(pool.map(lambda name: refused(accounts.remove_user, name), names))
    assert sum(why is None for why in gone) == 3
    assert len(accounts.users(store)) == 1
    store.close()


def test_a_cut_connection_loses_no_second(postgres):  # noqa: F811
    store = open_store(postgres)
    lesson = store.start_lesson(**LESSON)
    opened = []
    event.listen(store.engine, "connect", lambda connection, record: opened.append(connection))
    for second in range(2):
        store.add_second(lesson, second, *SECOND)
        with store.reading() as session:
            (own,) = session.connection().exec_driver_sql("SELECT pg_backend_pid()").one()
        other = create_engine(postgres)
        with other.connect() as connection:  # what a restart of the server does
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({own}, 5000)")
        other.dispose()
    store.add_second(lesson, 2, *SECOND)
    assert [row.second for row in store.seconds(lesson)] == [0, 1, 2]
    assert len(opened) == 2
    store.close()


def test_purged_lessons_go_with_all_that_belongs_to_them(postgres):  # noqa: F811
    store, now = open_store(postgres), datetime.now(UTC)
    lessons = [store.start_lesson(**LESSON, started=now - timedelta(days=days)) for days in (40, 20)]
    for lesson in lessons:
        store.add_second(lesson, 0, *SECOND)
        store.add_segment(lesson, 0.0, 1.0, "Part", *SEGMENT)
    with store.writing() as session:
        session.add_all(Access(when=now - timedelta(days=days), user="ada", action="view") for days in (40, 20))
    words = [f"store='{postgres}'"]
    assert purge(compose("purge", [*words, "dry=true"]))["lessons"] == lessons[:1]
    assert purge(compose("purge", words))["lessons"] == lessons[:1]
    assert [lesson.id for lesson in store.lessons()] == lessons[1:]
    with store.reading() as session:
        assert list(session.scalars(select(LessonSecond.lesson_id))) == lessons[1:]
        assert list(session.scalars(select(LessonSegment.lesson_id))) == lessons[1:]
        assert len(list(session.scalars(select(Access)))) == 1
    purge(compose("purge", [*words, "privacy.retention_days=1"]))
    with pytest.raises(FerLabError, match=r"holds no second of any lesson") as error:
        summarise(compose("summarise", words))
    assert postgres not in str(error.value)
    store.close()


def test_an_older_store_gets_the_column_it_lacks(postgres):  # noqa: F811
    store = open_store(postgres)
    lesson = store.start_lesson(**LESSON)
    store.add_second(lesson, 0, *SECOND)
    with store.writing() as session:
        session.connection().exec_driver_sql("ALTER TABLE seconds DROP COLUMN fewest")
        session.add(User(name="ada", password_hash="x", role="teacher", classes=["4b"]))
    store.close()
    again = open_store(postgres)
    assert again.seconds(lesson)[0].fewest == 5
    again.close()


def test_a_lesson_by_the_command(postgres, live_cfg):  # noqa: F811
    words = ("source=synthetic", "live.synthetic.seconds=2", "sink=null", "live.lesson.class_name=7a")
    result = live(live_cfg(*words, f"live.store='{postgres}'"))
    store = open_store(postgres)
    (lesson,) = store.lessons()
    assert (lesson.id, lesson.class_name, lesson.privacy["source"]) == (result["lesson"], "7a", "synthetic")
    assert lesson.ended is not None
    stored = store.seconds(lesson.id)
    assert [row.second for row in stored] == [second.second for second in result["seconds"]] == [0, 1]
    assert stored[0].probabilities == pytest.approx(result["seconds"][0].probabilities.tolist(), abs=1e-12)
    (row,) = summarise(compose("summarise", [f"store='{postgres}'"]))["rows"]
    assert row["class"] == "7a"
    store.close()
