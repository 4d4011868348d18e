"""The search: its rule on made-up numbers, and a short ladder on a run that really trained."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fer_lab.data.dataset import FaceSplit, build_data
from fer_lab.deploy.judge import (
    Drop,
    Limits,
    Trial,
    best_of_each_kind,
    choose,
    compare_speed,
    contenders,
    drops,
    fastest_float,
    judge,
)
from fer_lab.deploy.ladder import Rung, rungs, twin
from fer_lab.deploy.runtimes import Classifier, TorchClassifier, describe
from fer_lab.deploy.search import time_files
from fer_lab.deploy.ship import answers_alike, fp32_logits, prove, spread_rows, torch_probabilities
from fer_lab.deploy.workshop import Workshop
from fer_lab.errors import FerLabError
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.run import load_run
from fer_lab.export import export
from fer_lab.models.network import build_network
from fer_lab.schema import compose


def trial(name: str, precision: str, latency: float, verdict: str = "passes", runtime: str = "onnxruntime") -> Trial:
    return Trial(Rung(name, runtime, precision), verdict, latency_ms=latency)  # type: ignore[arg-type]


def ladder() -> list[Trial]:
    return [
        trial("fp32", "fp32", 10.0),
        trial("fp32, again", "fp32", 8.0),
        trial("broken but fast", "int8", 2.0, "accuracy drops by 30.0 points [28.0, 32.0]"),
        trial("good", "int8", 4.0),
        trial("good but slower", "int8", 5.0),
        trial("bf16", "bf16", 1.0),
    ]


def test_the_fastest_that_passes_wins() -> None:
    trials = ladder()
    compare_speed(trials)
    assert [t.speedup for t in trials] == [0.8, 1.0, 4.0, 2.0, 1.6, 8.0]  # against the faster of the two FP32 files
    assert [t.rung.name for t in contenders(trials)] == ["broken but fast", "good", "good but slower"]
    assert choose(trials) is trials[3]


def test_of_a_network_and_what_distillation_made_of_it_the_better_ships() -> None:
    trials = ladder()
    trials[3].validation, trials[4].validation = {"nll": 1.2}, {"nll": 1.1}
    compare_speed(trials)
    assert choose(trials) is trials[3]  # faster, whatever the other's NLL
    trials[4].latency_ms = trials[3].latency_ms
    assert choose(trials) is trials[4]


def test_of_files_about_as_fast_the_one_with_fewer_changes_comes_first() -> None:
    """Steps of a tenth from 2 ms on: up to 2.2, 2.42, 2.66 ms; within one the network that was changed least."""
    latencies = {
        "gates frozen + relu6": 2.0,
        "relu6": 2.19,
        "relu6 + distilled": 2.19,
        "gates frozen": 2.21,
        "trained": 2.5,
    }
    trials = [trial("fp32", "fp32", 4.0)]
    trials += [
        replace(one, rung=replace(one.rung, network=one.rung.name))
        for one in (trial(name, "int8", latency) for name, latency in latencies.items())
    ]
    trials[3].validation = {"nll": 1.1}
    compare_speed(trials)
    found = [one.rung.network for one in contenders(trials)]
    assert found == ["relu6 + distilled", "relu6", "gates frozen + relu6", "gates frozen", "trained"]


def test_slow_files_are_timed_by_fewer_calls() -> None:
    class Sleepy:
        def __init__(self, seconds: float) -> None:
            self.seconds, self.calls = seconds, 0

        def probabilities(self, _: np.ndarray) -> None:
            time.sleep(self.seconds)
            self.calls += 1

    quick, slow = Sleepy(0.0), Sleepy(0.03)
    found = time_files({0: quick, 7: slow}, np.zeros((1, 1, 1, 1), np.uint8), rounds=2, iterations=20)  # type: ignore[dict-item]
    assert quick.calls == 2 * (3 + 20)
    assert slow.calls == 2 * (3 + 5)  # a tenth of a second would be three calls
    assert found[0] < 30 <= found[7]


def test_drafts_are_timed_in_interleaved_rounds() -> None:
    turns: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def probabilities(self, _: np.ndarray) -> None:
            if turns[-1:] != [self.name]:
                turns.append(self.name)

    time_files({0: Noted("a"), 1: Noted("b")}, np.zeros((1, 1, 1, 1), np.uint8), rounds=3, iterations=5)  # type: ignore[dict-item]
    assert turns == ["a", "b"] * 3


def test_what_ships_in_int8_is_what_was_chosen() -> None:
    """Steps of a tenth count from the fastest INT8 file, however fast one of another precision is."""
    trials = [trial("fp32", "fp32", 4.0), trial("relu6", "int8", 1.0), trial("trained", "int8", 1.08)]
    trials += [trial("fp32", "fp32", 4.0, runtime="openvino"), trial("bf16", "bf16", 0.95, runtime="openvino")]
    trials[1] = replace(trials[1], rung=replace(trials[1].rung, network="relu6"))
    compare_speed(trials)
    assert choose(trials) is trials[2]
    assert [t.rung.name for t in best_of_each_kind(trials) if t.rung.precision == "int8"] == ["trained"]


def test_a_float_file_that_answers_otherwise_does_not_ship(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.xml"
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes(b"")
    same, other = ({"parity": {"max": most, "mean": 0.0, "top1": 1.0}} for most in (9e-5, 9e-4))
    assert answers_alike(path, same)
    assert answers_alike(path, other | {"network": "relu6"})
    assert path.exists()
    assert not answers_alike(path, other)
    assert "model.xml differs from the torch network" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_best_of_every_runtime_and_precision() -> None:
    """Of FP32 the fastest of the trained network, of the others the fastest that passes, none where none does."""
    trials = [*ladder(), trial("fp32", "fp32", 9.0, runtime="openvino"), trial("pruned", "fp32", 3.0)]
    trials += [trial("int8", "int8", 4.5, "ECE rises from 0.01 to 0.09", runtime="openvino")]
    trials += [trial("dynamic range", "dynamic", 12.0)]  # slower than FP32: no file to want
    trials[7] = replace(trials[7], rung=replace(trials[7].rung, network="pruned to half"))
    compare_speed(trials)
    found = [(t.rung.runtime, t.rung.name) for t in best_of_each_kind(trials)]
    assert found == [
        ("onnxruntime", "fp32, again"), ("onnxruntime", "good"), ("onnxruntime", "bf16"), ("openvino", "fp32")
    ]  # fmt: skip


def test_nothing_passes_and_the_float_file_ships() -> None:
    trials = [t for t in ladder() if not t.rung.name.startswith("good")]
    compare_speed(trials)
    assert choose(trials) is None
    best = fastest_float(trials)
    assert best is not None
    assert best.rung.name == "fp32, again"


def test_an_int8_file_slower_than_float_never_wins() -> None:
    trials = [trial("fp32", "fp32", 5.0), trial("int8", "int8", 5.5), trial("fp32", "fp32", 9.0, runtime="openvino")]
    compare_speed(trials)
    assert choose(trials) is None
    assert trials[1].verdict == "not faster than FP32"


@pytest.mark.parametrize(
    ("drop", "macro_f1", "accuracy"),
    [
        (Drop(0.9, 0.5, 1.3), False, False),  # as measured it is within 1 point
        (Drop(1.2, -0.8, 3.1), False, True),  # four disgust faces: no difference is as likely; no excuse for accuracy
        (Drop(1.5, 0.3, 2.7), True, True),  # more than allowed, and real
        (Drop(4.0, -1.0, 9.0), True, True),  # a small split must not let everything pass
        (Drop(-2.0, -3.0, -1.0), False, False),  # better than FP32
        (Drop(float("nan"), float("nan"), float("nan")), True, True),
    ],
)
def test_only_macro_f1_is_forgiven_by_its_interval(drop: Drop, macro_f1: bool, accuracy: bool) -> None:
    fine, limits = Drop(0.0, -1.0, 1.0), Limits(max_drop=1.0)
    assert (judge({"accuracy": fine, "macro_f1": drop}, 0.02, 0.02, limits) != "passes") is macro_f1
    assert (judge({"accuracy": drop, "macro_f1": fine}, 0.02, 0.02, limits) != "passes") is accuracy


def test_the_verdict_says_what_is_wrong() -> None:
    good, bad = Drop(0.2, -0.3, 0.7), Drop(3.0, 2.0, 4.0)
    assert judge({"accuracy": good, "macro_f1": good}, 0.02, 0.015, Limits()) == "passes"
    assert (
        judge({"accuracy": good, "macro_f1": bad}, 0.02, 0.015, Limits()) == "macro_f1 drops by 3.0 points [2.0, 4.0]"
    )
    assert judge({"accuracy": good}, 0.03, 0.015, Limits()) == "ECE rises from 0.015 to 0.030"
    assert judge({"accuracy": good}, float("nan"), 0.015, Limits()) != "passes"
    assert judge({"macro_f1": bad}, 0.02, 0.015, Limits(max_drop=3.0)) == "passes"


def test_drops_hand_worked() -> None:
    """Eight faces in four groups of equal ones; the second file gets one group of two wrong."""
    labels, groups = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.repeat(np.arange(4, dtype=np.uint64), 2)
    split = FaceSplit(np.empty((8, 1, 1, 1), np.uint8), labels, np.arange(8).astype(str), groups)
    worse = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    found = drops(labels, worse, split, 2, "key")
    assert found["accuracy"].points == pytest.approx(25.0)
    # class 0: 2·2 / (2 + 4) = 2/3; class 1: 2·4 / (6 + 4) = 4/5
    assert found["macro_f1"].points == pytest.approx(100 * (1 - (2 / 3 + 4 / 5) / 2))
    assert found["accuracy"].low <= 25.0 <= found["accuracy"].high
    assert drops(labels, labels, split, 2, "key")["macro_f1"] == Drop(0.0, 0.0, 0.0)


def test_rungs_follow_the_network() -> None:
    nets = {name: build_network(compose("train", [f"backbone={name}"]), 7) for name in ("mobilenetv2_035", "tiny")}
    plain = rungs(nets["mobilenetv2_035"], ["onnxruntime"])
    assert {rung.network for rung in plain} == {"trained", "quantisation-aware"}  # ReLU6 throughout: nothing to replace
    names = {rung.network for rung in rungs(nets["tiny"], ["onnxruntime", "openvino"])}
    assert names >= {"trained", "relu6", "gates frozen", "gates frozen + relu6"}
    places = {rung.name: i for i, rung in enumerate(plain)}
    assert twin(plain[places["int8, percentile"]], plain) == places["int8"]  # other ranges, the same operations
    assert twin(plain[places["int8, per tensor"]], plain) is None
    assert not any(rung.precision == "bf16" for rung in rungs(nets["tiny"], ["openvino"]))
    assert any(rung.precision == "bf16" for rung in rungs(nets["tiny"], ["openvino"], bf16=True))
    few = rungs(nets["tiny"], ["openvino"], "int8, relu6$")
    assert [rung.name for rung in few] == ["fp32", "int8, relu6"]
    small = build_network(compose("train", ["backbone=mobilenetv3_small"]), 7)
    tuned = ("distilled", "quantisation-aware")
    litert = {rung.network for rung in rungs(small, ["litert"]) if not rung.network.endswith(tuned)}
    assert litert == {"trained", "relu6", "gates frozen + relu6"}  # no integer kernels for hard-swish there


@pytest.fixture(scope="module")
def searched(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A copy of the tiny run, exported with a ladder of two INT8 rungs, both of them judged."""
    folder = tmp_path_factory.mktemp("searched") / "seed0"
    shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("export"))
    quick = ["export.runtimes=[onnxruntime]", "export.rungs='int8$|int8, relu6$'"]
    quick += ["export.limits.every_rung=true", "export.max_drop=100", "export.limits.max_ece=1"]
    quick += ["quantization.calibration_faces=32", "export.timing={rounds: 1, iterations: 2}"]
    with pytest.MonkeyPatch.context() as patch:  # which of two tiny files is faster is chance
        clock = {"fp32": 3.0, "int8": 2.0, "int8, relu6": 1.0}
        order = list(clock.values())
        patch.setattr("fer_lab.deploy.search.time_files", lambda files, *_: {i: order[i] for i in files})
        result = export(compose("export", [f"run={folder}", "target=int8", *quick]))
    return folder, result


def test_the_search_ships_its_fastest_and_lists_every_rung(searched: tuple[Path, dict]) -> None:
    folder, result = searched
    written = json.loads((folder / "export" / "export.json").read_text())
    assert [rung["name"] for rung in written["ladder"]] == ["fp32", "int8", "int8, relu6"]
    assert [rung["chosen"] for rung in written["ladder"]] == [False, False, True]
    assert [rung["verdict"] for rung in written["ladder"][1:]] == ["passes", "passes"]
    assert result["chosen"] == "onnxruntime, int8, relu6"
    entry = written["files"]["onnx_int8"]
    assert entry["rung"] == result["chosen"]
    assert (entry["network"], entry["speedup"]) == ("relu6", 3.0)
    assert 0 < entry["distillation"]["reconstructed"] < 0.5  # nats from the network it came from, on held faces
    metadata = Classifier.load(folder / "export" / entry["file"]).metadata
    assert metadata.calibration == entry["calibration"]
    assert {path.name for path in (folder / "export").iterdir()} >= {"model.onnx", "model_int8.onnx"}
    said = (folder / "export" / "README.md").read_text()
    assert "`model_int8.onnx` | onnxruntime | int8 | relu6 |" in said
    assert "`model.onnx` | onnxruntime | fp32 | as trained |" in said
    assert f"loses {result['test']['drops']['accuracy']['points']:.2f} points of accuracy [" in said


def test_the_test_split_is_opened_once_for_the_winner(searched: tuple[Path, dict]) -> None:
    folder, result = searched
    openings = json.loads((folder / "record.json").read_text())["test_openings"]
    assert [opening["by"] for opening in openings].count("export target=int8") == 1
    drop = result["test"]["drops"]["accuracy"]
    assert drop["points"] == pytest.approx(
        100 * (result["test"]["fp32"]["accuracy"] - result["test"]["int8"]["accuracy"])
    )
    assert drop["low"] <= drop["points"] <= drop["high"]


def test_known_logits_count_only_if_the_file_gives_them_again(
    searched: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = searched[0] / "export" / "model_int8.onnx", load_run(searched[0])
    validation = build_data(run.cfg).split("validation")
    rows, expected = spread_rows(validation, 8), np.zeros((8, 7))
    asked = prove(path, "int8", validation, rows, expected)
    logits = predict(Classifier.load(path).logits, validation, "")
    monkeypatch.setattr("fer_lab.deploy.ship.predict", lambda *_: logits * 0)
    known = prove(path, "int8", validation, rows, expected, logits)
    assert known["validation"] == pytest.approx(asked["validation"])
    others = prove(path, "int8", validation, rows, expected, logits[::-1])
    assert others["validation"] != pytest.approx(asked["validation"])


def test_logits_that_the_run_kept_count_only_if_the_file_gives_them_again(
    searched: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(load_run(searched[0]), folder=tmp_path)
    split = build_data(run.cfg).split("validation")
    classifier, kept = Classifier.load(searched[0] / "export" / "model.onnx"), "validation_predictions.parquet"
    exact = predict(classifier.logits, split, "")
    monkeypatch.setattr("fer_lab.deploy.ship.predict", lambda *_: exact * 0)
    assert not fp32_logits(classifier, run, split, "validation").any()  # asked, as there is no file
    shutil.copyfile(searched[0] / kept, tmp_path / kept)
    np.testing.assert_allclose(fp32_logits(classifier, run, split, "validation"), exact, atol=1e-4)
    table = pd.read_parquet(tmp_path / kept)
    metadata, rows = describe(run), spread_rows(split, 8)
    asked = TorchClassifier(run.network, metadata, 1).probabilities(split.images[rows])
    np.testing.assert_allclose(torch_probabilities(run, metadata, split, rows), asked, atol=1e-5)
    table.assign(logit_happy=table["logit_happy"] + 0.01).to_parquet(tmp_path / kept)
    assert not fp32_logits(classifier, run, split, "validation").any()
    np.testing.assert_allclose(torch_probabilities(run, metadata, split, rows), asked, atol=1e-5)  # torch was asked


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["target=int4"], "target=int4 is unknown"),
        (["target=int8", "quantization=none"], "target=int8 needs a quantisation"),
        (["target=int8", "export.minutes=soon"], "export.minutes=soon is no time"),
        (["target=int8", "export.minutes=0"], "export.minutes=0 is no time"),
        (["target=int8", "export.runtimes=[onnx]"], "choose from onnxruntime, openvino, litert"),
        (["target=int8", "export.runtimes=[]"], "choose from onnxruntime, openvino, litert"),
        (["target=int8", "export.rungs=typo"], "export.rungs=typo matches no INT8 rung"),
        (["target=int8", "export.rungs='int8('"], "is no regular expression"),
        (["export.prune.macs=0.5"], "add target=int8"),
        (["export.parity_faces=0"], "export.parity_faces must be at least 1"),
        (["quantization.float_nodes=['(']"], "is no regular expression"),
        (["quantization.op_types=[Convolution]"], "ONNX has no operator Convolution"),
    ],
)
def test_targets_that_make_no_sense_are_refused(
    tiny_run: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    shutil.copytree(tiny_run, tmp_path / "seed0", ignore=shutil.ignore_patterns("export"))
    with pytest.raises(FerLabError, match=sentence):
        export(compose("export", [f"run={tmp_path / 'seed0'}", *words]))


def test_a_rung_whose_runtime_is_not_installed_is_named_not_fatal(tmp_path, monkeypatch) -> None:
    from fer_lab.deploy import search as module

    def missing(*_: object, **__: object) -> Path:
        raise FerLabError("openvino is not installed: pip install 'fer_lab[openvino]'")

    monkeypatch.setattr(Workshop, "write", missing)
    faces = SimpleNamespace(images=np.zeros((1, 48, 48, 1), np.uint8))
    workshop = Workshop.__new__(Workshop)
    trials = module.search(
        workshop,
        [Rung("int8", "openvino", "int8")],
        None,
        faces,
        None,
        None,
        Limits(),
        tmp_path,
        1,  # type: ignore[arg-type]
    )
    assert trials[0].verdict.startswith("not built: openvino is not installed")
    assert choose(trials) is None


def test_a_rung_that_is_far_off_is_given_up_after_a_first_look(tmp_path, monkeypatch) -> None:
    """Its file is asked about so many faces as a first look takes, not about all."""
    from fer_lab.deploy import search as module

    generator, asked = np.random.default_rng(0), []
    labels = generator.integers(0, 2, 2 * module.FIRST_LOOK)

    def wrong(faces: np.ndarray) -> np.ndarray:
        asked.append(len(faces))
        return np.eye(2, dtype=np.float32)[1 - faces[:, 0, 0, 0].astype(int)]

    file = SimpleNamespace(logits=wrong, probabilities=wrong)
    monkeypatch.setattr(module.Classifier, "load", lambda *_: file)
    monkeypatch.setattr(module, "Copies", lambda *_: file)
    monkeypatch.setattr(module, "size", lambda _: 1)
    monkeypatch.setattr(module, "time_files", lambda files, *_: {0: 2.0, 1: 1.0})
    workshop = SimpleNamespace(write=lambda *_, **__: tmp_path)
    faces = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), 1, 1, 1))
    split = FaceSplit(faces, labels, np.arange(len(labels)).astype(str), np.arange(len(labels)))
    metadata = SimpleNamespace(run_key="key", class_names=("a", "b"))
    reference = SimpleNamespace(logits=np.eye(2, dtype=np.float32)[labels])
    ladder = [Rung("fp32", "onnxruntime", "fp32"), Rung("int8", "onnxruntime", "int8")]
    trials = module.search(workshop, ladder, metadata, split, reference, None, Limits(), tmp_path, 1)  # type: ignore[arg-type]
    assert trials[1].verdict == f"accuracy drops by 100 points on {module.FIRST_LOOK} faces"
    assert sum(asked) == module.FIRST_LOOK
