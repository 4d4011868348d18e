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


def sweep(outputs: Path, *words: str) -> list[str]:
    command = [sys.executable, "-m", "fer_lab.train", "sweep=demo", "seed=0,1"]
    return [*command, *TINY, *FIXED, f"paths.outputs={outputs}", *words]


def table(outputs: Path) -> bytes:
    words = ["sweep=demo", "seed=0,1", *TINY, *FIXED, f"paths.outputs={outputs}"]
    subprocess.run([sys.executable, "-m", "fer_lab.tables", *words], check=True, capture_output=True)
    return (outputs / "tables" / "demo" / "results.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [[], ["schedule=two_stage", "schedule.top_layers=20"]], ids=["full", "two_stage"])
def test_three_kills_leave_no_trace(tmp_path: Path, schedule: list[str]) -> None:
    start = time.monotonic()
    subprocess.run(sweep(tmp_path / "whole", *schedule), check=True)
    lasts = time.monotonic() - start
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments of the kills: random.Random({seed})")
    moments = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen(sweep(tmp_path / "cut", *schedule), start_new_session=True)
        try:
            process.wait(timeout=moments.uniform(0.2, 0.8) * lasts)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(sweep(tmp_path / "cut", *schedule), check=True)
    assert table(tmp_path / "cut") == table(tmp_path / "whole")
    assert b"completed" in table(tmp_path / "cut")
