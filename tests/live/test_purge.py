"""What is too old goes, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fer_lab.errors import FerLabError
from fer_lab.live.purge import purge
from fer_lab.schema import compose


def run(folder: Path, days: float, promised: float, *files: str) -> Path:
    """A run that started so many days ago."""
    folder.mkdir(parents=True)
    declared = {
        "stored": {name: {} for name in (*files, "privacy.json")},
        "started": (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds"),
        "switches": {"retention_days": promised},
    }
    (folder / "privacy.json").write_text(json.dumps(declared))
    for name in files:
        if Path(name).suffix:
            (folder / name).write_text("x")
    return folder


def test_old_runs_go_with_what_they_list(tmp_path):
    old = run(tmp_path / "a" / "old", 31, 30, "summary.csv", "tracks.csv")
    short = run(tmp_path / "short", 8, 7, "summary.csv")
    new = run(tmp_path / "new", 8, 30, "summary.csv")
    mixed = run(tmp_path / "mixed", 40, 30, "summary.csv", "../new/summary.csv", "..", ".", "", "kept")
    (mixed / "notes.txt").write_text("somebody's own")
    (mixed / "kept").mkdir()
    said = [f"sink={tmp_path}"]
    assert purge(compose("purge", [*said, "dry=true"]))["runs"] == sorted([old, short, mixed])
    assert (old / "summary.csv").exists()
    purge(compose("purge", said))
    assert not old.exists()
    assert not short.exists()
    assert sorted(path.name for path in new.iterdir()) == ["privacy.json", "summary.csv"]
    assert sorted(path.name for path in mixed.iterdir()) == ["kept", "notes.txt"]


def test_old_lessons_go_and_a_shorter_promise_is_kept(tmp_path):
    open_store = pytest.importorskip("fer_lab.live.store", reason="the live extra is not installed").open_store
    path = tmp_path / "l.sqlite"
    store = open_store(path)
    ids = [
        store.start_lesson(
            title="t", class_name="c", teacher="", purpose="research", model_key="", class_names=["happy"], weights={},
            min_group=5, started=datetime.now(UTC) - timedelta(days=days),
            privacy={"switches": {"retention_days": promised}} if promised else {},
        )
        for days, promised in ((31, 30), (8, 7), (8, 30), (8, None), (29, 300))
    ]  # fmt: skip
    assert purge(compose("purge", [f"store={path}", "dry=true"]))["lessons"] == [ids[1], ids[0]]
    assert len(store.lessons()) == 5
    assert not any(lesson.ended for lesson in store.lessons())
    purge(compose("purge", [f"store={path}"]))
    assert all(lesson.ended == lesson.started for lesson in store.lessons())  # nothing was written for days
    assert {lesson.id for lesson in store.lessons()} == set(ids[2:])
    purge(compose("purge", [f"store={path}", "privacy.retention_days=1"]))
    assert store.lessons() == []


def test_refusals(tmp_path):
    with pytest.raises(FerLabError, match="Nothing to purge: say store="):
        purge(compose("purge"))
    with pytest.raises(FerLabError, match=r"store=.*x\.sqlite does not exist"):
        purge(compose("purge", [f"store={tmp_path / 'x.sqlite'}"]))
    with pytest.raises(FerLabError, match=r"sink=.*x is no folder"):
        purge(compose("purge", [f"sink={tmp_path / 'x'}"]))
    (tmp_path / "privacy.json").write_text("{}")
    with pytest.raises(FerLabError, match=r"privacy\.json cannot be read"):
        purge(compose("purge", [f"sink={tmp_path}"]))
