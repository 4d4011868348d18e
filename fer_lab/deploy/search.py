"""The search for the fastest INT8 file that is still good: builds the ladder's rungs, times them, judges them.

Latency first, because it depends on no weight: every rung is drafted and timed. Then the INT8 rungs are built for good,
the fastest first, until one passes on the validation split. Where that is a changed network, fitted layer by layer, it
is distilled as well, and the better of two equally fast files is kept; slower ones need no distillation any more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy.copies import Copies
from fer_lab.deploy.judge import COARSE, Drop, Limits, Reference, Trial, compare_speed, contenders, drops, judge
from fer_lab.deploy.ladder import DISTILLED, QAT, TRAINED, Rung, twin
from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.workshop import Workshop
from fer_lab.evaluation.decision import Decision
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import predict

FIRST_LOOK = 512  # validation faces on which a rung that is far off is given up
#: Points of accuracy beyond the allowed that no other runtime brings back, and no distillation of a minute or two.
HOPELESS, TAUGHT = 1.0, 2.0
TURN, WARM, LEAST = 0.1, 3, 5  # of timing: seconds a file and round, calls before them, calls at least
OVERTIME = "not tried: takes about"
Decide = Callable[[np.ndarray, np.ndarray], Decision]  # logits and labels of validation to calibration and threshold


def search(
    workshop: Workshop,
    rungs: Sequence[Rung],
    metadata: ModelMetadata,
    validation: FaceSplit,
    reference: Reference,
    decide: Decide,
    limits: Limits,
    folder: Path,
    threads: int,
    rounds: int = 5,
    iterations: int = 20,
    deadline: float | None = None,
) -> list[Trial]:
    """Draft and time every rung, then judge the INT8 rungs, fastest first; see :func:`choose`.

    Args:
        reference: what drops are against. decide: fits calibration and threshold. folder: for the files, thrown away
            by the caller. threads: of predicting; timing uses one. rounds, iterations: of timing, interleaved.
        deadline: on the clock of time.perf_counter; nothing is built that would not be judged by then, but the fastest
            file of the network as it is, where no other was.
    """
    console = Console(stderr=True)
    trials = [Trial(rung) for rung in rungs]
    twins = {i: j for i, rung in enumerate(rungs) if (j := twin(rung, rungs)) is not None}
    files: dict[int, Classifier] = {}
    with console.status("drafting") as status:
        for i, trial in enumerate(trials):
            if i in twins:
                continue
            status.update(f"drafting {i + 1} of {len(trials)}: {trial.rung.runtime}, {trial.rung.name}")
            try:
                path = workshop.write(trial.rung, metadata, folder / f"draft{i}", draft=True)
                files[i] = Classifier.load(path)
            except Exception as error:  # a tool that cannot build one rung does not end the search
                trial.verdict = f"not built: {_first_line(error)}"
                continue
            trial.bytes = size(path)
    for i, latency in time_files(files, validation.images[:1], rounds, iterations).items():
        trials[i].latency_ms = latency
    for i, j in twins.items():
        trials[i] = replace(trials[j], rung=rungs[i])
    files.clear()
    compare_speed(trials)
    settled: set[object] = set()
    pace = next((t.latency_ms for t in trials if t.latency_ms and t.rung.precision == "fp32"), None)
    floats = [t for t in trials if t.rung.precision == "fp32" and t.rung.network != TRAINED and t.latency_ms]
    coarse = contenders(trials, COARSE if limits.every_kind else ("int8",))
    coarse.sort(key=lambda trial: trial.rung.network.endswith(QAT))  # it takes minutes: where nothing else passes
    for trial in [*coarse, *floats]:
        place = trial.kind if limits.every_kind or trial in floats else "the one"
        plain = twins.get(trials.index(trial))
        better = plain is not None and trials[plain].passes and trial.rung.network.endswith(DISTILLED)
        if place in settled and not limits.every_rung and not better:
            if trial.rung.network.endswith(QAT):
                trial.verdict = "not needed: another passes without"
            continue
        reason = _reason_against(trial, None if plain is None else trials[plain], trials, limits)
        if reason is None and deadline is not None:
            expected = workshop.seconds(trial.rung, pace) if pace else 0.0
            first = trial.rung.network == TRAINED and not any(other.drops for other in trials)
            if not first and time.perf_counter() + expected > deadline:
                reason = f"{OVERTIME} {expected / 60:.1f} min"
        if reason is not None:
            trial.verdict = reason
            continue
        started = time.perf_counter()
        try:
            path = workshop.write(trial.rung, metadata, folder / f"rung{trials.index(trial)}", draft=False)
            title = f"{trial.rung.runtime}, {trial.rung.name}"
            classifier = Copies(path, threads)
            trial.drops = _first_look(classifier, metadata, validation, reference, f"{metadata.run_key} {title}")
            if trial.drops["accuracy"].low > 2 * limits.max_drop:
                trial.verdict = f"accuracy drops by {trial.drops['accuracy'].points:.0f} points on {FIRST_LOOK} faces"
                console.print(f"{title}: {trial.verdict} ({time.perf_counter() - started:.0f} s)", highlight=False)
                continue
            logits = predict(classifier.logits, validation, title)
        except Exception as error:
            trial.verdict = f"not built: {_first_line(error)}"
            continue
        _judge(trial, logits, metadata, validation, reference, decide, limits)
        console.print(f"{title}: {trial.verdict} ({time.perf_counter() - started:.0f} s)", highlight=False)
        trial.bytes = size(path)
        if trial.passes:
            settled.add(place)
    return trials


def _reason_against(trial: Trial, plain: Trial | None, trials: Sequence[Trial], limits: Limits) -> str | None:
    """Why a rung need not be tried, by what the others gave; None where it is to be. plain: its twin, if it has one."""
    if plain is not None and plain.passes and trial.rung.network.endswith(QAT):
        return "not needed: another passes without"
    if plain is not None and trial.rung.network.endswith(DISTILLED):
        lost = plain.drops.get("accuracy")
        if lost is None:
            return plain.verdict if plain.verdict.startswith("not tried") else "not tried: cannot be built"
        if lost.points > limits.max_drop + TAUGHT:
            return "not tried: too far off to be fine-tuned"
    if trial.rung.network == TRAINED or limits.every_rung:
        return None
    for other in trials:  # what a change of the network loses, each runtime loses, and so does a further change
        same = other.rung.network == trial.rung.network
        part = set(other.rung.network.split(" + ")) <= set(trial.rung.network.split(" + "))
        further = part and not trial.rung.network.endswith(QAT)  # which may bring more back
        judged = (same or further) and other.logits is not None
        taught = trial.rung.network.endswith(DISTILLED) and not other.rung.network.endswith(DISTILLED)
        if judged and other.drops["accuracy"].points > limits.max_drop + (TAUGHT if taught else HOPELESS):
            points = f"{other.drops['accuracy'].points:.1f}"
            which = "the same network" if same else f"{other.rung.network} alone"
            return f"not tried: {which} loses {points} points in {other.rung.runtime}"
    return None


def _first_look(
    classifier: Classifier, metadata: ModelMetadata, validation: FaceSplit, reference: Reference, key: str
) -> dict[str, Drop]:
    """What a file loses on a few faces, evenly spread: one that is far off need not be asked about all."""
    rows = np.unique(np.linspace(0, len(validation) - 1, min(FIRST_LOOK, len(validation))).astype(int))
    some = FaceSplit(
        *(values[rows] for values in (validation.images, validation.labels, validation.ids, validation.groups))
    )
    logits = predict(classifier.logits, some, "first look")
    return drops(reference.logits[rows].argmax(1), logits.argmax(1), some, len(metadata.class_names), key)


def _judge(
    trial: Trial,
    logits: np.ndarray,
    metadata: ModelMetadata,
    validation: FaceSplit,
    reference: Reference,
    decide: Decide,
    limits: Limits,
) -> None:
    if not np.isfinite(logits).all():
        trial.verdict = "its logits are not finite"
        return
    trial.logits, trial.decision = logits, decide(logits, validation.labels)
    names = metadata.class_names
    metrics = compute_metrics(logits, validation.labels, names, trial.decision.calibration)
    trial.validation = {name: metrics[name] for name in ("accuracy", "macro_f1", "ece", "nll")}
    predicted = trial.decision.calibration.log_probabilities(logits).argmax(1)
    before = reference.calibration.log_probabilities(reference.logits).argmax(1)
    key = f"{metadata.run_key} {trial.rung.runtime} {trial.rung.name}"
    trial.drops = drops(before, predicted, validation, len(names), key)
    trial.verdict = judge(trial.drops, metrics["ece"], reference.metrics["ece"], limits)


def recalibrated(metadata: ModelMetadata, decision: Decision) -> ModelMetadata:
    """`metadata` with what was decided on a rung's own logits."""
    return replace(metadata, calibration=decision.calibration.to_dict(), abstain_below=decision.abstain_below)


def time_files(files: dict[int, Classifier], face: np.ndarray, rounds: int, iterations: int) -> dict[int, float]:
    """Median milliseconds of each file on one face (uint8 1×H×W×C), in rounds A B C A B C.

    iterations: calls of a file in a round; fewer, but `LEAST`, of one that would take longer than `TURN` seconds.
    """
    face = np.ascontiguousarray(face)
    medians: dict[int, list[float]] = {i: [] for i in files}
    for _ in range(rounds):
        for i, classifier in files.items():
            calls: list[float] = []
            wanted = iterations
            while len(calls) < WARM + wanted:
                started = time.perf_counter()
                classifier.probabilities(face)
                calls.append(time.perf_counter() - started)
                if len(calls) == WARM:  # caches are warm
                    wanted = min(iterations, max(int(TURN / calls[-1]), LEAST))
            medians[i].append(1e3 * float(np.median(calls[WARM:])))
    return {i: float(np.median(values)) for i, values in medians.items()}


def size(path: Path) -> int:
    """Bytes of a model file, of OpenVINO's two together."""
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


def show(trials: Sequence[Trial], chosen: Trial | None, limits: Limits) -> None:
    """Print the ladder."""
    caption = (
        "batch 1, one thread; × FP32: against the fastest FP32 file of the trained network in the same runtime; "
        f"drops in points on validation [95 % paired interval], {limits.max_drop} allowed, of macro-F1 twice as many "
        "where the interval includes 0"
    )
    table = Table(title="The ladder", caption=caption, box=SIMPLE)
    table.add_column("runtime", no_wrap=True)
    table.add_column("rung")
    for name in ("KB", "ms", "× FP32", "accuracy", "macro-F1", "ECE"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for trial in sorted(trials, key=lambda trial: trial.latency_ms or float("inf")):
        fallen = [_interval(trial.drops.get(name)) for name in ("accuracy", "macro_f1")]
        base = trial.rung.precision == "fp32" and trial.rung.network == TRAINED and trial.latency_ms
        table.add_row(
            trial.rung.runtime,
            trial.rung.name,
            "" if trial.bytes is None else f"{trial.bytes / 1000:.0f}",
            _number(trial.latency_ms, 2),
            _number(trial.speedup, 2),
            *fallen,
            _number(trial.validation.get("ece"), 3),
            "[bold]chosen[/bold]" if trial is chosen else "" if base else trial.verdict,
        )
    Console().print(table)


def _interval(drop: Drop | None) -> str:
    return "" if drop is None else f"{drop.points:+.1f} \\[{drop.low:+.1f}, {drop.high:+.1f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
