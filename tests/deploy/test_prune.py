"""Structured pruning: targets are met, what must stay stays, and a pruned rung is built and named."""

import numpy as np
import pytest
import torch
from torch import nn

from fer_lab.deploy.prune import Pruning, count_macs, prune, share_for
from fer_lab.errors import FerLabError
from fer_lab.models.network import build_network
from fer_lab.schema import compose

FACES = np.random.default_rng(0).integers(0, 256, (32, 48, 48, 1), dtype=np.uint8)


def build(*words: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(compose("train", [*words, "backbone.weights=none", "input_size=48"]), 7).eval()


@pytest.mark.parametrize(
    ("words", "share", "importance"),
    [
        (("backbone=tiny", "head=mlp256"), 0.5, "taylor"),
        (("backbone=mobilenetv2_035", "head=linear"), 0.5, "l2"),
        (("backbone=mobilenetv3_small", "head=linear"), 0.6, "l1"),  # squeeze-excite, and padding as Keras has it
        pytest.param(("backbone=efficientnet_b0", "head=linear"), 0.4, "l2", marks=pytest.mark.slow),
    ],
)
def test_macs_meet_the_target_and_the_logits_stay(words: tuple[str, ...], share: float, importance: str) -> None:
    pytest.importorskip("torch_pruning")
    network = build(*words)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = prune(network, share, FACES, importance)
    kept = count_macs(pruned, FACES) / count_macs(network, FACES)
    assert share - 0.15 < kept <= share
    assert pruned(torch.from_numpy(FACES[:3])).shape == (3, 7)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    kinds = [type(module) for module in network.modules()]
    assert [type(module) for module in pruned.modules()] == kinds  # nothing was replaced
    pairs = [(one, two) for one, two in zip(pruned.modules(), network.modules(), strict=True) if type(one) is nn.Conv2d]
    assert all(one.out_channels % 8 == 0 or one.out_channels == two.out_channels for one, two in pairs)
    assert pruned.backbone.features == pruned.backbone(torch.zeros(1, 3, 48, 48)).shape[1] < network.backbone.features


def test_the_least_important_channels_go() -> None:
    """Half of a stem's channels are nothing and do nothing: without them the answers are the same."""
    pytest.importorskip("torch_pruning")
    network = build("backbone=tiny", "head=linear")
    first = [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]
    features = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d)][-1]
    norm = [m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    with torch.no_grad():
        for tensor in (features.weight, norm.weight, norm.bias):
            tensor[::4] = 0
        first.weight[:, ::4] = 0
    pruned = prune(network, 0.9, FACES)
    left = [m for m in pruned.head.modules() if isinstance(m, nn.Linear)][-1]
    gone = first.in_features - left.in_features
    assert 0 < gone <= first.in_features // 4
    assert int((left.weight == 0).all(0).sum()) == first.in_features // 4 - gone  # only such ones went


def test_share_for_latency_by_bisection() -> None:
    asked: list[float] = []

    def latency(share: float) -> float:  # half of it does not shrink
        asked.append(share)
        return 5 + 5 * share

    share = share_for(latency, 7.5)
    assert 0.97 * 7.5 <= latency(share) <= 7.5
    assert share == pytest.approx(0.5, abs=0.06)
    assert len(asked) <= 7
    with pytest.raises(FerLabError, match="met without pruning"):
        share_for(latency, 12.0)
    with pytest.raises(FerLabError, match="not reached"):
        share_for(latency, 1.0)


@pytest.mark.parametrize(
    "settings", [{"macs": 0.5, "latency_ms": 1.0}, {"macs": 1.5}, {"latency_ms": 0.0}, {"importance": "random"}]
)
def test_targets_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(FerLabError, match=r"export\.prune"):
        Pruning(**settings)


def test_names() -> None:
    assert [Pruning().name, Pruning(macs=0.5).name] == [None, "pruned to 0.50 MACs"]
    assert Pruning(latency_ms=2.5).name == "pruned to 2.5 ms"


def test_a_pruned_rung_is_built_trained_and_described(tiny_run, tmp_path) -> None:
    pytest.importorskip("torch_pruning")
    from fer_lab.data.dataset import build_data
    from fer_lab.deploy.distill import Distillation
    from fer_lab.deploy.ladder import rungs
    from fer_lab.deploy.quantization import StaticInt8
    from fer_lab.deploy.runtimes import Classifier, describe
    from fer_lab.deploy.workshop import Workshop
    from fer_lab.evaluation.run import load_run

    run = load_run(tiny_run)
    short = Distillation(epochs=1, faces=64, statistics_faces=32)
    quantizer, training = StaticInt8(calibration_faces=32), build_data(run.cfg).split("train")
    workshop = Workshop(run, training, quantizer, short, 0, Pruning(macs=0.5))
    name = workshop.pruning.name
    ladder = rungs(run.network, ["onnxruntime"], r"int8, pruned to [\d.]+ MACs$", name)
    assert [rung.name for rung in ladder] == ["fp32", f"fp32, {name}", f"int8, {name}"]
    files = [workshop.write(rung, describe(run), tmp_path / f"{i}", draft=False) for i, rung in enumerate(ladder)]
    assert files[1].stat().st_size < 0.8 * files[0].stat().st_size
    assert Classifier.load(files[2]).logits(training.images[:2]).shape == (2, 7)
    assert workshop.distilled[name]["steps"] == 2
    assert workshop.distilled[name]["pruning"]["kept"] <= 0.5
