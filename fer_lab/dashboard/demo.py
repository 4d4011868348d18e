"""Simulated lessons, for looking around and for tests. Nothing in them was seen by a camera; their titles say so."""

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np

from fer_lab.dashboard import accounts
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS
from fer_lab.live.lsi import Lsi
from fer_lab.live.store import Store
from fer_lab.live.store_tables import LessonSecond

WEIGHTS = {"happy": 1.0, "surprise": 0.5, "neutral": 0.25, "sad": -0.5, "fear": -0.75, "angry": -1.0, "disgust": -1.0}
MIN_GROUP = 5
_PARTS = ("Welcome", "New material", "Group work", "Discussion", "Exercise", "Summary")
_TITLES = {
    "7a": ("Fractions", "Percentages", "Geometry", "Equations"),
    "8b": ("Photosynthesis", "Cells", "Energy"),
    "staff": ("Fire drill",),
}
_TEACHERS = {"7a": "ada", "8b": "grace", "staff": "lin"}


class Simulated:
    """One lesson, second by second: a slow wander between moods, noise, a dip, and a time with too few faces.

    Args:
        seed: of everything in it; length: seconds; dip: (start, end, strength) of a fall in the mood, the first two as
            fractions of the length.
    """

    def __init__(self, seed: int, length: int, dip: tuple[float, float, float] = (0.6, 0.85, 1.0)) -> None:
        rng = np.random.default_rng(seed)
        time = np.arange(length)
        mood = 0.5 * np.sin(time / length * rng.uniform(2, 5) + rng.uniform(0, 6)) + rng.normal(0.2, 0.15)
        start, end, strength = dip
        mood -= strength * np.clip(np.minimum(time / length - start, end - time / length) * 25, 0, 1)
        logits = np.column_stack([2.2 * mood, np.full(length, -1.3), np.full(length, 0.9), -1.7 * mood - 0.6,
                                  np.full(length, -1.5), -2.0 * mood - 1.0, np.full(length, -2.6)])  # fmt: skip
        names = ("happy", "surprise", "neutral", "sad", "fear", "angry", "disgust")
        noise = rng.normal(0, 1, (length + 8, len(names)))
        logits += 0.55 * np.stack([np.convolve(n, np.ones(9) / 3, "valid") for n in noise.T], axis=1)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        self.probabilities = shares[:, [names.index(name) for name in EMOTIONS]]
        self.lsi = Lsi(WEIGHTS, EMOTIONS)(self.probabilities)
        self.faces = np.clip(np.round(9 + 5 * np.sin(time / 400 + seed) + rng.normal(0, 0.7, length)), 5, 20)
        leave = int(length * rng.uniform(0.3, 0.4))
        self.faces[leave : leave + length // 20] = 3

    def add(self, store: Store, lesson: int, seconds: Iterable[int]) -> None:
        """Store some seconds in one transaction, those with too few faces left out."""
        with store.writing() as session:
            session.add_all(
                LessonSecond(
                    lesson_id=lesson, second=second, faces=float(self.faces[second]),
                    fewest=int(self.faces[second]),
                    probabilities=self.probabilities[second].tolist(),
                    **dict(zip(("lsi", "lsi_low", "lsi_high"), self._band(second), strict=True)),
                )
                for second in seconds
                if self.faces[second] >= MIN_GROUP
            )  # fmt: skip

    def add_segments(self, store: Store, lesson: int, until: int) -> None:
        """Store the sixths of the lesson that have ended by a second and not been stored."""
        edges = np.linspace(0, len(self.lsi), len(_PARTS) + 1).astype(int)
        kept = {row.start_s for row in store.segments(lesson)}
        for title, start, end in zip(_PARTS, edges[:-1], edges[1:], strict=True):
            own = np.flatnonzero(self.faces[start:end] >= MIN_GROUP) + start
            if end <= until and start not in kept and len(own):
                bands = np.mean([self._band(second) for second in own], axis=0)
                mix, faces = self.probabilities[own].mean(axis=0), float(self.faces[own].mean())
                store.add_segment(lesson, float(start), float(end), title, faces, mix, *map(float, bands))

    def _band(self, second: int) -> tuple[float, float, float]:
        lsi, half = float(self.lsi[second]), 0.62 / float(np.sqrt(self.faces[second]))
        return lsi, max(-1.0, lsi - half), min(1.0, lsi + half)


def simulated_lesson(store: Store, title: str, class_name: str, started: datetime, teacher: str = "nobody") -> int:
    """Open a lesson that is marked as simulated; its id."""
    return store.start_lesson(
        title=f"Simulated: {title}", class_name=class_name, teacher=teacher, purpose="demonstration",
        model_key="simulated, no model", class_names=EMOTIONS, weights=WEIGHTS, min_group=MIN_GROUP, started=started,
        privacy={"simulated": True},
    )  # fmt: skip


def fill(store: Store, minutes: int = 40) -> None:
    """Eight lessons of three classes, ended, one each day until yesterday.

    Raises:
        FerLabError: the store holds lessons already; simulated ones do not belong among them.
    """
    if store.lessons():
        raise FerLabError("demo=true writes simulated lessons, and this store holds lessons: leave store= away.")
    titles = [(class_name, title) for class_name, own in _TITLES.items() for title in own]
    for index, (class_name, title) in enumerate(titles):
        started = datetime.now(UTC).replace(microsecond=0) - timedelta(days=len(titles) - index, minutes=17 * index)
        length = 60 * minutes - 3 * minutes * (index % 3)
        simulated = Simulated(index, length, (0.55, 0.8, (1.2, 0.2, 0.6)[index % 3]))
        lesson = simulated_lesson(store, title, class_name, started, _TEACHERS[class_name])
        simulated.add(store, lesson, range(length))
        simulated.add_segments(store, lesson, length)
        store.end_lesson(lesson, started + timedelta(seconds=length))


@contextmanager
def running(store: Store, minutes: int = 60, since: int = 1500) -> Iterator[int]:
    """Inside, one lesson of class 7a goes on, a second each second, `since` seconds after its start. Gives its id."""
    simulated = Simulated(42, 60 * minutes, (0.32, 0.6, 1.3))
    started = datetime.now(UTC) - timedelta(seconds=since)
    lesson, over = simulated_lesson(store, "Probability", "7a", started, "ada"), threading.Event()
    simulated.add(store, lesson, range(since))

    def go_on() -> None:
        for second in range(since, 60 * minutes):
            if over.wait((started + timedelta(seconds=second + 1) - datetime.now(UTC)).total_seconds()):
                break
            simulated.add(store, lesson, [second])
            if second % 10 == 0:
                simulated.add_segments(store, lesson, second)

    writer = threading.Thread(target=go_on, daemon=True)
    writer.start()
    try:
        yield lesson
    finally:
        over.set()
        writer.join()
        store.end_lesson(lesson)


def people(store: Store) -> dict[str, str]:
    """One account of each role; passwords by name."""
    passwords = {name: secrets.token_urlsafe(9) for name in accounts.ROLES}
    for role, password in passwords.items():
        accounts.add_user(store, role, password, role, ["7a"] if role == "teacher" else [])
    return passwords
