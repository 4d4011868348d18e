"""The rule by which the search keeps a file: fast enough to be worth it, and about as good as FP32."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy.ladder import TRAINED, Rung, changes
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.decision import Decision
from fer_lab.evaluation.significance import SCORES, group_counts, intervals

COARSE = ("bf16", "dynamic", "int8")  # precisions below FP32
ALIKE = 1.1  # latencies within this ratio are as good: timing again moves them as much
BY_INTERVAL = ("macro_f1",)  # scores of which a drop is forgiven where its interval includes 0


@dataclass(frozen=True)
class Drop:
    """Points that FP32 is better by, 0-100, with the 95 % interval of the paired bootstrap over duplicate groups."""

    points: float
    low: float
    high: float

    def too_large(self, allowed: float, by_interval: bool) -> bool:
        """Whether it counts as more than `allowed` points. NaN counts.

        by_interval: a drop beyond `allowed` counts only if its interval excludes 0, or beyond twice `allowed`, lest a
        small split let everything pass. For macro-F1, which a few faces of a rare class move by a point.
        """
        within = self.points <= allowed or (by_interval and self.low <= 0 and self.points <= 2 * allowed)
        return not within


@dataclass
class Trial:
    """A rung and what was found. latency_ms: median, batch 1, one thread; speedup: over the fastest FP32 file of the
    trained network in the same runtime. verdict: "passes", or why not. Absent values were not measured."""

    rung: Rung
    verdict: str = "not needed: another that passes is about as fast, or faster"
    bytes: int | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    drops: dict[str, Drop] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    decision: Decision | None = None
    logits: np.ndarray | None = None  # float32 N×K, of the validation split

    @property
    def passes(self) -> bool:
        return self.verdict == "passes"

    @property
    def kind(self) -> tuple[str, str]:
        """Runtime and precision."""
        return self.rung.runtime, self.rung.precision

    def entry(self) -> dict[str, Any]:
        """What export.json lists under `ladder`."""
        facts = {name: getattr(self, name) for name in ("bytes", "latency_ms", "speedup", "verdict", "validation")}
        return {**asdict(self.rung), **facts, "drops": {name: asdict(drop) for name, drop in self.drops.items()}}


@dataclass(frozen=True)
class Limits:
    """max_drop: points of accuracy and macro-F1 below FP32; of macro-F1 up to twice as many where the drop's interval
    includes 0. max_ece: ECE above FP32's, after calibrating anew.
    every_rung: judge all INT8 rungs, not only until one passes. every_kind: go on until one passes in every runtime and
    precision, bf16 and dynamic-range included, of which only INT8 can be chosen."""

    max_drop: float = 1.0
    max_ece: float = 0.01
    every_rung: bool = False
    every_kind: bool = False


@dataclass(frozen=True)
class Reference:
    """The FP32 file on validation: logits float32 N×K, calibration and metrics."""

    logits: np.ndarray
    calibration: Calibration
    metrics: dict[str, Any]


def drops(reference: np.ndarray, predicted: np.ndarray, split: FaceSplit, classes: int, key: str) -> dict[str, Drop]:
    """Accuracy and macro-F1 that `predicted` loses against `reference`, both int64 N classes of the split's faces."""
    groups = np.unique(split.groups, return_inverse=True)[1]
    counts = [group_counts(split.labels, answers, groups, classes)[None] for answers in (reference, predicted)]
    between = intervals(counts[0], counts[1], key)
    points = {name: float(score(counts[0][0].sum(0)) - score(counts[1][0].sum(0))) for name, score in SCORES.items()}
    return {name: Drop(100 * points[name], 100 * between[name].low, 100 * between[name].high) for name in SCORES}


def judge(found: dict[str, Drop], ece: float, reference_ece: float, limits: Limits) -> str:
    """ "passes", or what is wrong."""
    for name, drop in found.items():
        if drop.too_large(limits.max_drop, by_interval=name in BY_INTERVAL):
            return f"{name} drops by {drop.points:.1f} points [{drop.low:.1f}, {drop.high:.1f}]"
    if not ece <= reference_ece + limits.max_ece:
        return f"ECE rises from {reference_ece:.3f} to {ece:.3f}"
    return "passes"


def compare_speed(trials: Sequence[Trial]) -> None:
    """Fill in every trial's speedup."""
    for trial in trials:
        floats = [
            other.latency_ms
            for other in trials
            if other.latency_ms and (other.rung.runtime, other.rung.precision) == (trial.rung.runtime, "fp32")
            and other.rung.network == TRAINED
        ]  # fmt: skip
        if trial.latency_ms and floats:
            trial.speedup = min(floats) / trial.latency_ms


def contenders(trials: Sequence[Trial], precisions: Sequence[str] = ("int8",)) -> list[Trial]:
    """Trials of `precisions` that were timed and are faster than FP32 in their runtime, fastest first.

    Of files about as fast (steps of `ALIKE`, from the fastest on) those with fewer changes of the network come first,
    which are more faithful to it; of a network and what fine-tuning made of it, the one of lower NLL on validation.
    """
    timed = [trial for trial in trials if trial.rung.precision in precisions and trial.latency_ms]
    for trial in timed:
        if (trial.speedup or 0) <= 1:
            trial.verdict = "not faster than FP32"
    faster = [trial for trial in timed if (trial.speedup or 0) > 1]
    fastest = min((trial.latency_ms or 0 for trial in faster), default=0.0)

    def order(trial: Trial) -> tuple[float, ...]:
        latency = trial.latency_ms or 0
        step = math.floor(math.log(latency / fastest, ALIKE))
        return step, changes(trial.rung.network), latency, trial.validation.get("nll", np.inf)

    return sorted(faster, key=order)


def choose(trials: Sequence[Trial]) -> Trial | None:
    """The first of the contenders in INT8 that passes; None where none does."""
    return next((trial for trial in contenders(trials) if trial.passes), None)


def best_of_each_kind(trials: Sequence[Trial]) -> list[Trial]:
    """The fastest trial of every runtime and precision: of those that pass, in FP32 of the trained network's."""
    kinds = {trial.kind for trial in trials}
    found = [fastest_float([trial for trial in trials if trial.kind == kind]) for kind in kinds if kind[1] == "fp32"]
    coarse = [trial for precision in COARSE for trial in contenders(trials, (precision,))]  # INT8 as `choose` has it
    found += [next((t for t in coarse if t.kind == kind and t.passes), None) for kind in kinds if kind[1] != "fp32"]
    return sorted((trial for trial in found if trial is not None), key=trials.index)


def fastest_float(trials: Sequence[Trial]) -> Trial | None:
    """The fastest FP32 trial of the trained network; None where none was timed."""
    floats = [t for t in trials if t.rung.precision == "fp32" and t.rung.network == TRAINED and t.latency_ms]
    return min(floats, key=lambda trial: trial.latency_ms or 0, default=None)
