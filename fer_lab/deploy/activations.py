"""Networks whose activations runtimes cannot compute on integers, made ones whose activations they can.

A squeeze-excite gate costs a pooling and a multiplication of the whole tensor; at its mean over the training faces it
is a constant, which goes into the weights of the convolution behind it. ReLU6 for SiLU and hard-swish:
`fer_lab.deploy.relu6`. Both change the function, so `fer_lab.deploy.reconstruct` follows.
"""

import copy
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from fer_lab.deploy.distill import in_cpu_layout
from fer_lab.models.network import Network

BATCH = 32
Gates: TypeAlias = tuple[list[Tensor], list[float]]  # of each squeeze-excite its mean gate, and what that is wrong by
#: Activations that multiply their input by a gate of itself, by class name, as timm has them, and their kind.
_CURVED = {"SiLU": "silu", "Swish": "silu", "SwishMe": "silu"}
_CURVED |= {"Hardswish": "hard_swish", "HardSwish": "hard_swish", "HardSwishMe": "hard_swish"}
STILL = 0.01  # a gate whose error when frozen is below this is a constant; LiteRT cannot scale what it is made of


def is_curved(module: nn.Module) -> bool:
    """Whether a module is a SiLU or a hard-swish."""
    return type(module).__name__ in _CURVED


def curved(network: nn.Module) -> set[str]:
    """Which of "silu" and "hard_swish" a network has."""
    return {_CURVED[type(module).__name__] for module in network.modules() if is_curved(module)}


def squeeze_excites(network: nn.Module) -> list[tuple[nn.Module, nn.Conv2d]]:
    """Each block of timm's EfficientNet family with a squeeze-excite, and the 1×1 convolution behind its gate."""
    found = []
    for block in network.modules():
        gate = getattr(block, "se", None)
        behind = getattr(block, "conv_pwl", None) or getattr(block, "conv_pw", None)
        if isinstance(gate, nn.Module) and not isinstance(gate, nn.Identity) and isinstance(behind, nn.Conv2d):
            found.append((block, behind))
    return found


@torch.no_grad()
def mean_gates(network: Network, faces: np.ndarray) -> Gates:
    """What each squeeze-excite does to `faces` (uint8 N×H×W×C).

    Returns:
        The mean gate, float32 with one value a channel; and how far its gates are from that mean: root of the squares
        that a frozen gate would be wrong by, over those of what the gates let pass.
    """
    network = in_cpu_layout(network).eval()  # a copy: its hooks go with it
    blocks = squeeze_excites(network)
    if not blocks:
        return [], []
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in blocks]

    def gate(number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shown, passed = (values.abs().mean((2, 3)).double() for values in (inputs[0], output))
            gates = torch.where(shown > 1e-12, passed / shown.clamp_min(1e-12), torch.zeros_like(shown))
            seen[number].append((gates, shown))

        return hook

    for i, (block, _) in enumerate(blocks):
        block.se.register_forward_hook(gate(i))  # type: ignore[union-attr]
    for start in range(0, len(faces), BATCH):
        network(torch.from_numpy(np.array(faces[start : start + BATCH])))
    means, errors = [], []
    for each in seen:
        gates, shown = (torch.cat(parts) for parts in zip(*each, strict=True))
        mean = gates.mean(0)
        wrong, passed = ((gates - mean) * shown).square().sum(), (gates * shown).square().sum()
        means.append(mean.float())
        errors.append(float((wrong / passed.clamp_min(1e-12)).sqrt()))
    return means, errors


def freeze_gates(network: Network, gates: Gates, share: float = 1.0) -> Network:
    """A copy with fewer squeeze-excites: each gate's mean is multiplied into the convolution behind it.

    gates: as `mean_gates` gives them of this network. share: of the gates; those go first that differ least from face
    to face, and those that hardly do so always.
    """
    changed = copy.deepcopy(network).eval()
    means, errors = gates
    still = sum(error < STILL for error in errors)
    chosen = np.argsort(errors)[: max(round(share * len(errors)), still)]
    blocks = squeeze_excites(changed)
    for place in chosen:
        block, behind = blocks[place]
        behind.weight = nn.Parameter(behind.weight.detach() * means[place].view(1, -1, 1, 1))
        block.se = nn.Identity()
    return changed
