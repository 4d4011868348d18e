"""ReLU6 in place of other activations, shifted and scaled channel by channel."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_lab.deploy import relu6
from fer_lab.deploy.activations import is_curved, squeeze_excites
from fer_lab.deploy.distill import divergence, remeasure
from fer_lab.deploy.reconstruct import reconstruct
from fer_lab.deploy.relu6 import fit, fit_relu6, readers
from fer_lab.models.network import Network, build_network
from fer_lab.schema import compose


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 24, 24, 1), np.uint8)


def measured(backbone: str, faces: np.ndarray) -> Network:
    torch.manual_seed(0)
    network = build_network(compose("train", [f"backbone={backbone}", "head=linear", "input_size=48"]), 7)
    with torch.no_grad():
        network.head[-1].weight *= 20  # type: ignore[index, operator]
    remeasure(network, faces)
    return network


def outside(network: Network) -> int:
    """How many activations are to be replaced: those of squeeze-excites are not."""
    return sum(is_curved(module) and "se" not in name.split(".") for name, module in network.named_modules())


@torch.inference_mode()
def logits(network: Network, faces: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(faces)).numpy()


def test_a_bent_line_is_found_again() -> None:
    before = torch.linspace(-3, 3, 601).repeat(2, 1)
    after = torch.stack([2 * (before[0] + 0.5).relu() - 1, 0.5 * (before[1] - 1).relu() + 3])
    shift, cap, slope, offset = fit(before, after)
    assert shift.tolist() == [0.5, -1.0]
    assert slope.tolist() == pytest.approx([2, 0.5], rel=1e-4)
    assert offset.tolist() == pytest.approx([-1, 3], abs=1e-3)
    assert cap.tolist() == pytest.approx([3.5, 2], rel=0.01)  # what relu(before + shift) reaches


def test_a_relu_keeps_its_bend() -> None:
    before = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    shift, cap, slope, offset = fit(before, before.relu())
    assert [each.tolist() for each in (shift, slope, offset)] == [[0] * 3, [1] * 3, [0] * 3]
    assert (cap <= before.max(1).values).all()


def test_hard_swish_bends_where_it_fits_better_than_relu6() -> None:
    before = 4 * torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
    after = nn.functional.hardswish(before)
    shift, cap, slope, offset = fit(before, after)
    fitted = slope * (before + shift).relu().minimum(cap) + offset
    assert (fitted - after).square().mean() < 0.2 * (before.clamp(0, 6) - after).square().mean()


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
def test_every_activation_fills_its_range(backbone: str, faces: np.ndarray) -> None:
    network = measured(backbone, faces)
    changed = fit_relu6(network, faces)
    assert outside(network)  # in a copy
    assert not outside(changed)
    greatest: list[Tensor] = []
    known = [norm for norm, _ in readers(network)]
    assert len(known) >= outside(network)
    names = {module: name for name, module in network.named_modules()}
    for norm in known:
        act = changed.get_submodule(names[norm]).act
        assert isinstance(act, nn.ReLU6)
        act.register_forward_hook(lambda _, __, output: greatest.append(output.amax((0, 2, 3))))
    logits(changed, faces)
    lively = [(each > 3).float().mean().item() for each in greatest]
    assert np.mean(lively) > 0.8  # of 0 to 6, in most channels


def test_a_network_of_relus_answers_as_before_where_nothing_is_clipped(
    faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relu6, "KEPT", 1.0)
    monkeypatch.setattr(relu6, "PLACES", 10_000)
    network = measured("tiny", faces)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if is_curved(child):
                setattr(parent, name, nn.ReLU())
    remeasure(network, faces)
    off = np.abs(logits(fit_relu6(network, faces), faces) - logits(network, faces)).mean()
    assert squeeze_excites(network)  # which read scaled channels too
    assert off < 1e-4 * np.abs(logits(network, faces)).mean()


def test_layers_fitted_behind_it_come_closer_than_behind_relu6_as_it_is(faces: np.ndarray) -> None:
    network = measured("tiny", faces)
    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, child in parent.named_children():
            if is_curved(child):
                setattr(parent, name, nn.ReLU6())
    off, left = (
        divergence(reconstruct(each, network, faces[:32])[0], network, faces[32:])
        for each in (plain, fit_relu6(network, faces[:32]))
    )
    assert left < off
