"""`benchmark` on a run that really trained, and the deploy table of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fer_lab import benchmark as module
from fer_lab.benchmark import bases, benchmark, is_base
from fer_lab.deploy.latency import Measured
from fer_lab.errors import FerLabError
from fer_lab.schema import compose

QUICK = ("benchmark.rounds=2", "benchmark.warmup=1", "benchmark.iterations=4", "benchmark.starts=1",
         "benchmark.threads=[1]", "benchmark.batches=[1,2]")  # fmt: skip


#: What was really measured, once: every target is a process of its own.
MEASURED: dict[str, dict[str, Measured]] = {}


@pytest.fixture(scope="module")
def benchmarked(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarked") / "seed0"
    shutil.copytree(exported_run, folder)
    listing = folder / "export" / "export.json"
    content = json.loads(listing.read_text())
    content["files"]["gone"] = content["files"]["onnx_int8"] | {"file": "gone.onnx"}
    listing.write_text(json.dumps(content))
    real = module.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "measure", lambda targets, plan: MEASURED.setdefault("here", real(targets, plan)))
        benchmark(compose("benchmark", [f"run={folder}", *QUICK]))
    return folder


def written(run: Path) -> dict[str, Any]:
    return json.loads((run / "benchmark.json").read_text())


def test_torch_and_every_file_at_every_setting(benchmarked: Path) -> None:
    content = written(benchmarked)
    assert [entry["name"] for entry in content["entries"]] == ["torch", "onnx_fp32", "onnx_int8"]
    for entry in content["entries"]:
        assert entry["bytes"] == (benchmarked / entry["file"]).stat().st_size
        assert (entry["threads"], entry["batch"], entry["rounds"]) == (1, 1, 2)
        assert 0 < entry["latency_ms_low"] <= entry["latency_ms_median"] <= entry["latency_ms_high"]
        assert entry["latency_ms_median"] <= entry["latency_ms_p95"] <= entry["latency_ms_p99"]
        assert [(one["threads"], one["batch"]) for one in entry["measured"]] == [(1, 1), (1, 2)]
        assert min(entry["load_ms"], entry["first_ms"], entry["peak_memory_mb"]) > 0
    torch, fp32, int8 = ({base: one["measured"][0]["ratios"][base] for base in ("torch", "fp32")}
                         for one in content["entries"])  # fmt: skip
    assert torch["torch"]["ratio"] == fp32["fp32"]["ratio"] == 1
    assert int8["fp32"]["low"] <= int8["fp32"]["ratio"] <= int8["fp32"]["high"]
    assert content["hardware"]["cores"] >= 1


def test_a_file_that_cannot_run_is_listed_with_its_reason(benchmarked: Path) -> None:
    (failed,) = written(benchmarked)["failed"]
    assert failed["name"] == "gone"
    assert "does not exist" in failed["error"]


def test_the_card_says_the_latency(benchmarked: Path) -> None:
    entry = written(benchmarked)["entries"][1]
    row = next(
        line for line in (benchmarked / "export" / "README.md").read_text().splitlines() if "`model.onnx`" in line
    )
    assert row.endswith(f"| {entry['latency_ms_median']:.2f} |")


def test_what_was_measured_is_kept_until_it_changes(
    benchmarked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "seed0"
    shutil.copytree(benchmarked, run)
    listing = run / "export" / "export.json"
    content = json.loads(listing.read_text())
    del content["files"]["gone"]
    listing.write_text(json.dumps(content))
    before, asked = written(run), []

    def measure(targets: dict, plan: object) -> dict[str, Measured]:
        asked.append(list(targets))
        return {name: MEASURED["here"][name] for name in targets}

    monkeypatch.setattr(module, "measure", measure)

    benchmark(compose("benchmark", [f"run={run}", *QUICK]))
    assert asked == []
    assert written(run)["entries"] == before["entries"]

    older = before | {"versions": before["versions"] | {"onnxruntime": "1.20.0"}}
    (run / "benchmark.json").write_text(json.dumps(older))
    benchmark(compose("benchmark", [f"run={run}", *QUICK]))
    assert asked.pop() == ["torch", "onnx_fp32", "onnx_int8"]
    (run / "benchmark.json").write_text(json.dumps(before))

    content["files"]["onnx_int8"]["sha256"] = "0" * 64  # another file now
    listing.write_text(json.dumps(content))
    benchmark(compose("benchmark", [f"run={run}", *QUICK]))
    assert asked == [["torch", "onnx_fp32", "onnx_int8"]]  # beside those it is compared with
    after = written(run)["entries"]
    assert after[:2] == before["entries"][:2]
    assert after[2]["sha256"] == "0" * 64


def test_files_are_compared_with_the_unmodified_network_of_their_runtime() -> None:
    files: dict[str, dict[str, Any]] = {
        "torch": {"runtime": "torch", "precision": "fp32"},
        "a": {"runtime": "onnxruntime", "precision": "fp32"},
        "pruned": {"runtime": "onnxruntime", "precision": "fp32", "network": "relu6"},
        "b": {"runtime": "openvino", "precision": "fp32"},
        "b16": {"runtime": "openvino", "precision": "bf16"},
        "t8": {"runtime": "litert", "precision": "int8"},
    }
    assert bases(files["pruned"], files) == {"torch": "torch", "fp32": "a"}
    assert bases(files["b16"], files) == {"torch": "torch", "fp32": "b"}
    assert bases(files["t8"], files) == {"torch": "torch"}
    assert [name for name, file in files.items() if is_base(file)] == ["torch", "a", "b"]


def test_it_asks_for_an_export_first(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "seed0", ignore=shutil.ignore_patterns("export"))
    with pytest.raises(FerLabError, match=r"was not exported: run `python -m fer_lab\.export"):
        benchmark(compose("benchmark", [f"run={tmp_path / 'seed0'}"]))
