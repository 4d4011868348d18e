"""Start, latency, throughput and memory of model files, each in a process of its own, in interleaved rounds.

Rounds go A B C A B C, so that a machine that drifts favours none; ratios are taken within a round.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import Progress

from fer_lab.errors import FerLabError


@dataclass(frozen=True)
class Plan:
    """How to measure.

    threads: numbers of CPU threads. batches: faces a call. rounds; warmup, iterations: calls in each round at a batch
    of one, fewer at larger ones. starts: fresh processes, for load time and first answer.
    """

    threads: Sequence[int] = (1, 2)
    batches: Sequence[int] = (1, 32)
    rounds: int = 5
    warmup: int = 20
    iterations: int = 100
    starts: int = 3

    def settings(self) -> list[tuple[int, int]]:
        """(threads, batch), batch by batch; the first is what a single number means."""
        return [(threads, batch) for batch in self.batches for threads in self.threads]

    def calls(self, batch: int) -> tuple[int, int]:
        """Warm-up and timed calls of one round."""
        return max(self.warmup // batch, 1), max(self.iterations // batch, 2)


@dataclass(frozen=True)
class Target:
    """What is measured: a file, the options it is opened with, whether it is slow to start (once, at the first setting
    only)."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    slow_start: bool = False


class Asked(Protocol):
    """One target in a process of its own."""

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]: ...


@dataclass
class Measured:
    """starts: an answer a start. calls: (threads, batch) -> rounds of milliseconds a call. error: why there is none;
    refused: (threads, batch) -> why there is none of these."""

    starts: list[dict[str, float]] = field(default_factory=list)
    calls: dict[tuple[int, int], list[list[float]]] = field(default_factory=dict)
    refused: dict[tuple[int, int], str] = field(default_factory=dict)
    error: str | None = None

    def start(self) -> dict[str, float]:
        """Medians over the starts."""
        return {key: round(float(np.median([one[key] for one in self.starts])), 3) for key in self.starts[0]}

    def latency(self, threads: int, batch: int) -> dict[str, float]:
        """Milliseconds a call: the median over rounds of each round's median, with the rounds' least and greatest;
        p95 and p99 of all calls; fps: faces a second at the median, with their least and greatest."""
        rounds = self.calls[threads, batch]
        middle = [float(np.median(calls)) for calls in rounds]
        pooled = np.concatenate([np.asarray(calls) for calls in rounds])
        median = float(np.median(middle))
        return {
            "latency_ms_median": median,
            "latency_ms_low": min(middle),
            "latency_ms_high": max(middle),
            "latency_ms_p95": float(np.percentile(pooled, 95)),
            "latency_ms_p99": float(np.percentile(pooled, 99)),
            "fps": 1e3 * batch / median,
            "fps_low": 1e3 * batch / max(middle),
            "fps_high": 1e3 * batch / min(middle),
        }

    def ratio(self, base: "Measured", threads: int, batch: int) -> dict[str, float] | None:
        """How many times faster than `base`: the median of the rounds' ratios of medians, their least and greatest."""
        own, other = (one.calls.get((threads, batch)) for one in (self, base))
        if not own or not other:
            return None
        ratios = [float(np.median(b) / np.median(a)) for a, b in zip(own, other, strict=True)]
        return {"ratio": float(np.median(ratios)), "low": min(ratios), "high": max(ratios)}


def measure(targets: Mapping[str, Target], plan: Plan, start: Any = None) -> dict[str, Measured]:
    """Measure every named target; one that fails has an `error`, and the others go on.

    Args:
        start: makes a context manager that gives an `Asked`; `process` by default.
    """
    start = start or process
    found = {name: Measured() for name in targets}
    first = plan.settings()[0]
    with ExitStack() as stack, Progress(transient=True) as progress:
        work = progress.add_task("starting", total=len(targets) * (plan.starts + plan.rounds * len(plan.settings())))
        workers: dict[str, Asked] = {}
        for number in range(plan.starts):
            last = number == plan.starts - 1
            for name, target in targets.items():
                progress.advance(work)
                if found[name].error or (target.slow_start and not last):
                    continue
                with ExitStack() as own:
                    worker = own.enter_context(start())
                    asked = {"path": str(target.path.resolve()), "threads": first[0], "options": target.options}
                    answer = worker.ask("start", **asked)
                    if "error" in answer:
                        found[name].error = answer["error"]
                        continue
                    found[name].starts.append(answer)
                    if last:
                        workers[name] = worker
                        stack.push(own.pop_all())
        progress.update(work, description="timing")
        for _ in range(plan.rounds):
            for setting in plan.settings():
                for name, target in targets.items():
                    progress.advance(work)
                    measured = found[name]
                    if measured.error or setting in measured.refused or (target.slow_start and setting != first):
                        continue
                    (threads, batch), (warmup, iterations) = setting, plan.calls(setting[1])
                    asked = {"threads": threads, "batch": batch, "warmup": warmup, "iterations": iterations}
                    answer = workers[name].ask("time", **asked)
                    if "error" not in answer:
                        measured.calls.setdefault(setting, []).append(answer["calls_ms"])
                    elif setting == first:
                        measured.error = answer["error"]
                        measured.calls.clear()  # of fewer rounds than the others'
                    else:
                        measured.refused[setting] = answer["error"]
                        measured.calls.pop(setting, None)
    return found


@contextmanager
def process() -> Iterator["Child"]:
    """A child process that runs `fer_lab.deploy.worker`, ended with the block."""
    command = [sys.executable, "-m", "fer_lab.deploy.worker"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        try:
            yield Child(child)
        finally:
            child.kill()
            with suppress(OSError):  # what a child that had ended was asked is still to be written
                child.stdin.close()  # type: ignore[union-attr]


class Child:
    """The parent's end of a worker."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self.child = child

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer; {"error"} where the process ended instead."""
        pipe_in, pipe_out = self.child.stdin, self.child.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(json.dumps({"ask": question, **arguments}) + "\n")
            pipe_in.flush()
            line = pipe_out.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        status = self.child.wait()
        return {"error": f"its process ended with status {status} when asked to {question}"}


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The plan that `benchmark.*` describes.

    Raises:
        FerLabError: nothing to measure, or fewer than one of something.
    """
    counts = ("rounds", "iterations", "starts")
    lists = {key: [int(value) for value in settings[key]] for key in ("threads", "batches")}
    if any(settings[key] < 1 for key in counts) or any(not values or min(values) < 1 for values in lists.values()):
        raise FerLabError(
            "benchmark: threads and batches are lists of 1 or more; rounds, iterations, starts at least 1."
        )
    rounds, iterations, starts = (int(settings[key]) for key in counts)
    return Plan(lists["threads"], lists["batches"], rounds, int(settings["warmup"]), iterations, starts)


def runtime_versions() -> dict[str, str]:
    """Of the runtimes that not everyone has, where they are installed."""
    found = {}
    for name in ("openvino", "ai-edge-litert"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
