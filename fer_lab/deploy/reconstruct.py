"""A changed network, brought back layer by layer to what the trained one computes, without a gradient.

Where an activation was replaced or a gate frozen, every layer behind it reads something else than it learned to. In
order, each convolution and linear layer is fitted anew, so that from what it reads in the changed network it gives what
its original gives in the trained one: least squares over faces and places, as He et al. 2017 ("Channel Pruning for
Accelerating Very Deep Neural Networks", section 3.1, step ii) do after pruning. A layer has far fewer weights than a
few hundred faces have places, so seconds do what thousands of steps of distillation do.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.deploy.distill import in_cpu_layout
from fer_lab.deploy.refit import Linear
from fer_lab.models.network import Network

BATCH = 16
PLACES = 20_000  # rows of a layer's least squares, over all faces
#: So many rows for each weight of an output, and faces, are enough: an output of a depthwise layer has 9 or 25 weights.
ROWS, LEAST = 300, 512
STRENGTH = 1e-3  # of a convolution's pull to its weights as they are, times the mean square of what it reads
Layer: TypeAlias = nn.Conv2d | nn.Linear
Places: TypeAlias = tuple[Tensor, Tensor, torch.Size]  # rows and columns, and the height and width they are of
Shown: TypeAlias = tuple[Places | None, Tensor]  # where, and what a layer gives there


@torch.no_grad()
def reconstruct(changed: Network, trained: Network, faces: np.ndarray, seed: int = 0) -> tuple[Network, np.ndarray]:
    """A copy of `changed`, in eval mode, whose layers were fitted to those of `trained`; and what `trained` answers,
    logits, float32 N×K.

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
            every, places = _enough(layer, target, len(faces))
            _fit(step, layer, read[::every], target[::every], places)
        read = [step(batch) for batch in read]
    return student.to(memory_format=torch.contiguous_format), torch.cat(wanted).numpy()


def _enough(layer: Layer, target: list[Shown], faces: int) -> tuple[int, int]:
    """One of how many batches is enough to fit a layer, and how many places of each face."""
    places = 1 if target[0][0] is None else target[0][1].shape[2]
    wanted = ROWS * layer.weight[0].numel()
    share = min(max(wanted / (faces * places), LEAST / faces), 1)
    every = int(1 / share)
    return every, min(places, math.ceil(wanted * every / faces))


def _shown(
    step: nn.Module, layers: list[nn.Module], batches: list[Tensor], places: int, generator: torch.Generator
) -> tuple[list[list[Shown]], list[Tensor]]:
    """What each of the layers gives for each batch, at so many places drawn; and what the step gives."""
    seen: list[list[Shown]] = [[] for _ in layers]

    def note(into: list[Shown]) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            picked = None
            if output.dim() == 4:
                shape = output.shape[2:]
                drawn = torch.randperm(shape.numel(), generator=generator)[:places]
                picked = drawn // shape[1], drawn % shape[1], shape
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


def _fit(step: nn.Module, layer: Layer, read: list[Tensor], target: list[Shown], places: int) -> None:
    """Move one layer's weight and bias, in place. read: what the step is given, in batches; target: what the layer
    should give then, of which so many places are taken."""
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = inputs
        raise _Seen

    def rows() -> Iterator[tuple[Tensor, Tensor]]:
        for given, (picked, wanted) in zip(read, target, strict=True):
            with suppress(_Seen):  # neither the layer, but where it is to be fitted, nor what comes behind is computed
                step(given)
            if picked is not None:  # drawn in no order
                picked, wanted = (picked[0][:places], picked[1][:places], picked[2]), wanted[:, :, :places]
            yield _rows(layer, seen[0], picked, wanted)

    hook = layer.register_forward_pre_hook(note)
    moved = _ridge(layer, rows()) if isinstance(layer, nn.Linear) else _least_squares(layer, rows())
    hook.remove()
    layer.weight += moved[:, :-1].mT.reshape(layer.weight.shape)
    shift = moved[:, -1].flatten()
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)


def _ridge(layer: nn.Linear, rows: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """1 × (inputs + 1) × outputs to add. A row a face may be hardly more than there are inputs: how strongly the layer
    is pulled to what it is, leave-one-out error says."""
    x, wanted = (torch.cat(parts, 1)[0].numpy() for parts in zip(*rows, strict=True))
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    own = Linear(layer.weight.numpy(), bias.numpy())
    fitted = own.fitted(x, wanted)
    return torch.from_numpy(np.column_stack([fitted.weight - own.weight, fitted.bias - own.bias]).T[None].copy())


def _least_squares(layer: nn.Conv2d, rows: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """groups × (inputs + 1) × outputs to add."""
    weight = layer.weight.reshape(layer.groups, len(layer.weight) // layer.groups, -1).mT
    bias = weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    gram, cross = torch.zeros(()), torch.zeros(())
    for x, wanted in rows:
        error = wanted - x @ weight - bias.reshape(layer.groups, 1, -1)
        x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        gram, cross = gram + (x.mT @ x).double(), cross + (x.mT @ error).double()
    squares = gram.diagonal(dim1=-2, dim2=-1)[:, :-1].mean(1)
    pull = (STRENGTH * squares + 1e-4 * squares.mean() + 1e-9)[:, None].repeat(1, gram.shape[-1])
    pull[:, -1] *= 1e-6  # the bias is free
    return torch.linalg.solve(gram + torch.diag_embed(pull), cross).float()


def _rows(layer: Layer, x: Tensor, picked: Places | None, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer reads where it is to be fitted and what it is to give there: groups × rows × inputs, groups × rows ×
    outputs."""
    if isinstance(layer, nn.Linear) or picked is None:
        return x.reshape(1, -1, x.shape[-1]), wanted.reshape(1, -1, wanted.shape[-1])
    rows, columns, (height, width) = picked
    (a, b), (down, right) = layer.kernel_size, layer.stride
    # timm's "same" convolutions pad before they convolve, others as they say: either way to so many rows and columns.
    extra = ((width - 1) * right + b - x.shape[3], (height - 1) * down + a - x.shape[2])
    own = (int(layer.padding[1]), int(layer.padding[0]))
    left, top = own if any(own) else (extra[0] // 2, extra[1] // 2)
    padded = F.pad(x, (left, extra[0] - left, top, extra[1] - top))
    windows = padded.unfold(2, a, down).unfold(3, b, right)[:, :, rows, columns].flatten(3)  # N × C × places × taps
    if layer.groups == 1:
        return windows.transpose(1, 2).flatten(2).flatten(0, 1)[None], wanted.transpose(1, 2).flatten(0, 1)[None]
    return windows.transpose(0, 1).flatten(1, 2), wanted.transpose(0, 1).flatten(1, 2).unsqueeze(2)
