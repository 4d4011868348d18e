"""A store with three lessons and four accounts, and browsers without a browser."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

for module in ("argon2", "sqlalchemy", "starlette", "multipart"):
    pytest.importorskip(module, reason="the live extra is not installed")

from argon2 import PasswordHasher  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from fer_lab.dashboard import accounts  # noqa: E402
from fer_lab.dashboard.app import build  # noqa: E402
from fer_lab.dashboard.settings import Settings, read_settings  # noqa: E402
from fer_lab.live.store import Store, open_store  # noqa: E402
from fer_lab.live.store_tables import LessonSecond, LessonSegment  # noqa: E402
from fer_lab.schema import compose  # noqa: E402

PASSWORD = "correct horse battery"
EVIL = "<script>alert(1)</script>"
NAMES, WEIGHTS = ("happy", "neutral", "angry"), {"happy": 1.0, "neutral": 0.25, "angry": -1.0}
MIX = {0.5: [0.6, 0.3, 0.1], -0.5: [0.1, 0.2, 0.7]}


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing that takes no time."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "_HASHER", hasher)
    monkeypatch.setattr(accounts, "_NOBODY", hasher.hash("nobody"))


@pytest.fixture(scope="session")
def settings() -> Callable[..., Settings]:
    """`settings("dashboard.port=0", ...)`: as the command line would give them, composed once."""
    cfg = compose("dashboard")
    return lambda *overrides: read_settings(OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides))).dashboard)


def add_lesson(
    store: Store, title: str, class_name: str, lsi: float, seconds: int, ended: bool = True, ago: int = 0
) -> int:
    """A lesson of `seconds` equal moments and two segments, the second of 30 seconds; started `ago` + seconds ago."""
    started = datetime.now(UTC) - timedelta(seconds=ago + seconds)
    lesson = store.start_lesson(
        title=title, class_name=class_name, teacher="ada", purpose="research", model_key="0" * 16, class_names=NAMES,
        weights=WEIGHTS, min_group=5, started=started,
    )  # fmt: skip
    values = (6.0, MIX[lsi], lsi, lsi - 0.25, lsi + 0.25)
    columns = dict(zip(("faces", "probabilities", "lsi", "lsi_low", "lsi_high"), values, strict=True))
    parts = (("Long part", 0.0, seconds - 30.0), ("Short part", seconds - 30.0, float(seconds)))
    with store.writing() as session:  # one transaction, because the disk is waited for at the end of each
        session.add_all(LessonSecond(lesson_id=lesson, second=second, fewest=5, **columns) for second in range(seconds))
        session.add_all(
            LessonSegment(lesson_id=lesson, title=part, start_s=start, end_s=end, **columns)
            for part, start, end in parts
        )
    if ended:
        store.end_lesson(lesson, started + timedelta(seconds=seconds))
    return lesson


@pytest.fixture
def store(tmp_path: Path, cheap: None) -> Store:
    """As :func:`filled`, in a file."""
    return filled(open_store(tmp_path / "lessons.sqlite"))


def filled(store: Store) -> Store:
    """Lessons 1 (7a, ended), 2 (8b, ended, hostile title), 3 (7a, running); users root, ada (7a), rita, nemo."""
    add_lesson(store, "Fractions", "7a", 0.5, 100, ago=4000)
    add_lesson(store, EVIL, "8b", -0.5, 100, ago=2000)
    add_lesson(store, "Geometry", "7a", 0.5, 40, ended=False)
    for name, role, classes in (("root", "admin", []), ("ada", "teacher", ["7a"]), ("rita", "researcher", []),
                                ("nemo", "teacher", [])):  # fmt: skip
        accounts.add_user(store, name, PASSWORD, role, classes)
    return store


def csrf(html: str) -> str:
    """The token of the page's first form."""
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found, html
    return found[1]


Browse = Callable[..., TestClient]


@pytest.fixture
def browse(store: Store, settings: Callable[..., Settings]) -> Browse:
    """`browse("ada")` has signed in, `browse()` has not. All share an application; the first call sets overrides."""
    apps: list = []

    def make(name: str | None = None, *overrides: str, password: str = PASSWORD) -> TestClient:
        if not apps:
            apps.append(build(store, settings(*overrides)))
        client = TestClient(apps[0], base_url="http://localhost:8050", follow_redirects=False)
        if name:
            sign_in(client, name, password)
        return client

    return make


def sign_in(client: Any, name: str, password: str = PASSWORD, **fields: str) -> Any:
    """The answer to a filled-in login form."""
    form = {"csrf": csrf(client.get("/login").text), "name": name, "password": password}
    return client.post("/login", data=form | fields)
