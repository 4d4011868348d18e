"""Timing: the order of what is asked, the numbers by hand, and one real file in a process of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_lab.deploy.latency import Measured, Plan, Target, measure, plan_of, process
from fer_lab.errors import FerLabError


class Clock:
    """Stands in for the processes: a file's calls take as many ms as its name says, more in later rounds; `x` breaks at
    batches, `d` after two calls, `bad` does not start."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    @contextmanager
    def start(self) -> Iterator["Clock.One"]:
        yield Clock.One(self)

    class One:
        def __init__(self, clock: "Clock") -> None:
            self.clock, self.name, self.round = clock, "", 0

        def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
            if question == "start":
                self.name = Path(arguments["path"]).stem
                self.clock.asked.append(("start", self.name))
                if self.name == "bad":
                    return {"error": "no such runtime"}
                return {"import_ms": 1.0, "load_ms": 10.0 + len(self.clock.asked), "first_ms": 2.0}
            threads, batch = arguments["threads"], arguments["batch"]
            self.clock.asked.append((self.name, f"{threads}×{batch}"))
            if self.name.startswith("x") and batch > 1:
                return {"error": "one face at a time"}
            self.round += 1
            if self.name.startswith("d") and self.round > 2:
                return {"error": "it ended"}
            base = float(self.name.lstrip("dx"))
            return {"calls_ms": [base * batch + self.round] * arguments["iterations"]}


def test_starts_and_rounds_are_interleaved() -> None:
    clock, plan = Clock(), Plan(threads=(1,), batches=(1, 4), rounds=2, warmup=0, iterations=8, starts=2)
    measure({name: Target(Path(f"{name}.onnx")) for name in ("1", "4")}, plan, clock.start)
    starts = [("start", "1"), ("start", "4")]
    one_round = [("1", "1×1"), ("4", "1×1"), ("1", "1×4"), ("4", "1×4")]
    assert clock.asked == [*starts, *starts, *one_round, *one_round]


def test_numbers_by_hand() -> None:
    fast = Measured(calls={(1, 2): [[1.0, 2.0, 9.0], [4.0, 4.0, 4.0], [3.0, 3.0, 3.0]]})
    slow = Measured(calls={(1, 2): [[4.0] * 3, [4.0] * 3, [9.0] * 3]})
    numbers = fast.latency(1, 2)
    assert [numbers[f"latency_ms_{part}"] for part in ("median", "low", "high")] == [3, 2, 4]
    assert numbers["latency_ms_p95"] == pytest.approx(np.percentile([1, 2, 9, 4, 4, 4, 3, 3, 3], 95))
    assert numbers["fps"] == pytest.approx(2000 / 3)
    assert (numbers["fps_low"], numbers["fps_high"]) == (500, 1000)
    assert fast.ratio(slow, 1, 2) == {"ratio": 2.0, "low": 1.0, "high": 3.0}  # of rounds: 4/2, 4/4, 9/3
    assert fast.ratio(slow, 2, 2) is None


def test_what_fails_is_said_and_the_others_go_on() -> None:
    clock, plan = Clock(), Plan(threads=(1,), batches=(1, 4), rounds=2, warmup=0, iterations=8, starts=1)
    found = measure({name: Target(Path(f"{name}.onnx")) for name in ("bad", "x2", "3")}, plan, clock.start)
    assert found["bad"].error == "no such runtime"
    assert found["x2"].error is None
    assert list(found["x2"].calls) == [(1, 1)]
    assert found["x2"].refused == {(1, 4): "one face at a time"}
    assert list(found["3"].calls) == [(1, 1), (1, 4)]


def test_what_is_slow_to_start_starts_once_and_answers_at_the_first_setting_only() -> None:
    clock, plan = Clock(), Plan(threads=(1, 2), batches=(1,), rounds=2, warmup=0, iterations=2, starts=3)
    measure({"1": Target(Path("1.onnx"), slow_start=True)}, plan, clock.start)
    assert clock.asked == [("start", "1"), ("1", "1×1"), ("1", "1×1")]


def test_larger_batches_get_fewer_calls() -> None:
    plan = Plan(batches=(1, 32), warmup=20, iterations=100)
    assert plan.calls(1) == (20, 100)
    assert plan.calls(32) == (1, 3)
    assert plan.settings() == [(1, 1), (2, 1), (1, 32), (2, 32)]


def test_settings_that_measure_nothing_are_refused() -> None:
    good = {"threads": [1], "batches": [1], "rounds": 1, "warmup": 0, "iterations": 1, "starts": 1}
    assert plan_of(good).settings() == [(1, 1)]
    for bad in ({"rounds": 0}, {"threads": []}, {"batches": [0]}, {"starts": 0}):
        with pytest.raises(FerLabError, match="at least 1"):
            plan_of({**good, **bad})


def test_a_real_file_in_a_process_of_its_own(fp32_file: Path) -> None:
    ballast = np.ones(200 * 2**17)  # 200 MiB of this process, which are not the file's
    plan = Plan(threads=(1,), batches=(1,), rounds=1, warmup=0, iterations=3, starts=1)
    found = measure({"good": Target(fp32_file), "gone": Target(fp32_file.with_name("gone.onnx"))}, plan)
    start = found["good"].start()
    assert min(start.values()) > 0
    assert start["peak_memory_mb"] < 200 <= ballast.nbytes / 2**20
    assert len(found["good"].calls[1, 1][0]) == 3
    assert "does not exist" in str(found["gone"].error)


def test_a_killed_process_is_an_answer() -> None:
    with process() as worker:
        os.kill(worker.child.pid, 9)
        for _ in range(2):
            assert "ended with status -9" in worker.ask("start", path="x", threads=1, options={})["error"]


def test_a_file_that_ends_halfway_leaves_no_rounds_behind() -> None:
    """The others' ratios to it would be of unequal rounds."""
    clock, plan = Clock(), Plan(threads=(1,), batches=(1,), rounds=3, warmup=0, iterations=8, starts=1)
    found = measure({name: Target(Path(f"{name}.onnx")) for name in ("d1", "2")}, plan, clock.start)
    assert (found["d1"].error, found["d1"].calls) == ("it ended", {})
    assert len(found["2"].calls[1, 1]) == 3
    assert found["2"].ratio(found["d1"], 1, 1) is None
