"""What of a lesson a role may see, as plain values; nothing else reads lessons from the store."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import func, select

from fer_lab.dashboard.accounts import Login
from fer_lab.live.store import Store
from fer_lab.live.store_tables import Lesson, LessonSecond, LessonSegment


@dataclass(frozen=True)
class Mean:
    """Means over stored seconds. seconds: how many; probabilities: K; lsi, low, high: the index and its 95 % band."""

    seconds: int
    faces: float
    probabilities: np.ndarray
    lsi: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """A lesson second by second: N stored seconds, probabilities float N×K, the rest float N."""

    second: np.ndarray
    faces: np.ndarray
    probabilities: np.ndarray
    lsi: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def mean(self) -> Mean | None:
        """Over all stored seconds; None where there is none."""
        if not len(self.second):
            return None
        values = (float(v.mean()) for v in (self.lsi, self.low, self.high))
        return Mean(len(self.second), float(self.faces.mean()), self.probabilities.mean(axis=0), *values)

    def between(self, start_s: float, end_s: float) -> "Series":
        """The seconds that start in [start_s, end_s)."""
        own = (self.second >= start_s) & (self.second < end_s)
        return Series(*(getattr(self, column.name)[own] for column in fields(self)))

    def every_second(self, values: np.ndarray) -> np.ndarray:
        """Values N or N×K on the grid of all seconds from 0 to the last stored one, NaN where none is stored."""
        length = int(self.second[-1]) + 1 if len(self.second) else 0
        grid = np.full((length, *values.shape[1:]), np.nan)
        grid[self.second] = values
        return grid


@dataclass(frozen=True)
class Part:
    """A content segment, and the mean over those of its seconds that may be shown."""

    start_s: float
    end_s: float
    title: str
    mean: Mean


@dataclass(frozen=True)
class Limits:
    """What is not shown, whatever the store holds.

    least_faces: moments with fewer. aggregate_s: to researchers, means over fewer seconds.
    """

    least_faces: int
    aggregate_s: int

    def faces(self, lesson: Lesson) -> int:
        return max(self.least_faces, lesson.min_group)

    def seconds(self, login: Login) -> int:
        return 1 if sees_seconds(login) else self.aggregate_s


def may_see(login: Login, lesson: Lesson) -> bool:
    """Admins see every lesson, teachers those of their classes, researchers those that have ended.

    A researcher who watched a running lesson's mean could take the single seconds from its changes.
    """
    if login.role == "teacher":
        return lesson.class_name in login.classes
    return login.role == "admin" or (login.role == "researcher" and lesson.ended is not None)


def sees_seconds(login: Login) -> bool:
    return login.role in ("admin", "teacher")


def lessons(store: Store, login: Login) -> list[Lesson]:
    """The lessons that this login may see, the newest first."""
    found = store.lessons(login.classes) if login.role == "teacher" else store.lessons()
    return [lesson for lesson in found if may_see(login, lesson)]


def lesson(store: Store, login: Login, lesson_id: int) -> Lesson | None:
    """A lesson that this login may see; None where there is none, or none for them."""
    found = store.lesson(lesson_id) if lesson_id < 2**31 else None
    return found if found is not None and may_see(login, found) else None


def series(store: Store, lesson: Lesson, limits: Limits) -> Series:
    """The stored seconds that had enough faces all the time."""
    rows = [row for row in store.seconds(lesson.id) if row.fewest >= limits.faces(lesson)]
    probabilities = np.array([row.probabilities for row in rows], dtype=np.float64)
    return Series(
        np.array([row.second for row in rows], dtype=np.int64),
        np.array([row.faces for row in rows], dtype=np.float64),
        probabilities.reshape(len(rows), len(lesson.class_names)),
        np.array([row.lsi for row in rows], dtype=np.float64),
        np.array([row.lsi_low for row in rows], dtype=np.float64),
        np.array([row.lsi_high for row in rows], dtype=np.float64),
    )


def mean(values: Series, login: Login, limits: Limits) -> Mean | None:
    """A lesson's mean, if this login may see one over so few seconds."""
    found = values.mean()
    return found if found and found.seconds >= limits.seconds(login) else None


def segments(store: Store, lesson: Lesson, login: Login, values: Series, limits: Limits) -> list[Part]:
    """A lesson's segments in order, as means over the seconds in `values` only: what is hidden is in no mean.

    Researchers get those that say nothing of a few seconds (:func:`apart`).
    """
    found = [
        Part(row.start_s, row.end_s, row.title, own)
        for row in store.segments(lesson.id)
        if (own := values.between(row.start_s, row.end_s).mean())
    ]
    return found if sees_seconds(login) else apart(found, len(values.second), limits.aggregate_s)


def apart(parts: Sequence[Part], whole: int, least: int) -> list[Part]:
    """Parts whose means, and that of the whole of so many seconds, give no mean of fewer than `least` away.

    Parts that overlap are never shown together. Then all that differences of shown means can give is what the parts
    leave of the whole; while that is a little and not nothing, the shortest part goes too.
    """
    shown: list[Part] = []
    for part in sorted(parts, key=lambda part: -part.mean.seconds):
        overlaps = any(part.start_s < other.end_s and other.start_s < part.end_s for other in shown)
        if part.mean.seconds >= least and not overlaps:
            shown.append(part)
    left = whole - sum(part.mean.seconds for part in shown)
    while shown and 0 < left < least:
        left += shown.pop().mean.seconds
    return sorted(shown, key=lambda part: part.start_s)


def means(store: Store, shown: Sequence[Lesson], login: Login, limits: Limits) -> dict[int, Mean]:
    """Each lesson's mean without its emotions (empty), by id, in one query: for lists."""
    row = LessonSecond
    query = (
        select(
            row.lesson_id,
            func.count(),
            func.avg(row.faces),
            func.avg(row.lsi),
            func.avg(row.lsi_low),
            func.avg(row.lsi_high),
        )
        .join(Lesson, Lesson.id == row.lesson_id)
        .where(
            row.fewest >= Lesson.min_group,
            row.fewest >= limits.least_faces,
            row.lesson_id.in_([lesson.id for lesson in shown]),
        )
        .group_by(row.lesson_id)
    )
    with store.reading() as session:
        found = session.execute(query).all()
    nothing = np.empty(0)
    return {
        key: Mean(count, float(faces), nothing, float(lsi), float(low), float(high))
        for key, count, faces, lsi, low, high in found
        if count >= limits.seconds(login)
    }


class Newest:
    """Says whether a running lesson's last stored second is its present one.

    It is where it fits the clock, or where it was seen to change a moment ago, as in a recording that is worked through
    slower than it plays. Otherwise too few faces are in view, or no picture comes.
    """

    def __init__(self, fresh_s: float) -> None:
        self.fresh_s = fresh_s
        self.seen: dict[int, tuple[int, float]] = {}

    def fresh(self, lesson: Lesson, last: int | None) -> bool:
        """last: the lesson's last stored second."""
        if last is None:
            return False
        if elapsed(lesson) - last <= self.fresh_s + 1:
            return True
        before, changed = self.seen.get(lesson.id, (last, -math.inf))
        if before != last:
            changed = time.monotonic()
        self.seen[lesson.id] = last, changed
        return time.monotonic() - changed <= self.fresh_s


def elapsed(lesson: Lesson) -> float:
    """Seconds from the lesson's start to its end, or to now."""
    return ((lesson.ended or datetime.now(UTC)) - lesson.started).total_seconds()


def version(store: Store, lesson: Lesson, newest: Newest) -> str:
    """Changes whenever the page of a lesson would: a new second or segment, the end, too few faces."""
    with store.reading() as session:
        last = session.scalar(select(func.max(LessonSecond.second)).where(LessonSecond.lesson_id == lesson.id))
        parts = session.scalar(
            select(func.count()).select_from(LessonSegment).where(LessonSegment.lesson_id == lesson.id)
        )
    return f"{last}.{parts}.{newest.fresh(lesson, last)}.{lesson.ended is not None}"
