"""A changed network, brought back layer by layer to what the trained one computes, without a gradient.

Where an activation was replaced or a gate frozen, every layer behind it reads something else than it learned to. In
order, each convolution and linear layer is fitted anew, so that from what it reads in the changed network it gives what
its original gives in the trained one: least squares over faces and places, as He et al. 2017 ("Channel Pruning for
Accelerating Very Deep Neural Networks", section 3.1, step ii) do after pruning. A layer has far fewer weights than a
few hundred faces have places, so seconds do what thousands of steps of distillation do.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.deploy.distill import in_cpu_layout
from fer_lab.models.network import Network

BATCH = 16
PLACES = 20_000  # rows of a layer's least squares, over all faces
#: So many rows for each weight of an output, and faces, are enough: an output of a depthwise layer has 9 or 25 weights.
ROWS, LEAST = 300, 512
STRENGTH = 1e-3  # of the pull to the weights as they are, times the mean square of what a layer reads
Layer: TypeAlias = nn.Conv2d | nn.Linear
Places: TypeAlias = tuple[Tensor, Tensor]  # rows and columns
Shown: TypeAlias = tuple[Places | None, Tensor]  # where, and what a layer gives there


@torch.no_grad()
def reconstruct(changed: Network, trained: Network, faces: np.ndarray, seed: int = 0) -> Network:
    """A copy of `changed`, in eval mode, whose layers were fitted to those of `trained`.

    Left alone are layers that `trained` lacks or has in another shape, squeeze-excites, and grouped convolutions that
    are not depthwise.

    Args:
        changed, trained: of equal steps (`Network.steps`). faces: training faces, uint8 N×H×W×C; a layer with C inputs
            wants several times C places, so the last ones, of few places each, want hundreds of faces.
        seed: of the places drawn.
    """
    student, teacher = (in_cpu_layout(network).eval() for network in (changed, trained))
    generator = torch.Generator().manual_seed(seed)
    read = [torch.from_numpy(np.array(faces[start : start + BATCH])) for start in range(0, len(faces), BATCH)]
    wanted = list(read)
    steps = list(zip(student.steps(), teacher.steps(), strict=True))
    for step, original in track(steps, "fitting layers", console=Console(stderr=True), transient=True):
        known = dict(original.named_modules())
        fitted = {
            name: layer for name, layer in _layers(step, read[0][:1]) if _can_be_fitted(name, layer, known.get(name))
        }
        targets, wanted = _shown(
            original, [known[name] for name in fitted], wanted, max(PLACES // len(faces), 1), generator
        )
        for layer, target in zip(fitted.values(), targets, strict=True):
            every = _every(layer, target, len(faces))
            _fit(step, layer, read[::every], target[::every])
        read = [step(batch) for batch in read]
    return student.to(memory_format=torch.contiguous_format)


def _every(layer: Layer, target: list[Shown], faces: int) -> int:
    """One of how many batches is enough to fit a layer."""
    rows = sum(len(shown) * (1 if picked is None else shown.shape[2]) for picked, shown in target)
    share = max(ROWS * layer.weight[0].numel() / max(rows, 1), LEAST / faces)
    return max(int(1 / share), 1)


def _shown(
    step: nn.Module, layers: list[nn.Module], batches: list[Tensor], places: int, generator: torch.Generator
) -> tuple[list[list[Shown]], list[Tensor]]:
    """What each of the layers gives for each batch, at so many places drawn; and what the step gives."""
    seen: list[list[Shown]] = [[] for _ in layers]

    def note(into: list[Shown]) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            picked = None
            if output.dim() == 4:
                height, width = output.shape[2:]
                drawn = torch.randperm(height * width, generator=generator)[:places]
                picked = drawn // width, drawn % width
            into.append((picked, _at(output, picked).clone()))

        return hook

    hooks = [layer.register_forward_hook(note(into)) for layer, into in zip(layers, seen, strict=True)]
    given = [step(batch) for batch in batches]
    for hook in hooks:
        hook.remove()
    return seen, given


def _at(output: Tensor, picked: Places | None) -> Tensor:
    """N×C×H×W at some places: N×C×places; all of N×C."""
    return output if picked is None else output[:, :, picked[0], picked[1]]


class _Seen(Exception):
    """A layer has run."""


def _layers(step: nn.Module, batch: Tensor) -> list[tuple[str, Layer]]:
    """Names and layers of a step, in the order in which they are computed."""
    found: list[tuple[str, Layer]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda layer, *_: found.append((name, layer))

    layers = [(name, module) for name, module in step.named_modules() if isinstance(module, Layer)]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers]
    step(batch)
    for hook in hooks:
        hook.remove()
    return found


def _can_be_fitted(name: str, layer: Layer, original: nn.Module | None) -> bool:
    if not isinstance(original, Layer) or original.weight.shape != layer.weight.shape or "se" in name.split("."):
        return False
    return isinstance(layer, nn.Linear) or (layer.groups in (1, layer.in_channels) and layer.padding_mode == "zeros")


def _fit(step: nn.Module, layer: Layer, read: list[Tensor], target: list[Shown]) -> None:
    """Move one layer's weight and bias, in place. read: what the step is given, in batches; target: what the layer
    should give then."""
    seen: dict[str, Tensor] = {}

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.update(x=inputs[0], y=output)
        raise _Seen

    hook = layer.register_forward_hook(note)
    gram, cross = torch.zeros(()), torch.zeros(())
    for given, (picked, wanted) in zip(read, target, strict=True):
        with suppress(_Seen):  # what comes behind the layer need not be computed
            step(given)
        x, error = _rows(layer, seen["x"], seen["y"].shape, picked, wanted - _at(seen["y"], picked))
        x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        gram, cross = gram + (x.mT @ x).double(), cross + (x.mT @ error).double()
    hook.remove()
    squares = gram.diagonal(dim1=-2, dim2=-1)[:, :-1].mean(1)
    pull = (STRENGTH * squares + 1e-4 * squares.mean() + 1e-9)[:, None].repeat(1, gram.shape[-1])
    pull[:, -1] *= 1e-6  # the bias is free
    moved = torch.linalg.solve(gram + torch.diag_embed(pull), cross).float()  # groups × (inputs + 1) × outputs
    layer.weight += moved[:, :-1].mT.reshape(layer.weight.shape)
    shift = moved[:, -1].flatten()
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)


def _rows(layer: Layer, x: Tensor, shape: torch.Size, picked: Places | None, error: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer reads where it is to be fitted and what is amiss there: groups × rows × inputs, groups × rows ×
    outputs. shape: of what it gives."""
    if isinstance(layer, nn.Linear) or picked is None:
        return x.reshape(1, -1, x.shape[-1]), error.reshape(1, -1, error.shape[-1])
    (height, width), (rows, columns) = shape[2:], picked
    (a, b), (down, right) = layer.kernel_size, layer.stride
    # timm's "same" convolutions pad before they convolve, others as they say: either way to so many rows and columns.
    extra = ((width - 1) * right + b - x.shape[3], (height - 1) * down + a - x.shape[2])
    own = (int(layer.padding[1]), int(layer.padding[0]))
    left, top = own if any(own) else (extra[0] // 2, extra[1] // 2)
    padded = F.pad(x, (left, extra[0] - left, top, extra[1] - top))
    windows = padded.unfold(2, a, down).unfold(3, b, right)[:, :, rows, columns].flatten(3)  # N × C × places × taps
    if layer.groups == 1:
        return windows.transpose(1, 2).flatten(2).flatten(0, 1)[None], error.transpose(1, 2).flatten(0, 1)[None]
    return windows.transpose(0, 1).flatten(1, 2), error.transpose(0, 1).flatten(1, 2).unsqueeze(2)
