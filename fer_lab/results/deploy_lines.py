"""The deploy table: a line for every backbone, runtime and precision, and whether the targets hold.

Targets are for one thread and a batch of one. A file is good enough when accuracy and macro-F1 on validation, measured
through it, are at most a point below the network's and its ECE at most 0.01 above; or when a search chose it, which
forgives macro-F1 by its interval. What INT8 is to reach, one file is to reach: of those that reach it all the fastest
against FP32, or of all good ones. × FP32 is the search's own where no float file of the runtime was shipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fer_lab.results.benchmarked import at, ratio
from fer_lab.results.deployed import Deployed, deployed
from fer_lab.results.rows import Results, shipped

MOST_DROP, MOST_ECE = 1.0, 0.01  # points of accuracy and macro-F1; share
#: How many times faster than FP32 of the same runtime INT8 shall be; any other network: not slower.
INT8_SPEED = {"mobilenetv2_100": 2.2, "efficientnet_b0": 2.2, "mobilenetv3_large": 1.5, "mobilenetv3_small": 1.5}
INT8_SIZE, TORCH_SPEED = 0.30, 5.0
HELD, MISSED, NOT_MEASURED = "held", "missed", "not measured"
_ROUNDING = 1e-9  # of a difference of two shares

Line = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """row: of the table; aim: in words; value: what was reached, None where nothing was measured; bound: what it is
    compared with; verdict: held, missed or not measured; file: the file it is about; why: of a missed one."""

    row: str
    aim: str
    value: float | None
    bound: float
    verdict: str
    file: str = ""
    why: str = ""


def measured(results: Results) -> list[Deployed]:
    """Files of the runs that a benchmark of several settings has measured."""
    return [one for one in deployed(results) if any("measured" in e for e in one.run.benchmark.get("entries", []))]


def deploy_lines(results: Results) -> list[Line]:
    """A line a file, in the order of the rows; None for what was not measured.

    Sizes in bytes, times in ms a call at one thread and a batch of one unless the name says otherwise; drops in points
    against the network; `times_` how many times faster, with the least and greatest of the rounds.
    """
    entries = measured(results)
    return [_line(one, entries) for one in entries]


def _line(one: Deployed, entries: Sequence[Deployed]) -> Line:
    record, validation, timing = one.run.record, one.validation, one.timing
    own, settings = shipped(record), one.run.benchmark.get("settings", {})
    line: Line = {
        "row": one.run.row,
        "seed": one.run.seed,
        "backbone": record["model"]["backbone"],
        "input_size": record["model"]["input_size"],
        "runtime": one.runtime,
        "precision": one.precision,
        "file": one.about.get("file", ""),
        "rung": one.about.get("rung") or "",
        "bytes": one.bytes,
        "bytes_to_fp32": _size_ratio(one, entries),
        "network": one.about.get("network") or "",
        "macs": None if one.about.get("network") else record["model"]["macs"],
        **{name: validation.get(name) for name in ("accuracy", "macro_f1", "ece")},
        **{f"{name}_drop": _points(own[name], validation.get(name)) for name in ("accuracy", "macro_f1")},
        "ece_rise": None if validation.get("ece") is None else validation["ece"] - own["ece"],
        **{name: timing.get(name) for name in ("import_ms", "load_ms", "first_ms", "peak_memory_mb")},
    }
    for batch in settings.get("batches", []):
        for threads in settings.get("threads", []):
            numbers, where = at(timing, threads, batch), f"_b{batch}_t{threads}"
            parts = {"p50": "median", "low": "low", "high": "high", "p95": "p95", "p99": "p99"}
            line |= {f"ms_{part}{where}": numbers.get(f"latency_ms_{key}") for part, key in parts.items()}
            line |= {f"faces_per_second{where}": numbers.get("fps")}
    for base in ("fp32", "torch"):
        found = ratio(timing, base)
        line |= {
            f"times_{base}{tail}": found.get(key) for tail, key in (("", "ratio"), ("_low", "low"), ("_high", "high"))
        }
    if line["times_fp32"] is None and line["times_torch"] is not None:  # no float file of this runtime was shipped
        line["times_fp32"] = one.about.get("speedup")
    line |= {"load_average": timing.get("load_average"), **_test_drop(one)}
    return line | {"chosen": _chosen(one), "none_passed": _none_passed(one)}


def _chosen(one: Deployed) -> bool:
    """Whether a search found this file good; of macro-F1, whatever its limits were, within ours or by the interval."""
    if one.precision == "fp32" or one.about.get("verdict") != "passes":
        return False
    ladder = one.run.export.get("ladder") or []
    own: dict[str, Any] = next(
        (rung for rung in ladder if f"{rung['runtime']}, {rung['name']}" == one.about.get("rung")), {}
    )
    rare = (own.get("drops") or {}).get("macro_f1")
    return rare is None or rare["points"] <= (2 * MOST_DROP if rare["low"] <= 0 else MOST_DROP)


def _none_passed(one: Deployed) -> bool:
    """Whether a search of the run's files found no INT8 file good, so that none shipped."""
    ladder = one.run.export.get("ladder") or []
    return bool(ladder) and not any(rung.get("chosen") for rung in ladder)


def _test_drop(one: Deployed) -> dict[str, Any]:
    """Points that the search's choice loses on the test split, of accuracy or macro-F1, whichever is more; and whether
    that is macro-F1's alone, by an interval that includes 0."""
    export = one.run.export
    if not (export.get("test") and one.about.get("rung")) or one.about["rung"] != export.get("chosen"):
        return {"test_drop": None, "test_drop_forgiven": None}
    drops = export["test"]["drops"]
    rare, rest = drops.get("macro_f1"), [drop["points"] for name, drop in drops.items() if name != "macro_f1"]
    forgiven = bool(rare) and rare["low"] <= 0 and MOST_DROP < rare["points"] <= 2 * MOST_DROP
    within = all(points <= MOST_DROP for points in rest)
    return {"test_drop": max(drop["points"] for drop in drops.values()), "test_drop_forgiven": forgiven and within}


def _size_ratio(one: Deployed, entries: Sequence[Deployed]) -> float | None:
    """Bytes against the float file of the trained network, in the same runtime where there is one."""
    floats = [e for e in entries if e.run is one.run and e.precision == "fp32" and not e.about.get("network")]
    own = [e for e in floats if e.runtime == one.runtime] or [e for e in floats if e.about]
    return one.bytes / own[0].bytes if own and own[0].bytes and one.bytes else None


def _points(own: float, value: float | None) -> float | None:
    return None if value is None else 100 * (own - value)


def good_enough(line: Line) -> bool:
    """Whether a file may stand for the network: by the limits, or as the search judged it, by macro-F1's interval."""
    drops = (line["accuracy_drop"], line["macro_f1_drop"])
    if None in drops or line["ece_rise"] is None or line["accuracy_drop"] > MOST_DROP + _ROUNDING:
        return False
    if line["ece_rise"] > MOST_ECE + _ROUNDING:
        return False
    return line["chosen"] or max(drops) <= MOST_DROP + _ROUNDING


def targets(lines: Sequence[Line]) -> list[Target]:
    """The targets of every row, in the order of the lines."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        rows.setdefault(line["row"], []).append(line)
    return [target for row, own in rows.items() for target in _of_row(row, own)]


def _of_row(row: str, lines: Sequence[Line]) -> list[Target]:
    int8 = [line for line in lines if line["precision"] == "int8" and line["accuracy_drop"] is not None]
    good = [line for line in int8 if good_enough(line)]
    backbone = lines[0]["backbone"]
    speed = INT8_SPEED.get(backbone, 1.0)
    whole = [line for line in good if (line["times_fp32"] or 0) >= speed and (line["bytes_to_fp32"] or 1) <= INT8_SIZE]
    chosen = _best(whole, "times_fp32") or _best(good, "times_fp32") or _best(int8, "times_fp32")
    quick = _best([line for line in lines if line["file"] and good_enough(line)], "times_torch")
    drop = max(chosen["accuracy_drop"], chosen["macro_f1_drop"]) if chosen else None
    why = "" if good or not (int8 or lines[0]["none_passed"]) else "no INT8 file is good enough"
    times, size = (chosen[key] if chosen else None for key in ("times_fp32", "bytes_to_fp32"))
    faster = [_judge(row, f"INT8 at least {speed} times as fast as FP32 of its runtime", times, speed, chosen, why)]
    best = quick["times_torch"] if quick else None
    within = _judge(row, "INT8 within 1.0 point of the network", drop, MOST_DROP, chosen, why, below=True)
    if within.verdict == MISSED and good:
        within = replace(within, verdict=HELD, why="by its interval")
    asked = next((line for line in lines if line["test_drop"] is not None), None)
    lost, aim = asked and asked["test_drop"], "the search's choice within 1.0 point on test"
    on_test = _judge(row, aim, lost, MOST_DROP, asked, below=True)
    if asked and asked["test_drop_forgiven"]:
        on_test = replace(on_test, verdict=HELD, why="by its interval")
    return [
        within,
        *(faster if speed > 1 else []),
        _judge(row, "INT8 not slower than FP32 of its runtime", times, 1.0, chosen, why),
        _judge(row, "INT8 at most 0.30 of FP32's bytes", size, INT8_SIZE, chosen, why, below=True),
        _judge(row, "fastest file at least 5 times as fast as torch eager", best, TORCH_SPEED, quick),
        *([on_test] if asked else []),
    ]


def _best(lines: Sequence[Line], key: str) -> Line | None:
    return max((line for line in lines if line[key] is not None), key=lambda line: line[key], default=None)


def _judge(
    row: str, aim: str, value: Any, bound: float, line: Line | None, why: str = "", below: bool = False
) -> Target:
    if line is None or value is None:
        return Target(row, aim, None, bound, MISSED if why else NOT_MEASURED, "", why)
    holds = value <= bound + _ROUNDING if below else value >= bound
    file = line["file"] or line["runtime"]
    return Target(row, aim, float(value), bound, HELD if holds and not why else MISSED, file, why)
