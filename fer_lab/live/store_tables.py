"""The tables of a store of lessons (:mod:`fer_lab.live.store`). Only group values, never a single face.

No table has a column for a track, a frame, a crop, an embedding or a source. users, sessions and access_log belong to
the dashboard.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Utc(TypeDecorator):
    """An aware time, kept as naive UTC because SQLite knows no time zones."""

    impl, cache_ok = DateTime, True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value and value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map: ClassVar = {
        datetime: Utc, dict[str, Any]: JSON, dict[str, float]: JSON, list[str]: JSON, list[float]: JSON
    }  # fmt: skip


class Lesson(Base):
    """One run. class_names: order of `probabilities` everywhere; privacy: what was kept, and why it might be."""

    __tablename__ = "lessons"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    class_name: Mapped[str] = mapped_column(index=True)
    teacher: Mapped[str]
    started: Mapped[datetime] = mapped_column(index=True)
    ended: Mapped[datetime | None]
    purpose: Mapped[str]
    model_key: Mapped[str]
    class_names: Mapped[list[str]]
    weights: Mapped[dict[str, float]]
    min_group: Mapped[int]
    privacy: Mapped[dict[str, Any]]

    @property
    def scale(self) -> tuple[tuple[str, ...], tuple[tuple[str, float], ...]]:
        """The emotions and their weights: only lessons with the same have one index."""
        return tuple(self.class_names), tuple(sorted(self.weights.items()))


class LessonSecond(Base):
    """A second of frames with at least min_group faces each.

    faces: mean number of a frame; fewest: of the frame with the fewest; lsi, lsi_low, lsi_high in [-1, 1] (95 % band).
    """

    __tablename__ = "seconds"
    lesson_id: Mapped[int] = mapped_column(ForeignKey("lessons.id", ondelete="CASCADE"), primary_key=True)
    second: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    faces: Mapped[float]
    fewest: Mapped[int]
    probabilities: Mapped[list[float]]
    lsi: Mapped[float]
    lsi_low: Mapped[float]
    lsi_high: Mapped[float]


class LessonSegment(Base):
    """A part of the lesson, in seconds since the start; values as in LessonSecond, over its stored seconds."""

    __tablename__ = "segments"
    lesson_id: Mapped[int] = mapped_column(ForeignKey("lessons.id", ondelete="CASCADE"), primary_key=True)
    start_s: Mapped[float] = mapped_column(primary_key=True)
    end_s: Mapped[float]
    title: Mapped[str]
    faces: Mapped[float]
    probabilities: Mapped[list[float]]
    lsi: Mapped[float]
    lsi_low: Mapped[float]
    lsi_high: Mapped[float]


class User(Base):
    """Of the dashboard. role: admin, teacher or researcher; classes: a teacher's own."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(16))
    classes: Mapped[list[str]]


class WebSession(Base):
    """A login. Only a hash of the cookie's token is kept."""

    __tablename__ = "sessions"
    token_hash: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"))
    csrf: Mapped[str]
    created: Mapped[datetime]
    seen: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)


class Access(Base):
    """Who saw or did what."""

    __tablename__ = "access_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    when: Mapped[datetime] = mapped_column(index=True)
    user: Mapped[str]
    action: Mapped[str]
    lesson_id: Mapped[int | None]
