"""Lessons in a database: SQLite in a file by default, PostgreSQL by its URL.

Every second is a transaction of its own, so a crash loses the one that was still open. Writers in other processes wait
for each other (SQLite: write-ahead log, a lock held for one row).
"""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from fer_lab.errors import FerLabError
from fer_lab.live.store_server import be_patient, reason, server_engine, take_turn, without_account
from fer_lab.live.store_tables import Access, Base, Lesson, LessonSecond, LessonSegment

_BUSY_S = 30  # seconds that a writer waits for its turn
_PAUSE_S = 0.02  # between attempts where SQLite itself does not wait
_LOST_H = 12  # hours without a second, after which a lesson that never ended is over


class Store:
    """The tables of one database; made by :func:`open_store`. Rows that it returns are detached: read, do not change.

    Its methods raise FerLabError where the database does not answer (disk full, locked for half a minute, gone).
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def writing(self, alone: bool = False) -> Iterator[Session]:
        """A session whose changes are one transaction, committed at the end.

        Args:
            alone: others who ask for this wait meanwhile, so what was read still holds when it is written.
        """
        with _one_sentence(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            if alone:
                take_turn(session.connection())
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that never makes a writer wait."""
        with _one_sentence(), Session(self.engine.execution_options(reading=True), expire_on_commit=False) as session:
            yield session

    def start_lesson(
        self, *, title: str, class_name: str, teacher: str, purpose: str, model_key: str, class_names: Sequence[str],
        weights: Mapping[str, float], min_group: int, privacy: Mapping[str, Any] | None = None,
        started: datetime | None = None,
    ) -> int:  # fmt: skip
        """A new lesson's id. started: aware; now where None."""
        lesson = Lesson(
            title=title, class_name=class_name, teacher=teacher, started=started or datetime.now(UTC), purpose=purpose,
            model_key=model_key, class_names=list(class_names), weights=dict(weights), min_group=min_group,
            privacy=dict(privacy or {}),
        )  # fmt: skip
        with self.writing() as session:
            session.add(lesson)
        return lesson.id

    def add_second(
        self, lesson_id: int, second: int, faces: float, fewest: int, probabilities: Sequence[float], lsi: float,
        lsi_low: float, lsi_high: float,
    ) -> None:  # fmt: skip
        """Keep one second, on disk when this returns; values as in :class:`LessonSecond`.

        Raises:
            FerLabError: a frame of it had fewer faces than the lesson's min_group, or there is no such lesson.
        """
        self._add(
            LessonSecond(
                lesson_id=lesson_id, second=second, faces=faces, fewest=fewest,
                probabilities=[float(p) for p in probabilities], lsi=lsi, lsi_low=lsi_low, lsi_high=lsi_high,
            )
        )  # fmt: skip

    def add_segment(
        self, lesson_id: int, start_s: float, end_s: float, title: str, faces: float, probabilities: Sequence[float],
        lsi: float, lsi_low: float, lsi_high: float,
    ) -> None:  # fmt: skip
        """Keep one content segment; as in :meth:`add_second`."""
        self._add(
            LessonSegment(
                lesson_id=lesson_id, start_s=start_s, end_s=end_s, title=title, faces=faces,
                probabilities=[float(p) for p in probabilities], lsi=lsi, lsi_low=lsi_low, lsi_high=lsi_high,
            )
        )  # fmt: skip

    def _add(self, row: LessonSecond | LessonSegment) -> None:
        with self.writing() as session:
            lesson = session.get(Lesson, row.lesson_id)
            if lesson is None:
                raise FerLabError(f"The store has no lesson {row.lesson_id}: it was purged, or never started.")
            fewest = row.fewest if isinstance(row, LessonSecond) else row.faces
            if fewest < lesson.min_group:
                raise FerLabError(f"{fewest:g} faces are no group of {lesson.min_group}: nothing is stored of them.")
            session.add(row)

    def end_lesson(self, lesson_id: int, ended: datetime | None = None) -> None:
        """Say when the lesson ended; now where None."""
        with self.writing() as session:
            lesson = session.get(Lesson, lesson_id)
            if lesson is not None:
                lesson.ended = ended or datetime.now(UTC)

    def end_lost(self, hours: float = _LOST_H) -> list[int]:
        """Say of lessons whose run was killed that they ended with their last stored second; their ids.

        Lost is one that never ended and has no second of the last `hours`; a run that goes on all the same corrects it.
        """
        last = select(func.max(LessonSecond.second)).where(LessonSecond.lesson_id == Lesson.id).scalar_subquery()
        before, lost = datetime.now(UTC) - timedelta(hours=hours), []
        with self.writing() as session:
            for lesson, second in session.execute(select(Lesson, last).where(Lesson.ended.is_(None))).all():
                ended = lesson.started + timedelta(seconds=0 if second is None else second + 1)
                if ended < before:
                    lesson.ended = ended
                    lost.append(lesson.id)
        return lost

    def lesson(self, lesson_id: int) -> Lesson | None:
        with self.reading() as session:
            return session.get(Lesson, lesson_id)

    def lessons(self, classes: Sequence[str] | None = None) -> list[Lesson]:
        """All lessons, or those of some classes; the newest first."""
        query = select(Lesson).order_by(Lesson.started.desc(), Lesson.id.desc())
        with self.reading() as session:
            return list(session.scalars(query if classes is None else query.where(Lesson.class_name.in_(classes))))

    def seconds(self, lesson_id: int, since: int = -1) -> list[LessonSecond]:
        """Stored seconds after the second `since`, in order."""
        own = select(LessonSecond).where(LessonSecond.lesson_id == lesson_id, LessonSecond.second > since)
        with self.reading() as session:
            return list(session.scalars(own.order_by(LessonSecond.second)))

    def segments(self, lesson_id: int) -> list[LessonSegment]:
        """Stored segments in order."""
        own = select(LessonSegment).where(LessonSegment.lesson_id == lesson_id)
        with self.reading() as session:
            return list(session.scalars(own.order_by(LessonSegment.start_s)))

    def purge(self, before: datetime) -> int:
        """Delete every lesson that started before a moment, with all that belongs to it, and older log entries.

        SQLite overwrites what it deletes. Returns the number of lessons.
        """
        return self._delete(Lesson.started < before, Access.when < before)

    def delete(self, lesson_ids: Sequence[int]) -> int:
        """Delete some lessons, in the same way."""
        return self._delete(Lesson.id.in_(lesson_ids))

    def _delete(self, lessons: Any, entries: Any = None) -> int:
        with self.writing() as session:
            gone = session.execute(delete(Lesson).where(lessons)).rowcount
            if entries is not None:
                session.execute(delete(Access).where(entries))
        if self.engine.dialect.name == "sqlite":
            with self.reading() as session:  # the old pages are in the write-ahead log, too
                session.connection().exec_driver_sql("COMMIT")
                session.connection().exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def close(self) -> None:
        self.engine.dispose()


def open_store(url_or_path: str | Path, patient: bool = False) -> Store:
    """Open a store, or make it: a SQLite file, readable by this account only, or any URL that SQLAlchemy knows.

    Args:
        patient: wait half a minute for a server that went away later, as for a file that is locked.

    Raises:
        FerLabError: it cannot be opened, the database's driver is not installed, or others may read the file and it is
            not this account's to close.
    """
    where = str(url_or_path)
    try:
        url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            _for_us_only(Path(str(url.database)))
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url)
            event.listen(engine, "connect", _connected)
            event.listen(engine, "begin", _begun)
        else:
            engine = server_engine(url, _BUSY_S)
        with engine.begin() as connection:
            take_turn(connection)
            Base.metadata.create_all(connection)
            _complete(connection)
    except ImportError as error:  # psycopg is there, but finds no libpq: that is one, too
        driver = error.name if isinstance(error, ModuleNotFoundError) else url.get_driver_name()
        package = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary"}.get(str(driver), driver)
        raise FerLabError(f"The store's driver {driver} is not installed: pip install {package}.") from error
    except (ArgumentError, ValueError, NoSuchModuleError, DBAPIError, OSError) as error:
        raise FerLabError(
            f"The store {without_account(where)} cannot be opened ({reason(error)}): give a file, or a database's URL."
        ) from error
    if patient and engine.dialect.name != "sqlite":
        be_patient(engine, _BUSY_S)
    return Store(engine)


def _for_us_only(path: Path) -> None:
    """Make a SQLite file that no other account can read, or take their rights to it, and to its log, away."""
    if str(path).startswith("file:"):
        raise FerLabError(f"The store {path} is a SQLite URI, of which nobody knows the file: give the file's path.")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)
        except FileNotFoundError:  # no log just now
            continue
        except PermissionError as error:
            raise FerLabError(
                f"The store {file} is another account's, and others may read it: its owner has to say chmod 600."
            ) from error


def _complete(connection: Connection) -> None:
    """Give an older store the column it lacks: of its frames only their lesson's min_group is known."""
    if "fewest" not in {column["name"] for column in inspect(connection).get_columns("seconds")}:
        connection.execute(text("ALTER TABLE seconds ADD COLUMN fewest INTEGER NOT NULL DEFAULT 0"))
        least = "SELECT min_group FROM lessons WHERE lessons.id = seconds.lesson_id"
        connection.execute(text(f"UPDATE seconds SET fewest = ({least})"))


def _connected(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin below, not somewhere inside the driver
    connection.execute(f"PRAGMA busy_timeout={1000 * _BUSY_S}")
    _log_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _log_ahead(connection: Any) -> None:
    """Switch to a write-ahead log, which SQLite refuses at once while another process makes the file."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE_S)


def _begun(connection: Any) -> None:
    """Writers ask for the lock at once: one that asks after it has read is refused instead of waiting."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise FerLabError(
            f"The store does not take this ({reason(error)}); free its disk or its locks, or start its server."
        ) from error
