"""The deploy table as files: deploy.csv with everything, deploy.md for reading, with targets and ladders."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fer_lab.results.benchmarked import measured_how, processor
from fer_lab.results.deploy_lines import Line, Target, deploy_lines, targets
from fer_lab.results.rows import Results, Run
from fer_lab.results.suite_tables import csv_text, pipe_table
from fer_lab.results.words import count

#: Columns that hold words; the others hold numbers.
WORDS = ("row", "runtime", "precision", "target", "verdict", "file", "rung", "name", "why", "reason")
_ABOUT = (
    "A line a file. Accuracy, macro-F1 and ECE are the validation split's, measured through the file; torch is the "
    "network itself. Times are ms a call with one face and one thread: the median of the rounds' medians [their least "
    "and greatest], p95 and p99 of all calls. × says how many times faster, within the same round: FP32 is the fastest "
    "float file of the unmodified network in the same runtime, torch is eager. bf16 meets no INT8 target."
)


def deploy_texts(results: Results) -> dict[str, str]:
    """File name -> text; empty where no run was benchmarked at several settings."""
    lines = deploy_lines(results)
    if not lines:
        return {}
    return {"deploy.csv": csv_text(_same_columns(lines)), "deploy.md": "\n".join(_markdown(results, lines)) + "\n"}


def _same_columns(lines: Sequence[Line]) -> list[Line]:
    header = list(dict.fromkeys(key for line in lines for key in line))
    return [{key: _rounded(line.get(key)) for key in header} for line in lines]


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _markdown(results: Results, lines: Sequence[Line]) -> list[str]:
    text = [f"# {results.title}", "", _ABOUT, ""]
    text += [f"Measured on {how}." for how in machines(results)]
    text += ["", "## Targets", "", *_elsewhere(results), *_aligned(target_rows(targets(lines)))]
    text += ["", "## Quality and size", "", *_aligned(quality_rows(lines))]
    text += ["", "## Speed", "", *_aligned(speed_rows(lines))]
    text += ["", "## Start and memory", "", *_aligned(start_rows(lines))]
    failed = failed_sentences(results)
    text += ["", "## Not measured", "", *(f"- {sentence}" for sentence in failed)] if failed else []
    for run, rungs in ladders(results):
        text += ["", f"## Ladder of {run.row}, seed {run.seed}", "", *_aligned(rungs)]
        if said := lost_on_test(run):
            text += ["", f"{said}."]
    return text


def _aligned(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A Markdown table whose numbers, which are text here, stand to the right."""
    head, _, *body = pipe_table(rows)
    return [head, f"| {' | '.join('---' if key in WORDS else '---:' for key in rows[0])} |", *body]


def _elsewhere(results: Results) -> list[str]:
    """A sentence where a run was measured on a processor that the targets do not mean."""
    hardware = [run.benchmark["hardware"] for run in results.completed if "hardware" in run.benchmark]
    said = {processor(each) for each in hardware if "VNNI" not in each.get("instructions", "VNNI").split()}
    return [
        f"The targets are for AVX-512 VNNI, which {name} lacks: what it reaches says little about them.\n"
        for name in sorted(said)
    ]


def machines(results: Results) -> list[str]:
    """How and on what the runs were measured, without repeats."""
    found: dict[str, dict[str, Any]] = {}
    for run in results.completed:
        if "settings" in run.benchmark:  # told apart by all but their entries, whose greatest load is said
            content = run.benchmark
            alike = json.dumps([content[key] for key in ("hardware", "settings", "versions")], sort_keys=True)
            before = found.get(alike, {"entries": []})
            found[alike] = {**content, "entries": [*before["entries"], *content["entries"]]}
    return [measured_how(content) for content in found.values()]


def failed_sentences(results: Results) -> list[str]:
    """Files that could not be measured, with their reasons."""
    return [
        f"{run.row}, {one['name']}: {one['error']}"
        for run in results.completed
        for one in run.benchmark.get("failed", [])
    ]


def target_rows(found: Iterable[Target]) -> list[dict[str, Any]]:
    """A line a target."""
    return [
        {
            "row": one.row,
            "target": one.aim,
            "reached": _fixed(one.value, 2),
            "verdict": one.verdict + (f" ({one.why})" if one.why else ""),
            "file": one.file or None,
        }
        for one in found
    ]


def quality_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What a file is, and what its precision costs."""
    return [
        {
            **_who(line),
            "MB": _fixed(line["bytes"], 2, 1e6),
            "of FP32": _fixed(line["bytes_to_fp32"], 2),
            "MACs (M)": _fixed(line["macs"], 1, 1e6),
            "accuracy": _fixed(line["accuracy"], 4),
            "macro-F1": _fixed(line["macro_f1"], 4),
            "ECE": _fixed(line["ece"], 4),
            "accuracy lost (points)": _fixed(line["accuracy_drop"], 2),
            "macro-F1 lost (points)": _fixed(line["macro_f1_drop"], 2),
        }
        for line in lines
    ]


def speed_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Latency at the first setting, the others' medians, throughput at larger batches, and ratios."""
    found = []
    for line in lines:
        places = [key.removeprefix("ms_p50_") for key in line if key.startswith("ms_p50_")]
        row = _who(line)
        for place in places:
            batch, threads = (part[1:] for part in place.split("_"))
            title = f"{threads} thread{'s' if threads != '1' else ''}"
            if batch != "1":
                row[f"faces/s of {batch}, {title}"] = _fixed(line[f"faces_per_second_{place}"], 0)
                continue
            row[f"ms, {title}"] = _spread(line, f"ms_p50_{place}", f"ms_low_{place}", f"ms_high_{place}")
            if place == places[0]:
                for base, name in (("fp32", "× FP32"), ("torch", "× torch")):
                    row[name] = _spread(line, *(f"times_{base}{tail}" for tail in ("", "_low", "_high")))
                row |= {part: _fixed(line[f"ms_{part}_{place}"], 2) for part in ("p95", "p99")}
        found.append(row)
    header = list(dict.fromkeys(key for row in found for key in row))
    return [{key: row.get(key) for key in header} for row in found]


def start_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A fresh process: ms to import the runtime, to load the file, to the first answer; its peak memory."""
    return [
        {
            **_who(line),
            "import (ms)": _fixed(line["import_ms"], 0),
            "load (ms)": _fixed(line["load_ms"], 1),
            "first answer (ms)": _fixed(line["first_ms"], 1),
            "peak memory (MiB)": _fixed(line["peak_memory_mb"], 0),
        }
        for line in lines
    ]


def ladders(results: Results) -> list[tuple[Run, list[dict[str, Any]]]]:
    """What each search tried, as export.json lists it: a line a rung."""
    found = []
    for run in results.completed:
        rungs = [_rung(rung) for rung in run.export.get("ladder") or []]
        if rungs:
            found.append((run, rungs))
    return found


def lost_on_test(run: Run) -> str:
    """What the chosen file loses on the test split, and how often searches opened that; empty where none was chosen."""
    drops = ((run.export.get("test") or {}).get("drops") or {}).items()
    times = sum(opening["by"] == "export target=int8" for opening in run.record.get("test_openings", []))
    lost = ", ".join(f"{name.replace('_', '-')} {_lost(drop)} points" for name, drop in drops)
    opened = f" (which {count(times, 'export')} opened)" if times else ""
    return f"Lost on the test split by the chosen file{opened}: {lost}" if lost else ""


def _rung(rung: Mapping[str, Any]) -> dict[str, Any]:
    """One rung; what was not measured is None."""
    drops, validation = rung.get("drops") or {}, rung.get("validation") or {}
    return {
        "rung": rung["name"] + (" ★" if rung.get("chosen") else ""),
        "runtime": rung["runtime"],
        "precision": rung["precision"],
        "MB": _fixed(rung.get("bytes"), 2, 1e6),
        "ms": _fixed(rung.get("latency_ms"), 2),
        "× FP32": _fixed(rung.get("speedup"), 2),
        "accuracy lost (points)": _lost(drops.get("accuracy")),
        "macro-F1 lost (points)": _lost(drops.get("macro_f1")),
        "ECE": _fixed(validation.get("ece"), 4),
        "verdict": None
        if rung["precision"] == "fp32" and not drops and rung.get("latency_ms")
        else rung.get("verdict"),  # compared with, not judged
    }


def _lost(drop: Mapping[str, float] | None) -> str | None:
    return drop and f"{_fixed(drop['points'], 2)} [{_fixed(drop['low'], 2)}, {_fixed(drop['high'], 2)}]"  # type: ignore[return-value]


def _who(line: Line) -> dict[str, Any]:
    seed = f" seed {line['seed']}" if line["seed"] else ""
    rung = f" ({line['rung']})" if line["rung"] else ""
    return {"row": line["row"] + seed, "runtime": line["runtime"], "precision": line["precision"] + rung}


def _fixed(value: float | None, digits: int, unit: float = 1) -> str | None:
    if value is None:
        return None
    text = f"{value / unit:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _spread(line: Line, middle: str, low: str, high: str) -> str | None:
    if line[middle] is None:
        return None
    return f"{line[middle]:.2f} [{line[low]:.2f}, {line[high]:.2f}]"
