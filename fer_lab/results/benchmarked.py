"""A benchmark's numbers by setting, and as a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

#: Other work than the benchmark's own, as the load average before it, from which on it is mentioned.
_BUSY = 0.5


def processor(hardware: Mapping[str, Any]) -> str:
    """`AMD EPYC (AVX-512 VNNI)`; records of before 2026-11-23 do not say what is in brackets."""
    name, instructions = hardware.get("cpu") or "a machine without a name", hardware.get("instructions")
    return f"{name} ({instructions})" if instructions else str(name)


def at(entry: Mapping[str, Any], threads: int, batch: int) -> dict[str, Any]:
    """An entry's numbers at a number of threads and a batch; empty where they were not measured."""
    same = (one for one in entry.get("measured", []) if (one["threads"], one["batch"]) == (threads, batch))
    return next(same, {})


def ratio(entry: Mapping[str, Any], base: str) -> dict[str, float]:
    """How many times faster than `torch` or `fp32` at the first setting: ratio, low, high; empty where unknown."""
    measured = entry.get("measured") or [{}]
    return measured[0].get("ratios", {}).get(base) or {}


def measured_how(content: Mapping[str, Any]) -> str:
    """`AMD EPYC, 2 cores; medians of 5 rounds of 100 calls, 3 starts; ...`, with the load of other work if any."""
    hardware, settings, versions = content["hardware"], content["settings"], content["versions"]
    said = (
        f"{processor(hardware)}, {hardware['cores']} cores; medians of {settings['rounds']} interleaved rounds of "
        f"{settings['iterations']} calls, {settings['starts']} start{'s' if settings['starts'] > 1 else ''} a file"
    )
    load = max((entry.get("load_average", 0.0) for entry in content["entries"]), default=0.0)
    if load >= _BUSY:
        said += f"; other work ran beside it (load average {load:.1f} before)"
    names = ("python", "torch", "onnxruntime", "openvino", "ai-edge-litert")
    return f"{said}; {', '.join(f'{name} {versions[name]}' for name in names if name in versions)}"


def terminal(title: str, content: Mapping[str, Any]) -> Group:
    """A line a file, in 100 columns: sizes in MB, times in ms at the first setting."""
    threads, batches = content["settings"]["threads"], content["settings"]["batches"]
    first, more = threads[0], threads[1:]
    table = Table(title=title, caption=measured_how(content), box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("file", overflow="fold", min_width=14, max_width=26)
    heads = ["MB", "load", "first", f"ms\n{first} thr", "p95", "p99", *(f"ms\n{n} thr" for n in more)]
    heads += [f"faces/s\nof {batch}" for batch in batches[1:]] + ["peak\nMiB", "times\nFP32", "times\ntorch"]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for entry in content["entries"]:
        name = entry["runtime"] if entry["runtime"].startswith("torch") else Path(entry["file"]).name
        cells = [f"{entry['bytes'] / 1e6:.2f}", _short(entry["load_ms"]), _short(entry["first_ms"])]
        cells += [_short(entry[f"latency_ms_{part}"]) for part in ("median", "p95", "p99")]
        cells += [_short(at(entry, number, batches[0]).get("latency_ms_median")) for number in more]
        cells += [_short(at(entry, first, batch).get("fps")) for batch in batches[1:]]
        cells += [f"{entry['peak_memory_mb']:.0f}"]
        cells += ["–" if (found := ratio(entry, base)) == {} else f"{found['ratio']:.2f}" for base in ("fp32", "torch")]
        table.add_row(escape(name), *cells)
    return Group(table, *(Text(f"{one['name']} was not measured: {one['error']}") for one in content["failed"]))


def _short(value: float | None) -> str:
    """Three figures: `0.123`, `12.3`, `1234`."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
