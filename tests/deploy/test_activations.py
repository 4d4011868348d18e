"""Replaced activations, frozen gates, folded preprocessing and distillation, on networks of the real kinds."""

import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fer_lab.data.augment import Augmenter
from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy.activations import curved, freeze_gates, mean_gates, silu_for_all, squeeze_excites
from fer_lab.deploy.distill import Distillation, remeasure
from fer_lab.deploy.equalization import equalize
from fer_lab.deploy.relu6 import fit_relu6
from fer_lab.deploy.rewrite import fold_preprocessing, pool_globally
from fer_lab.errors import FerLabError
from fer_lab.models.network import Network, build_network
from fer_lab.schema import compose


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 24, 24, 1), np.uint8)


@pytest.fixture(scope="module")
def tiny(faces: np.ndarray) -> Network:
    """SiLU and squeeze-excites, with BatchNorm statistics of the faces."""
    torch.manual_seed(0)
    network = build_network(compose("train", ["backbone=tiny", "head=linear", "input_size=48"]), 7)
    remeasure(network, faces)
    return network


@torch.inference_mode()
def logits(network: nn.Module, faces: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(faces)).numpy()


def split_of(faces: np.ndarray) -> FaceSplit:
    rows = np.arange(len(faces))
    return FaceSplit(faces, rows % 7, rows.astype(str), rows.astype(np.uint64))


@pytest.mark.parametrize(("channels", "native"), [(1, 24), (3, 24), (1, 48), (1, 64)])
def test_folding_the_preprocessing_changes_nothing(tiny: Network, channels: int, native: int) -> None:
    faces = np.random.default_rng(1).integers(0, 256, (4, native, native, channels), np.uint8)
    network = build_network(compose("train", ["backbone=tiny", "head=linear", "input_size=48"]), 7).eval()
    network.preprocess.mean, network.preprocess.std = (torch.rand(1, 3, 1, 1) + 0.3 for _ in range(2))  # unequal
    folded = fold_preprocessing(network, faces.shape[1:])
    assert folded is not network
    assert np.abs(logits(folded, faces) - logits(network, faces)).max() < 1e-5


def test_what_is_done_to_the_light_is_not_folded() -> None:
    network = build_network(compose("train", ["backbone=tiny", "illumination=clahe"]), 7)
    assert fold_preprocessing(network, (48, 48, 1)) is network


def test_pooling_becomes_global_average_pooling() -> None:
    nodes = [helper.make_node("ReduceMean", ["x", axes], [out]) for axes, out in (("a", "y"), ("b", "z"))]
    values = [numpy_helper.from_array(np.array(v), k) for k, v in (("a", [2, 3]), ("b", [1]))]
    info = helper.make_tensor_value_info
    outputs = [info(name, TensorProto.FLOAT, None) for name in ("y", "z")]
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, [1, 2, 4, 4])], outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    pooled = pool_globally(model)
    assert [node.op_type for node in pooled.graph.node] == ["GlobalAveragePool", "ReduceMean"]
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    before, after = (run(m, x) for m in (model, pooled))
    assert np.abs(before - after).max() < 1e-6


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def test_activations_are_replaced_in_a_copy(tiny: Network, faces: np.ndarray) -> None:
    assert curved(tiny) == {"silu"}
    assert curved(fit_relu6(freeze_gates(tiny, faces), faces)) == set()
    assert curved(tiny) == {"silu"}
    large = build_network(compose("train", ["backbone=mobilenetv3_small"]), 7)
    assert curved(large) == {"hard_swish"}
    assert curved(silu_for_all(large)) == {"silu"}
    assert curved(large) == {"hard_swish"}


def test_frozen_gates_are_the_mean_gates(tiny: Network, faces: np.ndarray) -> None:
    assert squeeze_excites(tiny)
    frozen = freeze_gates(tiny, faces)
    assert not squeeze_excites(frozen)
    block, behind = squeeze_excites(tiny)[0]
    seen: list[torch.Tensor] = []
    inner = block.se.conv_expand.register_forward_hook(lambda _, __, out: seen.append(out.detach().sigmoid()))
    gates = mean_gates(tiny, faces)[0][0]
    inner.remove()
    alive = gates > 0
    assert torch.allclose(gates[alive], seen[0].mean((0, 2, 3))[alive], atol=1e-4)
    names = {module: name for name, module in tiny.named_modules()}
    scaled = frozen.get_submodule(names[behind]).weight
    assert torch.allclose(scaled, behind.weight * gates.view(1, -1, 1, 1))


def test_gates_that_hardly_move_go_whatever_share_is_asked_for(tiny: Network, faces: np.ndarray) -> None:
    still = copy.deepcopy(tiny)
    block, _ = squeeze_excites(still)[0]
    with torch.no_grad():
        block.se.conv_expand.weight *= 0  # type: ignore[union-attr, operator]
    frozen = freeze_gates(still, faces, 0)
    assert len(squeeze_excites(frozen)) == len(squeeze_excites(tiny)) - 1
    assert np.abs(logits(frozen, faces) - logits(still, faces)).max() < 1e-5


def test_distillation_comes_closer_to_its_teacher_and_says_what_it_did(tiny: Network, faces: np.ndarray) -> None:
    student = fit_relu6(tiny, faces)
    quick = Distillation(epochs=20, faces=8, batch=8, statistics_faces=8, labels=0.0)
    asked = []

    def teach(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return logits(tiny, faces[rows])

    trained, done = quick(student, teach, split_of(faces), Augmenter({}), macs=1_000_000, seed=0)
    again, _ = quick(student, teach, split_of(faces), Augmenter({}), macs=1_000_000, seed=0)
    assert done["last_loss"] < done["first_loss"]
    assert (done["steps"], done["faces_seen"], asked) == (20, 8, [8, 8])  # each face once
    near, far = (np.abs(logits(network, faces) - logits(tiny, faces)).mean() for network in (trained, student))
    assert near < far
    assert np.array_equal(logits(trained, faces), logits(again, faces))
    assert not trained.training
    assert trained.preprocess.input_size == tiny.preprocess.input_size


def test_distillation_on_smaller_images_ends_at_the_networks_own_size(tiny: Network, faces: np.ndarray) -> None:
    small = Distillation(epochs=20, faces=8, batch=8, statistics_faces=8, small=tiny.preprocess.input_size // 2)
    trained, done = small(
        fit_relu6(tiny, faces),
        lambda rows: logits(tiny, faces[rows]),
        split_of(faces),
        Augmenter({}),
        macs=1_000_000,
        seed=0,
    )
    own = tiny.preprocess.input_size
    assert done["phases"] == [(own // 2, 14), (own, 6)]
    assert trained.preprocess.input_size == tiny.preprocess.input_size == own


def test_distillation_keeps_its_budget() -> None:
    budget = Distillation(epochs=4, faces=1000, batch=10, tmacs=0.1, small=56, last=0.2)
    assert budget.phases(500, 1_000_000, 224) == [(56, 160), (224, 40)]  # 4 × 500 / 10 steps in all
    # 0.1e12 / (3 × 1e8 × 10) = 33 steps at 224 px, of which a fifth; 16 times as many at 56 px, of
    # which the rest, but no more than 4 × 1000 / 10 in all
    assert budget.phases(5000, 100_000_000, 224) == [(56, 320), (224, 6)]
    assert replace(budget, small=None).phases(5000, 100_000_000, 224) == [(224, 33)]
    assert budget.phases(5000, 100_000_000, 56) == [(56, 33)]
    with pytest.raises(FerLabError, match=r"export\.distill\.epochs"):
        Distillation(epochs=0)
    with pytest.raises(FerLabError, match=r"export\.distill\.labels=1\.5"):
        Distillation(labels=1.5)
    with pytest.raises(FerLabError, match=r"export\.distill\.batch must be at least 2"):
        Distillation(batch=1)


def test_distillation_shows_views_with_their_labels_and_answers(tiny: Network, faces: np.ndarray) -> None:
    """What the augmenter was asked for, and what came to the loss."""
    split, drawn, seen = split_of(faces), [], []

    class Marked(Augmenter):
        def __call__(self, face: np.ndarray, key: str, label: int = 0) -> np.ndarray:
            drawn.append((key, next(i for i, own in enumerate(faces) if np.array_equal(own, face)), int(label)))
            return face // 2

    class Noting(Distillation):
        def loss(self, given: torch.Tensor, wanted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            seen.append((wanted[:, 0].tolist(), labels.tolist()))
            return super().loss(given, wanted, labels)

    short = Noting(epochs=3, faces=8, batch=4, statistics_faces=8)
    short(tiny, lambda rows: np.tile(rows[:, None], 7).astype(np.float32), split, Marked({}), 1_000_000, 0)
    assert len({key for key, _, _ in drawn}) == len(drawn) == 24  # every view is another
    rows = [row for _, row, _ in drawn]
    assert [label for _, _, label in drawn] == split.labels[rows].tolist()
    assert [row for answers, _ in seen for row in answers] == rows
    assert [label for _, labels in seen for label in labels] == split.labels[rows].tolist()


def test_the_loss_of_distillation_by_hand() -> None:
    """One face, two classes: softened by 2, logits (2, 0) against (0, 2) are probabilities e/(e+1) and 1/(e+1)."""
    given, wanted, label = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([1])
    p = np.e / (np.e + 1)
    divergence = 4 * ((1 - p) * np.log((1 - p) / p) + p * np.log(p / (1 - p)))
    hard = np.log(np.exp([2.0, 0.0]).sum()) - np.array([2.0, 0.0])  # cross-entropy of either class
    smoothed = 0.95 * hard[1] + 0.05 * hard[0]
    for share in (0.0, 0.3, 1.0):
        expected = (1 - share) * divergence + share * smoothed
        assert float(Distillation(labels=share).loss(given, wanted, label)) == pytest.approx(expected, rel=1e-5)


def test_equalisation_keeps_the_function_and_evens_the_ranges() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(4, 2, 1, 1)) * np.array([0.01, 1, 10, 100]).reshape(-1, 1, 1, 1)
    tensors = {"w": first, "b": generator.normal(size=4), "v": generator.normal(size=(3, 4, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], "one"),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Conv", ["z", "v"], ["out"], "two"),
    ]
    info = helper.make_tensor_value_info
    shapes = [info("x", TensorProto.FLOAT, [1, 2, 5, 5])], [info("out", TensorProto.FLOAT, None)]
    values = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", *shapes, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    even = equalize(model)
    x = generator.normal(size=(1, 2, 5, 5)).astype(np.float32)
    before, after = (run(m, x) for m in (model, even))
    assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()
    new = {tensor.name: numpy_helper.to_array(tensor) for tensor in even.graph.initializer}
    # r1 = r2 = sqrt(r1 r2) in every channel: equation 10 of the paper
    assert np.allclose(np.abs(new["w"]).max((1, 2, 3)), np.abs(new["v"]).max((0, 2, 3)), rtol=1e-3)
