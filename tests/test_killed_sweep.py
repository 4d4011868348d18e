"""A sweep killed with -9 at random moments and resumed ends with the bytes of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY

FIXED = ("trainer.num_threads=1", "trainer.max_epochs=5", "cache.stages=true")
KEPT = ("schedule=two_stage", "schedule.top_layers=20", "schedule.cache_views=2")


def sweep(outputs: Path, *words: str) -> list[str]:
    command = [sys.executable, "-m", "fer_lab.train", "sweep=demo", "seed=0,1"]
    return [*command, *TINY, *FIXED, f"paths.outputs={outputs}", *words]


def table(outputs: Path, *words: str) -> bytes:
    command = [sys.executable, "-m", "fer_lab.tables", "sweep=demo", "table.seeds=[0,1]"]
    subprocess.run([*command, *TINY, *FIXED, f"paths.outputs={outputs}", *words], check=True, capture_output=True)
    return (outputs / "tables" / "demo" / "results.csv").read_bytes()


def files(outputs: Path) -> int:
    """Grows while a sweep works: decoded data, features, checkpoints, histories, records."""
    return sum(1 for path in outputs.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [(), KEPT], ids=["full", "kept features"])
def test_three_kills_leave_no_trace(tmp_path: Path, schedule: tuple[str, ...]) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(sweep(whole, *schedule), check=True)
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments of the kills: random.Random({seed})")
    moments, kills = random.Random(seed), 0
    while kills < 3:
        process = subprocess.Popen(sweep(cut, *schedule), start_new_session=True)
        wanted = files(cut) + moments.randint(1, 12)  # the kill follows what was written, not the clock
        while process.poll() is None and files(cut) < wanted:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, "the sweep ended before it could be killed three times"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run(sweep(cut, *schedule), check=True)
    assert table(cut, *schedule) == table(whole, *schedule)
    assert table(whole, *schedule).count(b"completed") == 2
