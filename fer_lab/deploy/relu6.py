"""Networks whose activations become ReLU6, each channel's fitted to what it replaces.

SiLU and hard-swish multiply a tensor by a function of itself: on integers two more passes over it, with rounding in
between; ReLU6 is part of the convolution before it and costs nothing. Put in their place as it is, it clips whatever is
above 6 and bends where they do not. But the BatchNorm before it may shift each channel, and as relu(k z) = k relu(z),
scale it, if whoever reads the channel divides by as much (as Nagel et al. 2019 equalise ranges, section 4.1). So each
channel bends where it fits best, and its range is 0 to 6: one scale of a tensor's integers then suits all channels.
"""

import copy
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from fer_lab.deploy.activations import is_curved
from fer_lab.models.lean_timm import BatchNormAct2d, ConvBnAct, DepthwiseSeparableConv, EdgeResidual, InvertedResidual
from fer_lab.models.network import Network

BATCH, FACES, PLACES = 32, 128, 48  # faces looked at, at most, and places of each
EVERY = 6  # which of the places tell the shift; all tell the cap, which rare values decide
SHIFTS = np.linspace(-1.5, 1.5, 25)
KEPT = 0.9995  # share of a channel's values that are not clipped
LEAST = 0.05  # a channel's cap is at least so much of its layer's greatest value, lest rare noise be blown up
#: The layer of a block that reads what the block is given; one with a skip has another reader.
FIRST = {
    ConvBnAct: "conv",
    DepthwiseSeparableConv: "conv_dw",
    EdgeResidual: "conv_exp",
    InvertedResidual: "conv_pw",
}
Reader: TypeAlias = nn.Conv2d | nn.Linear


@torch.no_grad()
def fit_relu6(network: Network, faces: np.ndarray) -> Network:
    """A copy, in eval mode, with ReLU6 for every SiLU, hard-swish and ReLU; `fer_lab.deploy.reconstruct` does the rest.

    Activations whose readers are not known (:func:`readers`) are replaced as they are, ReLU among these stays; so do
    those within squeeze-excites, which work on one value a channel.

    Args:
        faces: training faces, uint8 N×H×W×C, from which ranges are taken.
    """
    changed = copy.deepcopy(network).eval()
    known = readers(changed)
    shown = _inputs(changed, [norm for norm, _ in known], faces)
    for (norm, behind), before in zip(known, shown, strict=True):
        shift, cap, slope, offset = fit(before, norm.act(before.clone()))
        scale = 6 / cap
        norm.weight *= scale
        norm.bias.copy_((norm.bias + shift) * scale)
        norm.act = nn.ReLU6()
        for reader in behind:
            _read(reader, slope / scale, offset)
    for path, parent in list(changed.named_modules()):
        for name, child in parent.named_children():
            if is_curved(child) and "se" not in path.split("."):
                setattr(parent, name, nn.ReLU6())
    return changed


def fit(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per channel the shift, cap, slope and offset of slope · min(relu(before + shift), cap) + offset closest to
    `after` in least squares. A ReLU is not shifted.

    Args:
        before, after: what an activation was given and gave, float32 C×M.
    """
    count = len(before)
    shift, offset = torch.zeros(count), torch.zeros(count)
    slope, best = torch.ones(count), torch.full((count,), torch.inf)
    if not torch.equal(after, before.relu()):
        some, given = before[:, ::EVERY], after[:, ::EVERY]
        wanted = given - given.mean(1, keepdim=True)
        for each in SHIFTS:
            bent = (some + float(each)).relu()
            centred = bent - bent.mean(1, keepdim=True)
            steep = (centred * wanted).sum(1) / centred.square().sum(1).clamp_min(1e-9)
            error = (wanted - steep[:, None] * centred).square().sum(1)
            better = (error < best) & (steep > 0)
            best, shift[better] = torch.where(better, error, best), float(each)
            slope, offset = (
                torch.where(better, new, old)
                for new, old in ((steep, slope), (given.mean(1) - steep * bent.mean(1), offset))
            )
    bent = (before + shift[:, None]).relu()
    cap = torch.maximum(bent.quantile(KEPT, dim=1), LEAST * bent.max()).clamp_min(1e-3)
    return shift, cap, slope, offset


def readers(network: Network) -> list[tuple[BatchNormAct2d, list[Reader]]]:
    """Each BatchNorm with a SiLU, hard-swish or ReLU, and the layers that read what it gives, if only they do."""
    found: list[tuple[BatchNormAct2d, list[Reader]]] = []
    steps = network.steps()
    for place, step in enumerate(steps):
        if isinstance(step, BatchNormAct2d):
            found.append((step, _first(steps[place + 1 :])))
        elif isinstance(step, ConvBnAct) and not step.has_skip:
            found.append((step.bn1, _first(steps[place + 1 :])))
        elif isinstance(step, InvertedResidual):
            found += [(step.bn1, [step.conv_dw]), (step.bn2, [*_gate(step), step.conv_pwl])]
        elif isinstance(step, DepthwiseSeparableConv):
            found.append((step.bn1, [*_gate(step), step.conv_pw]))
        elif isinstance(step, EdgeResidual):
            found.append((step.bn1, [*_gate(step), step.conv_pwl]))
    return [(norm, behind) for norm, behind in found if behind and (is_curved(norm.act) or type(norm.act) is nn.ReLU)]


def _first(steps: list[nn.Module]) -> list[Reader]:
    """The one layer that reads what comes before `steps`; empty where there is none or another too."""
    for step in steps:
        if isinstance(step, Reader):
            return [step]
        if type(step) in FIRST:
            return [] if step.has_skip else [getattr(step, FIRST[type(step)])]
        if not isinstance(step, nn.AdaptiveAvgPool2d | nn.Flatten | nn.Dropout | nn.Identity):
            break
    return []


def _gate(block: nn.Module) -> list[Reader]:
    """What the squeeze-excite of a block reads with, if it has one."""
    return [block.se.conv_reduce] if hasattr(block.se, "conv_reduce") else []  # type: ignore[union-attr, list-item]


def _inputs(network: Network, norms: list[BatchNormAct2d], faces: np.ndarray) -> list[Tensor]:
    """What each norm's activation is given, at some places of some faces: float32 C×M."""
    generator = torch.Generator().manual_seed(0)
    seen: list[list[Tensor]] = [[] for _ in norms]

    def note(into: list[Tensor]) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].flatten(2)
            picked = torch.randperm(values.shape[2], generator=generator)[:PLACES]
            into.append(values[:, :, picked].transpose(0, 1).flatten(1).clone())

        return hook

    hooks = [norm.act.register_forward_pre_hook(note(into)) for norm, into in zip(norms, seen, strict=True)]
    some = faces[np.linspace(0, len(faces) - 1, min(FACES, len(faces))).astype(int)]
    for start in range(0, len(some), BATCH):
        network(torch.from_numpy(np.array(some[start : start + BATCH])))
    for handle in hooks:
        handle.remove()
    return [torch.cat(parts, 1) for parts in seen]


def _read(layer: Reader, slope: Tensor, offset: Tensor) -> None:
    """Let a layer read slope · x + offset of each channel x, in place (but for padding, whose offset is 0)."""
    weight = layer.weight
    taps = weight.flatten(2).sum(2) if weight.dim() == 4 else weight
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        moved = taps[:, 0] * offset
        weight *= slope.view(-1, 1, 1, 1)
    else:
        moved = taps @ offset
        weight *= slope.view(1, -1, *(1,) * (weight.dim() - 2))
    layer.bias = nn.Parameter(moved if layer.bias is None else layer.bias + moved)
