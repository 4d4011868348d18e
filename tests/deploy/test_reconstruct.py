"""Layers of a changed network, fitted to those of the trained one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fer_lab.deploy.activations import freeze_gates, mean_gates, squeeze_excites
from fer_lab.deploy.distill import divergence, remeasure
from fer_lab.deploy.reconstruct import _enough, reconstruct
from fer_lab.deploy.relu6 import fit_relu6
from fer_lab.models.network import Network, build_network
from fer_lab.schema import compose


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 24, 24, 1), np.uint8)


@pytest.fixture(scope="module")
def tiny(faces: np.ndarray) -> Network:
    """SiLU and squeeze-excites, with BatchNorm statistics of the faces, and logits that differ."""
    torch.manual_seed(0)
    network = build_network(compose("train", ["backbone=tiny", "head=linear", "input_size=48"]), 7)
    with torch.no_grad():
        network.head[-1].weight *= 20  # type: ignore[index, operator]
    remeasure(network, faces)
    return network


@torch.inference_mode()
def logits(network: Network, faces: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(faces)).numpy()


def test_an_unchanged_network_stays(tiny: Network, faces: np.ndarray) -> None:
    same, answers = reconstruct(tiny, tiny, faces[:8])
    np.testing.assert_allclose(answers, logits(tiny, faces[:8]), atol=1e-4)
    assert same is not tiny
    assert np.abs(logits(same, faces) - logits(tiny, faces)).max() < 1e-3


def test_weights_that_were_moved_come_back(tiny: Network, faces: np.ndarray) -> None:
    """Every convolution is linear, so that any change of its weights alone can be undone."""
    changed = copy.deepcopy(tiny)
    with torch.no_grad():
        for module in changed.modules():
            if isinstance(module, nn.Conv2d) and module.groups in (1, module.in_channels):
                module.weight *= 1.5
    again, _ = reconstruct(changed, tiny, faces[:32])
    off, back = (np.abs(logits(each, faces[32:]) - logits(tiny, faces[32:])).mean() for each in (changed, again))
    assert back < 0.1 * off


def test_another_activation_is_made_up_for(tiny: Network, faces: np.ndarray) -> None:
    changed = fit_relu6(tiny, faces)
    fitted, _ = reconstruct(changed, tiny, faces[:32])
    assert divergence(fitted, tiny, faces[32:]) < divergence(changed, tiny, faces[32:])
    assert divergence(tiny, tiny, faces[32:]) == pytest.approx(0, abs=1e-6)
    assert not fitted.training


def test_the_gates_that_differ_least_are_frozen_first(tiny: Network, faces: np.ndarray) -> None:
    _, errors = mean_gates(tiny, faces)
    assert len(errors) >= 2
    assert all(error >= 0 for error in errors)
    share = 1 / len(errors)
    left = squeeze_excites(freeze_gates(tiny, mean_gates(tiny, faces), share))
    assert len(left) == len(errors) - 1
    names = {module: name for name, module in tiny.named_modules()}
    blocks = [names[block] for block, _ in squeeze_excites(tiny)]
    frozen = freeze_gates(tiny, mean_gates(tiny, faces), share)
    kept = {name for name, module in frozen.named_modules() for block, _ in squeeze_excites(frozen) if module is block}
    assert {*blocks} - kept == {blocks[int(np.argmin(errors))]}


def test_a_layer_of_few_weights_needs_few_faces_and_places() -> None:
    """64 batches of 16 faces with 20 places each give 20,480 rows; an output of 3×3 depthwise weights wants 2,700."""
    places = torch.arange(20), torch.arange(20), torch.Size((4, 5))
    target = [(places, torch.zeros(16, 480, 20))]
    assert _enough(nn.Conv2d(480, 480, 3, groups=480), target, 1024) == (2, 6)  # 512 faces at least
    assert _enough(nn.Conv2d(480, 480, 5, groups=480), target, 1024) == (2, 15)
    assert _enough(nn.Conv2d(480, 480, 3, groups=480), target, 4096) == (8, 6)
    assert _enough(nn.Conv2d(480, 480, 3, groups=480), target, 500) == (1, 6)
    assert _enough(nn.Conv2d(60, 480, 1), target, 4096) == (4, 18)  # 18,000 of 81,920 rows: every fourth face, at least
    assert _enough(nn.Conv2d(240, 480, 1), target, 1024) == (1, 20)
    assert _enough(nn.Linear(1, 7), [(None, torch.zeros(16, 7))], 1024) == (2, 1)
    assert _enough(nn.Linear(1280, 7), [(None, torch.zeros(16, 7))], 1024) == (1, 1)
