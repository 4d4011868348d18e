"""Quantisation-aware fine-tuning: what is rounded in training, what comes out, and when the search fine-tunes."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy import search as searching
from fer_lab.deploy.distill import Distillation
from fer_lab.deploy.judge import Drop, Limits, Trial
from fer_lab.deploy.ladder import DISTILLED, QAT, TRAINED, Rung, rungs, twin, untrained
from fer_lab.deploy.prune import Pruning
from fer_lab.deploy.workshop import Workshop
from fer_lab.models.network import Network
from fer_lab.models.preprocess import Preprocess

SHORT = Distillation(faces=64, batch=16, epochs=1, statistics_faces=32)


class Plain(nn.Sequential):
    """A backbone of two convolutions, each with BatchNorm and ReLU6."""

    def __init__(self) -> None:
        layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU6()]
        super().__init__(*layers, nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU6())


def network() -> Network:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return Network(Preprocess(16, (0.5,) * 3, (0.5,) * 3), Plain(), head).eval()  # type: ignore[arg-type]


def some_faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)


def test_a_fake_quantised_network_rounds_and_lets_gradients_through() -> None:
    pytest.importorskip("nncf")
    from fer_lab.deploy.qat import fake_quantized

    net, faces = network(), some_faces(32)
    student = fake_quantized(net, faces)
    stems: list[torch.Tensor] = []
    for stem in (student[1].backbone[1], net.backbone[1]):
        stem.register_forward_hook(lambda _, __, output: stems.append(output))
    with torch.no_grad():
        near, exact = student(torch.from_numpy(faces)), net(torch.from_numpy(faces))
    assert torch.equal(*stems)  # it is float
    assert 0 < float((near - exact).abs().max()) < 0.05 * float(exact.abs().max())
    student(torch.from_numpy(faces)).sum().backward()
    gradients = [p.grad for name, p in student.named_parameters() if name.endswith("0.weight")]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(parameter.grad is None for parameter in net.parameters())  # the network itself stays as it was


def test_weights_move_and_the_layers_stay() -> None:
    pytest.importorskip("nncf")
    from fer_lab.deploy.qat import RATE, fine_tune

    net, teacher, faces = network(), network(), some_faces(64)
    with torch.no_grad():
        net.backbone[0].weight.add_(0.05 * torch.randn_like(net.backbone[0].weight))
    before = copy.deepcopy(net.state_dict())
    labels = np.random.default_rng(1).integers(0, 4, len(faces))
    training = FaceSplit(faces, labels, np.arange(len(faces)).astype(str), np.arange(len(faces), dtype=np.uint64))

    def teach(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return teacher(torch.from_numpy(faces[rows])).numpy()

    learned, done = fine_tune(net, faces[:32], SHORT, teach, training, 1000, 0)
    assert {name: t.shape for name, t in learned.state_dict().items()} == {n: t.shape for n, t in before.items()}
    assert not torch.equal(learned.backbone[0].weight, before["backbone.0.weight"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert (done["steps"], done["lr"]) == (4, pytest.approx(SHORT.lr * RATE))
    assert done["quantisers"] >= 4  # two layers' weights and inputs
    assert torch.equal(learned.backbone[1].running_var, before["backbone.1.running_var"])
    assert not learned.training


def test_names_and_twins() -> None:
    assert [untrained(name) for name in (QAT, f"relu6 + {QAT}", "relu6 + distilled")] == [TRAINED, "relu6", "relu6"]
    ladder = rungs(network(), ["onnxruntime", "openvino"])
    pairs = {(rung.runtime, rung.name): ladder[i] for rung in ladder if (i := twin(rung, ladder)) is not None}
    percentile = "onnxruntime", "int8, percentile"
    assert set(pairs) == {("onnxruntime", f"int8, {QAT}"), ("openvino", f"int8, {QAT}"), percentile}
    assert all((plain.runtime, plain.name) == (runtime, "int8") for (runtime, _), plain in pairs.items())
    alone = [rung for rung in ladder if rung.name == f"int8, {QAT}"]
    assert twin(alone[0], alone) is None


@pytest.fixture
def climb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[str], list[Trial]]]:
    """The search itself, with files that cost nothing: names drafted, names built for good, in order, and the trials.

    A rung is (its name, its network, ms of its draft, points of accuracy it loses)."""

    def climbed(
        *given: tuple[str, str, float, float], deadline: float | None = None
    ) -> tuple[list[str], list[str], list[Trial]]:
        ladder = [
            Rung(
                name,
                "openvino" if "openvino" in name else "onnxruntime",
                name[:4],
                net,
                settings={"per_channel": False} if "slow" in name else {},
            )
            for name, net, _, _ in given
        ]
        lost = {name: points for name, _, _, points in given}
        drafted, asked = list[str](), list[str]()

        def write(_: Workshop, rung: Rung, metadata: object, path: Path, draft: bool) -> Path:
            (drafted if draft else asked).append(rung.name)
            path.write_bytes(b"")
            return path

        def judged(trial: Trial, *_: object) -> None:
            points = lost[trial.rung.name]
            trial.drops, trial.logits = {"accuracy": Drop(points, points, points)}, np.zeros((1, 2))
            trial.verdict = "passes" if points <= 1 else "accuracy drops"

        class Opened:
            logits = None

            def __init__(self, *_: object) -> None: ...

            @classmethod
            def load(cls, *_: object) -> "Opened":
                return cls()

        monkeypatch.setattr(Workshop, "write", write)
        monkeypatch.setattr(searching, "Classifier", Opened)
        monkeypatch.setattr(searching, "Copies", Opened)
        monkeypatch.setattr(searching, "time_files", lambda files, *_: {i: given[i][2] for i in files})
        monkeypatch.setattr(searching, "predict", lambda *_: np.zeros((1, 2)))
        monkeypatch.setattr(searching, "_judge", judged)
        monkeypatch.setattr(searching, "_first_look", lambda *_: {"accuracy": Drop(0.0, 0.0, 0.0)})
        split = type("Split", (), {"images": some_faces(1)})
        workshop, metadata = Workshop.__new__(Workshop), type("Metadata", (), {"run_key": "key"})
        trials = searching.search(
            workshop, ladder, metadata, split, None, None, Limits(), tmp_path, 1, deadline=deadline
        )  # type: ignore[arg-type]
        return drafted, asked, trials

    return climbed


@pytest.mark.parametrize(
    ("int8", "slow", "built"),
    [
        (0.0, 0.0, ["int8"]),  # nothing to repair
        (2.0, 0.0, ["int8", "int8, slow"]),
        (2.0, 2.0, ["int8", "int8, slow", f"int8, {QAT}"]),
    ],
)
def test_it_is_tried_only_where_nothing_else_passes(int8: float, slow: float, built: list[str], climb: Any) -> None:
    rungs = [("fp32", TRAINED, 4.0, 0.0), ("int8", TRAINED, 1.0, int8), (f"int8, {QAT}", QAT, 0.0, 0.0)]
    drafted, asked, trials = climb(*rungs, ("int8, slow", TRAINED, 2.0, slow))
    assert (drafted, asked) == (["fp32", "int8", "int8, slow"], built)
    assert trials[2].latency_ms == 1.0  # its file is laid out as its twin's
    if min(int8, slow) <= 1:
        assert trials[2].verdict == "not needed: another passes without"


@pytest.mark.parametrize(
    ("relu6", "built", "verdict"),
    [
        (0.5, ["int8, relu6", "int8, relu6 + distilled"], "passes"),  # equally fast: the better of the two ships
        (3.0, ["int8, relu6", "int8, relu6 + distilled"], "passes"),
        (3.1, ["int8, relu6", "int8, slow"], "not tried: too far off to be fine-tuned"),
    ],
)
def test_a_changed_network_is_distilled_before_slower_rungs_are_asked(
    relu6: float, built: list[str], verdict: str, climb: Any
) -> None:
    taught = ("int8, relu6 + distilled", f"relu6 + {DISTILLED}", 0.0, 0.8)
    rungs = [("fp32", TRAINED, 4.0, 0.0), ("int8, slow", TRAINED, 2.0, 0.0), ("int8, relu6", "relu6", 1.0, relu6)]
    drafted, asked, trials = climb(*rungs, taught)
    assert (drafted, asked) == (["fp32", "int8, slow", "int8, relu6"], built)
    assert trials[3].verdict == verdict


def test_what_a_change_loses_in_one_runtime_it_is_taken_to_lose_in_another(climb: Any) -> None:
    rungs = [("fp32", TRAINED, 4.0, 0.0), ("fp32, openvino", TRAINED, 4.0, 0.0)]
    rungs += [
        ("int8", TRAINED, 1.0, 3.5),
        ("int8, relu6", "relu6", 1.1, 3.5),
        ("int8, frozen", "gates frozen", 1.2, 1.5),
    ]
    others = [(f"{name}, openvino", net, 0.5 + ms, 0.8) for name, net, ms, _ in rungs[2:]]
    _, asked, trials = climb(*rungs, *others[1:])
    assert asked == ["int8", "int8, relu6", "int8, frozen", "int8, frozen, openvino"]
    assert trials[5].verdict == "not tried: the same network loses 3.5 points in onnxruntime"
    assert climb(*rungs, others[0])[1][-1] == "int8, openvino"  # what rounding loses, it may lose in one runtime only
    both, aware = (
        ("int8, relu6 and frozen", "gates frozen + relu6", 1.3, 0.0),
        ("int8, aware", f"relu6 + {QAT}", 0, 0.8),
    )
    assert "int8, aware" in climb(*rungs[:4], aware)[1]  # a fine-tuning of rounded weights may bring more back
    _, asked, trials = climb(*rungs[:4], both)
    assert "int8, relu6 and frozen" not in asked
    assert trials[4].verdict == "not tried: relu6 alone loses 3.5 points in onnxruntime"


def test_no_network_is_fitted_that_would_not_be_done_in_time(climb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rungs = [("fp32", TRAINED, 4.0, 0.0), ("int8, relu6", "relu6", 1.0, 0.0), ("int8", TRAINED, 2.0, 0.0)]
    paces = list[float]()

    def seconds(_: Workshop, rung: Rung, pace: float) -> float:
        paces.append(pace)
        return 0.0 if rung.network == TRAINED else 90.0

    monkeypatch.setattr(Workshop, "seconds", seconds)
    _, asked, trials = climb(*rungs, deadline=time.perf_counter() + 60)
    assert asked == ["int8"]
    assert trials[1].verdict == f"{searching.OVERTIME} 1.5 min"
    assert set(paces) == {4.0}
    assert climb(*rungs, deadline=time.perf_counter() + 120)[1] == ["int8, relu6"]
    assert climb(*rungs, deadline=time.perf_counter() - 60)[1] == ["int8"]  # late as it is, one is to be tried
    rungs += [("int8, slower", TRAINED, 3.0, 0.0), ("int8, slowest", TRAINED, 3.5, 0.0)]
    rungs[2] = ("int8", TRAINED, 2.0, 1.5)  # which does not pass
    assert climb(*rungs, deadline=time.perf_counter() - 60)[1] == ["int8"]
    assert climb(*rungs, deadline=time.perf_counter() + 60)[1] == ["int8", "int8, slower"]


def test_how_long_a_rung_takes_by_hand(tiny_run: Path) -> None:
    """At 2 ms a face: 30 s, half where the network is there, 1.2 × 40 faces to ask about, half where the trained one
    was asked, 3.5 × 768 to fit with, 1.3 × 10^12 / MACs to distil."""
    from fer_lab.data.dataset import build_data
    from fer_lab.evaluation.run import load_run

    run = load_run(tiny_run)
    training, short = build_data(run.cfg).split("train"), Distillation(tmacs=1.0)
    workshop = Workshop(run, training, None, short, 0, refit_faces=40)
    plain, taught, other = (Rung("int8", "onnxruntime", "int8", net) for net in ("relu6", f"relu6 + {DISTILLED}", QAT))
    distilling = 1.3 * 1e12 / run.record["model"]["macs"]
    assert workshop.seconds(Rung("int8", "onnxruntime", "int8"), 2.0) == pytest.approx(15 + 1.2 * 40 / 500)
    assert workshop.seconds(plain, 2.0) == pytest.approx(30 + (1.2 * 40 + 3.5 * 768) / 500)
    assert workshop.seconds(taught, 2.0) == pytest.approx(30 + (1.2 * 40 + 3.5 * 768 + distilling) / 500)
    assert workshop.seconds(other, 2.0) == pytest.approx(30 + (1.2 * 40 + distilling) / 500)
    workshop.pruning = Pruning(macs=0.5)
    pruned = Rung("int8", "onnxruntime", "int8", "pruned to 0.50 MACs")
    assert workshop.seconds(pruned, 2.0) == pytest.approx(30 + (1.2 * 40 + distilling) / 500)
    workshop.network("relu6", draft=False)
    assert workshop.seconds(plain, 2.0) == pytest.approx(15 + 1.2 * 40 / 500)
    assert workshop.seconds(taught, 2.0) == pytest.approx(30 + (1.2 * 40 + distilling) / 500)
    workshop._answers(workshop.refit_rows)
    assert workshop.seconds(plain, 2.0) == pytest.approx(15 + 0.6 * 40 / 500)


@pytest.mark.parametrize(("plain", "tuned"), [(TRAINED, QAT), ("relu6", f"relu6 + {DISTILLED}")])
def test_a_rung_is_a_file_like_its_twins_with_other_weights(
    plain: str, tuned: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last layer is fitted to what its own float network answers, not to the trained one."""
    if tuned == QAT:
        pytest.importorskip("nncf")
    import onnx

    from fer_lab.data.dataset import build_data
    from fer_lab.deploy.quantization import StaticInt8
    from fer_lab.deploy.runtimes import Classifier, describe
    from fer_lab.evaluation.run import load_run

    run = load_run(tiny_run)
    training = build_data(run.cfg).split("train")
    workshop = Workshop(run, training, StaticInt8(calibration_faces=32), SHORT, 0, refit_faces=40)
    fitted: list[np.ndarray] = []

    def fit(model: onnx.ModelProto, graph: onnx.ModelProto, faces: np.ndarray, wanted: np.ndarray) -> onnx.ModelProto:
        fitted.append(wanted)
        return model

    monkeypatch.setattr("fer_lab.deploy.workshop.refit.refit_onnx", fit)
    ladder = [Rung("int8", "onnxruntime", "int8", plain), Rung(f"int8, {tuned}", "onnxruntime", "int8", tuned)]
    files = [workshop.write(rung, describe(run), tmp_path / f"{i}", draft=False) for i, rung in enumerate(ladder)]
    nodes = [[node.op_type for node in onnx.load(path).graph.node] for path in files]
    assert nodes[0] == nodes[1]
    logits = [Classifier.load(path).logits(training.images[:4]) for path in files]
    assert not np.array_equal(*logits)
    done = workshop.distilled[tuned]
    assert (done["steps"], done["before"]) == (4, workshop.distilled.get(plain))
    faces = torch.from_numpy(training.images[workshop.refit_rows])
    with torch.no_grad():
        wanted = [network(faces).numpy() for network in (run.network.cpu(), workshop.network(tuned, draft=False))]
    assert [np.abs(one - own).max() < 1e-4 for one, own in zip(fitted, wanted, strict=True)] == [True, True]
