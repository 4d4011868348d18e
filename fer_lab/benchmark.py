"""How fast a run's files are: start, latency, throughput and memory of every runtime and precision, side by side."""

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fer_lab.deploy.card import refresh_card
from fer_lab.deploy.latency import Measured, Plan, Target, measure, plan_of, runtime_versions
from fer_lab.deploy.selection import each_row, find_run
from fer_lab.errors import FerLabError
from fer_lab.evaluation.parent import weights_file
from fer_lab.evaluation.test_split import file_hash
from fer_lab.results.benchmarked import terminal
from fer_lab.results.environment import environment
from fer_lab.results.record import write_json
from fer_lab.schema import command

Entry = dict[str, Any]


def benchmark(cfg: DictConfig) -> dict[str, Any]:
    """Measure the network and every exported file of `run=<folder>`, or of the best row of `sweep=<table>`.

    Files measured before, unchanged, in the same way and on this machine are kept as they are; `rerun=always` measures
    all. A file that cannot be run is listed under `failed` with its reason.

    Returns:
        The content of benchmark.json in the run's folder: entries, failed, settings, hardware, versions.

    Raises:
        FerLabError: no such run, one that was not exported, or settings that measure nothing.
    """
    run, plan = find_run(cfg), plan_of(cfg.benchmark)
    settings = {key: value for key, value in OmegaConf.to_container(cfg.benchmark).items() if key != "compiled"}  # type: ignore[union-attr]
    files, now = _files(run, cfg.benchmark.compiled), environment()
    here = {"hardware": now["hardware"], "versions": now["versions"] | runtime_versions()}
    kept = {} if cfg.rerun == "always" else _kept(run, files, settings, here)
    wanted = {name: file for name, file in files.items() if name not in kept}
    references = {name: files[name] for file in wanted.values() for name in bases(file, files).values()}

    entries, failed = dict(kept), []
    if wanted:
        load = os.getloadavg()[0]  # of other work: that of one's own comes after
        measured = measure({name: _target(run, file) for name, file in {**references, **wanted}.items()}, plan)
        for name, file in wanted.items():
            if measured[name].error:
                failed.append({**file, "error": measured[name].error})
            else:
                against = {word: (base, measured[base]) for word, base in bases(file, files).items()}
                entries[name] = _entry(file, measured[name], against, plan) | {"load_average": round(load, 2)}
    result = {
        "entries": [entries[name] for name in files if name in entries],
        "failed": failed,
        "settings": settings,
        **here,
    }
    write_json(run / "benchmark.json", result)
    refresh_card(run)
    Console().print(terminal(f"Speed of {run}", result))
    return result


def bases(file: Entry, files: dict[str, Entry]) -> dict[str, str]:
    """What a file is compared with: `torch` eager, and `fp32`, the float files of the unmodified network in its own
    runtime (`fp32`, `fp32 2` ... where there are several)."""
    found = {"torch": next(name for name, one in files.items() if one["runtime"] == "torch")}
    same = [name for name, one in files.items() if one["runtime"] == file["runtime"] and is_base(one)]
    return found | {f"fp32 {number}".removesuffix(" 1"): name for number, name in enumerate(same, 1)}


def is_base(file: Entry) -> bool:
    """Whether a file is the unmodified network in FP32."""
    return file["precision"] == "fp32" and not file.get("network")  # the name of another than the trained one


def _files(run: Path, compiled: bool) -> dict[str, Entry]:
    """By name: torch eager (and compiled), then what export.json lists; files are relative to the run."""
    listing = run / "export" / "export.json"
    if not listing.exists():
        raise FerLabError(f"{run} was not exported: run `python -m fer_lab.export run={run}` first")
    weights = weights_file(run)
    size = {"bytes": weights.stat().st_size, "sha256": file_hash(weights)}
    file = os.path.relpath(weights, run)  # a derived run's weights are its parent's
    found = {"torch": {"name": "torch", "runtime": "torch", "precision": "fp32", "file": file, **size}}
    if compiled:
        found["torch_compile"] = {**found["torch"], "name": "torch_compile", "runtime": "torch_compile"}
    for name, entry in json.loads(listing.read_text())["files"].items():
        about = {
            key: entry[key] for key in ("runtime", "precision", "bytes", "sha256", "rung", "network") if key in entry
        }
        found[name] = {"name": name, **about, "file": f"export/{entry['file']}"}
    return found


def _kept(run: Path, files: dict[str, Entry], settings: dict[str, Any], here: dict[str, Any]) -> dict[str, Entry]:
    """Entries of the last benchmark that measuring again, with the hardware and versions of `here`, would repeat."""
    path = run / "benchmark.json"
    last = json.loads(path.read_text()) if path.is_file() else {}
    if any(last.get(key) != value for key, value in {"settings": settings, **here}.items()):
        return {}
    same = {entry["name"]: entry for entry in last["entries"]}
    return {name: same[name] for name, file in files.items() if name in same and file.items() <= same[name].items()}


def _target(run: Path, file: Entry) -> Target:
    compiled = file["runtime"] == "torch_compile"
    return Target(run / file["file"], {"compiled": True} if compiled else {}, slow_start=compiled)


def _entry(file: Entry, own: Measured, against: dict[str, tuple[str, Measured]], plan: Plan) -> Entry:
    """What benchmark.json says of a file: start and memory, the numbers of the first setting, and all settings."""
    measured = []
    for threads, batch in own.calls:
        ratios = {word: own.ratio(base, threads, batch) for word, (_, base) in against.items()}
        floats = [ratio for word, ratio in ratios.items() if word != "torch" and ratio]
        fastest = min(floats, key=lambda one: one["ratio"], default=None)  # against the fastest one gains least
        said = {"torch": ratios["torch"], "fp32": fastest}
        measured.append({"threads": threads, "batch": batch, **own.latency(threads, batch), "ratios": said})
    first = {key: value for key, value in measured[0].items() if key != "ratios"}
    return {**file, "rounds": plan.rounds, **own.start(), **first, "measured": measured}


main = command("benchmark")(each_row(benchmark))

if __name__ == "__main__":
    main()
