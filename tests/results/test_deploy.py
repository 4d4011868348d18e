"""The deploy table from made-up exports and benchmarks: lines, targets by hand, files, and the report's part."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_lab.results.deploy_lines import HELD, MISSED, NOT_MEASURED, deploy_lines, good_enough, targets
from fer_lab.results.deploy_table import deploy_texts
from fer_lab.results.deployed import deployed, timings
from fer_lab.results.publish import publish, rebuild
from fer_lab.results.report import write_report
from fer_lab.results.verify import kept_tables, problems

#: name, runtime, precision, bytes, ms, accuracy lost, more of its entry
FILES: tuple[tuple[str, str, str, int, float, float, dict[str, Any]], ...] = (
    ("onnx_fp32", "onnxruntime", "fp32", 1_000_000, 2.0, 0.0, {}),
    ("onnx_int8", "onnxruntime", "int8", 290_000, 0.8, 0.009, {"rung": "onnxruntime, all nodes"}),
    ("onnx_int8_2", "onnxruntime", "int8", 280_000, 0.5, 0.050, {"rung": "hard-swish too"}),
    ("openvino_bf16", "openvino", "bf16", 1_010_000, 0.4, 0.001, {}),
)
LADDER = [
    {"name": "fp32", "runtime": "onnxruntime", "precision": "fp32", "latency_ms": 2.0, "speedup": 1.0, "drops": {},
     "validation": {}, "verdict": "not needed", "bytes": 1_000_000, "chosen": False},
    {"name": "all nodes", "runtime": "onnxruntime", "precision": "int8", "latency_ms": 0.8, "speedup": 2.5,
     "bytes": 290_000, "drops": {"macro_f1": {"points": 0.9, "low": -0.2, "high": 1.9}}, "validation": {"ece": 0.02},
     "verdict": "passes", "chosen": True},
]  # fmt: skip
TEST = {"drops": {"macro_f1": {"points": -0.3, "low": -1.0, "high": 0.5}}}


def timing(ms: float, fp32: float, torch: float) -> dict[str, Any]:
    """A benchmark entry's numbers for a median of `ms`; the others' medians for the ratios."""

    def at(threads: int, batch: int, own: float) -> dict[str, Any]:
        numbers = {"median": own, "low": 0.9 * own, "high": 1.2 * own, "p95": 1.3 * own, "p99": 1.5 * own}
        ratios = {name: {"ratio": base / ms, "low": 0.9 * base / ms, "high": 1.1 * base / ms}
                  for name, base in (("fp32", fp32), ("torch", torch)) if base}  # fmt: skip
        latency = {f"latency_ms_{name}": value for name, value in numbers.items()}
        return {"threads": threads, "batch": batch, **latency, "fps": 1e3 * batch / own, "ratios": ratios}

    first = {key: value for key, value in at(1, 1, ms).items() if key != "ratios"}
    start = {"import_ms": 90.0, "load_ms": 12.0, "first_ms": 3.0, "peak_memory_mb": 61.0}
    return {**start, **first, "rounds": 5, "measured": [at(1, 1, ms), at(2, 1, 0.6 * ms), at(1, 32, 25 * ms)]}


def add_files(run: Path) -> None:
    """Replace a run's export and benchmark by FILES, with torch at 6 ms."""
    record = json.loads((run / "record.json").read_text())
    own, files, entries = record["metrics"]["validation"], {}, []
    entries.append({"name": "torch", "runtime": "torch", "precision": "fp32", "file": "model.safetensors",
                    "bytes": 1_100_000, **timing(6.0, 6.0, 6.0)})  # fmt: skip
    for name, runtime, precision, size, ms, lost, more in FILES:
        scores = {"accuracy": own["accuracy"] - lost, "macro_f1": own["macro_f1"] - lost, "ece": own["ece"], "nll": 1.0}
        about = {"runtime": runtime, "precision": precision, "bytes": size, "sha256": "ab" * 32, **more}
        files[name] = {
            **about,
            "file": f"{name}.bin",
            "validation": scores,
            "parity": {"max": 0.0, "mean": 0.0, "top1": 1.0},
        }
        entries.append({"name": name, **about, "file": f"export/{name}.bin",
                        **timing(ms, 2.0 if runtime == "onnxruntime" else 0.0, 6.0)})  # fmt: skip
    content = {"run_key": record["key"], "seconds": 1.0, "files": files, "ladder": LADDER, "test": TEST}
    content["chosen"] = "onnxruntime, all nodes"
    (run / "export" / "export.json").write_text(json.dumps(content))
    settings = {"threads": [1, 2], "batches": [1, 32], "rounds": 5, "iterations": 100, "starts": 3, "warmup": 20}
    failed = [{"name": "tflite", "runtime": "litert", "precision": "int8", "error": "litert is not installed"}]
    hardware, versions = {"cpu": "A chip", "cores": 2}, {"python": "3.11", "torch": "2.14"}
    benchmark = {"entries": entries, "failed": failed, "settings": settings, "hardware": hardware, "versions": versions}
    (run / "benchmark.json").write_text(json.dumps(benchmark))


@pytest.fixture
def results(run_factory: Callable, gather: Callable, tmp_path: Path) -> Any:
    """demo_a measured anew, demo_b as before, demo_c not at all."""
    run_factory("demo_a", 0, exported=True)
    run_factory("demo_b", 0, exported=True)
    run_factory("demo_c", 0)
    add_files(tmp_path / "demo_a" / "seed0")
    return gather(["demo_a", "demo_b", "demo_c"], [0])


def test_a_line_a_file_with_everything(results: Any) -> None:
    lines = {(line["runtime"], line["precision"], line["rung"]): line for line in deploy_lines(results)}
    assert len(lines) == 5
    assert {line["row"] for line in lines.values()} == {"demo_a"}  # measured at several settings
    int8 = lines["onnxruntime", "int8", "onnxruntime, all nodes"]
    assert (int8["ms_p50_b1_t1"], int8["ms_p50_b1_t2"]) == pytest.approx((0.8, 0.48))
    assert int8["faces_per_second_b32_t1"] == pytest.approx(1600)
    assert (int8["times_fp32"], int8["times_torch"]) == pytest.approx((2.5, 7.5))
    assert int8["bytes_to_fp32"] == pytest.approx(0.29)
    assert int8["accuracy_drop"] == pytest.approx(0.9)
    assert int8["macs"] == results.completed[0].record["model"]["macs"]
    bf16 = lines["openvino", "bf16", ""]
    assert bf16["times_fp32"] is None  # no float file in that runtime
    assert [good_enough(line) for line in lines.values()] == [True, True, True, False, True]


def test_targets_by_hand(results: Any) -> None:
    """The chosen INT8 file is the fastest within a point, not the fastest; other networks need not beat FP32."""
    found = {one.aim: one for one in targets(deploy_lines(results))}
    assert [(one.verdict, one.file) for one in found.values()] == [
        *[(HELD, "onnx_int8.bin")] * 3, (HELD, "openvino_bf16.bin"), (HELD, "onnx_int8.bin")
    ]  # fmt: skip
    assert found["the search's choice within 1.0 point on test"].value == pytest.approx(-0.3)
    assert found["INT8 not slower than FP32 of its runtime"].value == pytest.approx(2.5)
    assert found["fastest file at least 5 times as fast as torch eager"].value == pytest.approx(15)

    lines = [{**line, "backbone": "mobilenetv2_100"} for line in deploy_lines(results)]
    aims = {one.aim: one.verdict for one in targets(lines)}
    assert aims["INT8 at least 2.2 times as fast as FP32 of its runtime"] == HELD
    slow = [{**line, "times_fp32": 2.1, "bytes_to_fp32": 0.301} for line in lines]
    assert [one.verdict for one in targets(slow)] == [HELD, MISSED, HELD, MISSED, HELD, HELD]
    own = next(line for line in lines if line["file"] == "onnx_int8.bin")
    large = {**own, "file": "large.bin", "times_fp32": 3.0, "bytes_to_fp32": 0.5}
    assert {one.file for one in targets([*lines, large])[:4]} == {"onnx_int8.bin"}  # one file reaches all
    assert {one.file for one in targets([*slow, large])[:4]} == {"large.bin"}  # none does: the best ratio
    worse = [{**line, "macro_f1_drop": 1.2} if line["precision"] == "int8" else line for line in lines]
    assert [(one.verdict, one.why != "") for one in targets(worse)] == [(MISSED, True)] * 4 + [(HELD, False)] * 2
    nothing = [line for line in lines if line["precision"] != "int8"]
    assert [one.verdict for one in targets(nothing)] == [NOT_MEASURED] * 4 + [HELD]
    refused = [{**line, "none_passed": True} for line in nothing]
    assert [(one.verdict, one.why != "") for one in targets(refused)] == [(MISSED, True)] * 4 + [(HELD, False)]
    uncalibrated = [{**line, "ece_rise": 0.02} for line in lines]
    assert all(one.verdict != HELD for one in targets(uncalibrated)[:-1])
    lossy = [{**line, "test_drop": line["test_drop"] and 1.6} for line in lines]
    assert (targets(lossy)[-1].verdict, targets(lossy)[-1].value) == (MISSED, 1.6)


@pytest.mark.parametrize(
    ("accuracy", "macro_f1", "verdict", "why"),
    [
        ((0.9, 0.1), (0.8, 0.2), HELD, ""),
        ((0.9, 0.1), (1.4, -0.2), HELD, "by its interval"),
        ((0.9, 0.1), (1.4, 0.2), MISSED, ""),
        ((0.9, 0.1), (2.1, -0.2), MISSED, ""),
        ((1.2, -0.2), (1.4, -0.2), MISSED, ""),
    ],
)
def test_on_test_only_macro_f1_is_forgiven(
    results: Any, accuracy: tuple[float, float], macro_f1: tuple[float, float], verdict: str, why: str
) -> None:
    scores = {"accuracy": accuracy, "macro_f1": macro_f1}
    drops = {name: {"points": points, "low": low, "high": points + 1} for name, (points, low) in scores.items()}
    for run in results.completed:
        run.export["test"] = {"drops": drops}
    found = targets(deploy_lines(results))[-1]
    assert (found.verdict, found.why, found.value) == (verdict, why, max(accuracy[0], macro_f1[0]))


def test_a_file_that_the_search_chose_is_judged_by_its_interval(results: Any) -> None:
    """And compared with the float rung it measured, where no float file of that runtime was shipped."""
    for run in results.completed:
        for one in run.export.get("files", {}).values():
            if one.get("rung") == "onnxruntime, all nodes":
                one |= {"verdict": "passes", "speedup": 9.0}
    lines = [{**line, "macro_f1_drop": line["macro_f1_drop"] and 1.4} for line in deploy_lines(results)]
    assert [line["chosen"] for line in lines] == [False, False, True, False, False]
    first = targets(lines)[0]
    assert (first.verdict, first.why) == (HELD, "by its interval")
    blurred = [{**line, "ece_rise": line["ece_rise"] is not None and 0.02} for line in lines]
    assert targets(blurred)[0].verdict == MISSED
    worse = [{**line, "accuracy_drop": line["accuracy_drop"] and 1.4} for line in lines]
    assert targets(worse)[0].verdict == MISSED  # accuracy has no such excuse
    for run in results.completed:
        for entry in run.benchmark.get("entries", []):
            if "measured" in entry:
                entry["measured"][0]["ratios"].pop("fp32", None)
        for rung in run.export.get("ladder", []):  # a search of wider limits let it pass
            rung["drops"] = rung["drops"] and {"macro_f1": {"points": 8.0, "low": 6.0, "high": 10.0}}
    assert [line["times_fp32"] for line in deploy_lines(results)] == [None, None, 9.0, None, None]
    assert not any(line["chosen"] for line in deploy_lines(results))


def test_a_search_that_found_nothing_has_missed_its_targets(results: Any) -> None:
    assert not any(line["none_passed"] for line in deploy_lines(results))
    for run in results.completed:
        for rung in run.export.get("ladder") or []:
            rung["chosen"] = False
    assert all(line["none_passed"] for line in deploy_lines(results))


def test_files_of_one_runtime_and_precision_are_told_apart(results: Any) -> None:
    labels = [one.label for one in deployed(results) if one.run.row == "demo_a"]
    assert labels == ["torch fp32", "onnxruntime fp32", "onnxruntime int8", "onnxruntime int8 hard-swish too",
                      "openvino bf16"]  # fmt: skip
    assert timings(results, results.rows[0], "onnxruntime int8") == [0.8]


def test_a_processor_that_the_targets_do_not_mean_is_named(results: Any) -> None:
    assert "AVX-512 VNNI" not in deploy_texts(results)["deploy.md"]  # measured before instructions were noted
    for instructions, named in (("AVX-512 VNNI AMX", False), ("AVX2", True), ("", True)):
        for run in results.completed:
            run.benchmark.get("hardware", {})["instructions"] = instructions
        text = deploy_texts(results)["deploy.md"]
        assert ("The targets are for AVX-512 VNNI, which A chip" in text) == named
        assert (f"Measured on A chip ({instructions}), 2 cores" in text) == bool(instructions)


def test_the_table_as_files(results: Any) -> None:
    texts = deploy_texts(results)
    rows = list(csv.DictReader(io.StringIO(texts["deploy.csv"])))
    assert len(rows) == 5
    assert float(rows[2]["ms_p99_b1_t1"]) == pytest.approx(1.2)
    text = texts["deploy.md"]
    for piece in (
        "A chip, 2 cores", "0.80 [0.72, 0.96]", "## Ladder of demo_a, seed 0", "0.90 [−0.20, 1.90]", "all nodes ★",
        "macro-f1 −0.30 [−1.00, 0.50] points", "held", "demo_a, tflite: litert is not installed",
    ):  # fmt: skip
        assert piece in text


def test_a_table_without_such_measurements_has_no_such_files(run_factory: Callable, gather: Callable) -> None:
    run_factory("demo_a", 0, exported=True)
    assert deploy_texts(gather(["demo_a"], [0])) == {}


def test_it_is_kept_and_rebuilt(results: Any, tmp_path: Path) -> None:
    folder = publish(results, tmp_path / "experiments" / "demo", None, [0], [])
    assert (folder / "deploy.md").read_text() == deploy_texts(rebuild(folder))["deploy.md"]
    assert kept_tables(tmp_path / "experiments") == [folder]
    assert problems(folder) == []


def test_the_report_shows_it(results: Any, tmp_path: Path) -> None:
    text = write_report(results, tmp_path / "report.html").read_text()
    for piece in ("Targets", "Latency and throughput", "Start and memory", "Accuracy against size", "2 rungs"):
        assert piece in text
    assert '0.80<span class="sub">[0.72, 0.96]</span>' in text
