"""What happens between two looks at a run's folder or at the cache, while other processes work there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from filelock import FileLock
from omegaconf import DictConfig

from fer_lab.errors import FerLabError
from fer_lab.results.record import Run, read_record, write_json
from fer_lab.schema import config_hash
from fer_lab.training import plan, rows, turn
from fer_lab.training.features import FeatureStore
from fer_lab.training.plan import DONE, state_of
from fer_lab.training.rows import Sweep


@pytest.fixture
def running(tiny: Callable, tmp_path: Path) -> tuple:
    """A run's config and folder, whose record says `running`, and a stand-in for its lock: when that is free, the run
    has ended."""
    cfg = tiny()
    cfg.paths.run = str(tmp_path / "row" / "seed0")
    folder = Path(cfg.paths.run)
    folder.mkdir(parents=True)
    record = Run(cfg, "d" * 16).record | {"status": "running", "config_hash": config_hash(cfg)}
    write_json(folder / "record.json", record)

    (folder / ".lock").touch()

    class EndsJustNow(FileLock):
        def __enter__(self) -> Self:
            write_json(folder / "record.json", record | {"status": "completed", "metrics": {}})
            return super().__enter__()

    return cfg, folder, EndsJustNow


def test_a_run_that_ends_while_it_is_looked_at_is_done(running, monkeypatch) -> None:
    cfg, _, ends_just_now = running
    monkeypatch.setattr(plan, "FileLock", ends_just_now)
    assert state_of(cfg).status == DONE


def test_a_run_that_ends_after_the_launch_is_not_called_killed(running, monkeypatch, capsys) -> None:
    cfg, folder, ends_just_now = running
    monkeypatch.setattr(plan, "FileLock", ends_just_now)
    sweep = launched(cfg, folder)
    assert not sweep.again(None)
    assert "killed" not in capsys.readouterr().err
    assert read_record(folder)["status"] == "completed"
    assert sweep.finished == {folder}


def test_a_killed_run_that_another_process_takes_up_is_waited_for(running, monkeypatch, capsys) -> None:
    cfg, folder, _ = running
    sweep = launched(cfg, folder)
    monkeypatch.setattr(turn, "LINGER_S", 0.1)
    other = FileLock(folder / ".lock")
    seen = plan.look(folder)
    assert seen == (False, read_record(folder))

    def taken_up(*_: object) -> tuple:
        other.acquire()  # just after it was looked at
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(rows, "look", taken_up)
        assert sweep.again(None)
    assert "killed" not in capsys.readouterr().err
    assert read_record(folder)["status"] == "running"
    assert (sweep.finished, sweep._busy) == (set(), {folder})
    other.release()
    sweep._before = {folder: ()}
    assert not sweep.again(None)  # that one was killed, too
    assert "its process was killed" in capsys.readouterr().err
    assert read_record(folder)["status"] == "failed"


def test_a_run_that_another_process_ended_is_not_called_killed(running) -> None:
    _, folder, _ = running
    write_json(folder / "record.json", read_record(folder) | {"status": "completed"})
    assert turn.mark_killed(folder) == ""
    assert read_record(folder)["status"] == "completed"


def launched(cfg: DictConfig, folder: Path) -> Sweep:
    """A sweep of one run after its first launch, during which something was written in its folder."""
    sweep = Sweep.__new__(Sweep)
    sweep.jobs, sweep.launcher, sweep.name, sweep.launches = [cfg], "BasicLauncher", "row", 1
    sweep.finished, sweep.strikes, sweep._launched, sweep._before = set(), rows.Counter(), [folder], {folder: ()}
    return sweep


def test_entries_that_others_are_writing_count_against_the_limit(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "fp32", 1000 / 1e9)
    (tmp_path / "old.bin").write_bytes(bytes(900))
    wanted = {tmp_path / "new.bin": 900}
    with (
        FileLock(tmp_path / "old.lock"),
        pytest.raises(FerLabError, match=r"other processes are writing, cache.max_gb"),
    ):
        store._make_room(wanted)
    assert os.path.getsize(tmp_path / "old.bin") == 900
    store._make_room(wanted)  # nobody holds it any more: it makes room
    assert not (tmp_path / "old.bin").exists()
