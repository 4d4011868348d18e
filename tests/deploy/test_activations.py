"""Replaced activations, frozen gates, folded preprocessing and distillation, on networks of the real kinds."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy.activations import curved, freeze_gates, mean_gates, squeeze_excites
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
    assert curved(fit_relu6(freeze_gates(tiny, mean_gates(tiny, faces)), faces)) == set()
    assert curved(tiny) == {"silu"}
    large = build_network(compose("train", ["backbone=mobilenetv3_small"]), 7)
    assert curved(large) == {"hard_swish"}


def test_frozen_gates_are_the_mean_gates(tiny: Network, faces: np.ndarray) -> None:
    assert squeeze_excites(tiny)
    frozen = freeze_gates(tiny, mean_gates(tiny, faces))
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
    frozen = freeze_gates(still, mean_gates(still, faces), 0)
    assert len(squeeze_excites(frozen)) == len(squeeze_excites(tiny)) - 1
    assert np.abs(logits(frozen, faces) - logits(still, faces)).max() < 1e-5


def test_distillation_comes_closer_to_its_teacher_and_says_what_it_did(tiny: Network, faces: np.ndarray) -> None:
    student = fit_relu6(tiny, faces)
    quick = Distillation(epochs=20, faces=8, batch=8, statistics_faces=8, lr=5e-4)
    asked = []

    def teach(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return logits(tiny, faces[rows])

    trained, done = quick(student, teach, split_of(faces), macs=1_000_000, seed=0)
    again, _ = quick(student, teach, split_of(faces), macs=1_000_000, seed=0)
    assert done["last_loss"] < done["first_loss"]
    assert (done["steps"], done["faces_seen"], asked) == (20, 8, [8, 8])  # each face once
    near, far = (np.abs(logits(network, faces) - logits(tiny, faces)).mean() for network in (trained, student))
    assert near < far
    assert np.array_equal(logits(trained, faces), logits(again, faces))
    assert not trained.training


def test_batchnorm_keeps_its_statistics_unless_the_network_was_not_fitted(tiny: Network, faces: np.ndarray) -> None:
    short = Distillation(epochs=1, faces=8, batch=8, statistics_faces=8)
    kept, settled = (
        short(tiny, lambda rows: logits(tiny, faces[rows]), split_of(faces), 1_000_000, 0, settle=settle)[0]
        for settle in (False, True)
    )
    own, alike, moved = (
        [norm.running_mean for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
        for network in (tiny, kept, settled)
    )
    assert own
    assert all(torch.equal(one, other) for one, other in zip(own, alike, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(own, moved, strict=True))  # type: ignore[arg-type]


def test_distillation_keeps_its_budget() -> None:
    budget = Distillation(epochs=4, faces=1000, batch=10, tmacs=0.1)
    assert budget.steps(500, 1_000_000) == 200  # 4 × 500 / 10
    assert budget.steps(5000, 100_000_000) == 33  # 0.1e12 / (3 × 1e8 × 10)
    assert budget.steps(5000, 10**12) == 1
    with pytest.raises(FerLabError, match=r"export\.distill\.epochs"):
        Distillation(epochs=0)
    with pytest.raises(FerLabError, match=r"export\.distill\.batch must be at least 2"):
        Distillation(batch=1)


def test_distillation_shows_faces_with_their_own_answers(tiny: Network, faces: np.ndarray) -> None:
    seen = list[int]()

    class Noting(Distillation):
        def loss(self, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            rows = wanted[:, 0].int().tolist()
            if not seen:  # nothing was learned yet
                assert np.abs(given.detach().numpy() - logits(tiny, faces[rows])).max() < 1e-4
            seen.extend(rows)
            return super().loss(given, wanted)

    short = Noting(epochs=3, faces=8, batch=4, statistics_faces=8)
    short(tiny, lambda rows: np.tile(rows[:, None], 7).astype(np.float32), split_of(faces), 1_000_000, 0)
    assert len(seen) == 24
    assert all(len(set(seen[start : start + 8])) == 8 for start in (0, 8, 16))  # each face once an epoch


def test_the_loss_of_distillation_by_hand() -> None:
    """One face, two classes: softened by 2, logits (2, 0) against (0, 2) are probabilities e/(e+1) and 1/(e+1)."""
    given, wanted = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    p = np.e / (np.e + 1)
    divergence = 4 * ((1 - p) * np.log((1 - p) / p) + p * np.log(p / (1 - p)))
    assert float(Distillation().loss(given, wanted)) == pytest.approx(divergence, rel=1e-5)


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
