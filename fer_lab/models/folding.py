"""Inference without BatchNorm: its scale and shift go into the convolution before it, twice as fast on a CPU."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fer_lab.models.lean_timm import BatchNormAct2d

_TOLERANCE = 1e-4  # of the largest output


def folded(module: nn.Module, probe: Tensor) -> nn.Module:
    """A copy in eval mode with each BatchNorm folded into the convolution listed right before it, equal up to rounding.

    Args:
        module: any mode, on any device; probe: an input, on the same device, on which the copy must agree. Where it
            does not (modules that do not follow each other as listed), the copy keeps its BatchNorm.
    """
    plain = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = copy.deepcopy(plain)
    with torch.inference_mode(False), torch.no_grad():
        _fold(fast)
        fast = fast.to(memory_format=torch.channels_last)
        wanted, given = plain(probe), fast(probe)
    return fast if bool((wanted - given).abs().max() <= _TOLERANCE * wanted.abs().max()) else plain


def _fold(module: nn.Module) -> None:
    before: nn.Module | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d) and child.running_mean is not None:
            before.weight, before.bias = fuse_conv_bn_weights(
                before.weight, before.bias, child.running_mean, child.running_var, child.eps, child.weight, child.bias
            )
            setattr(module, name, child.act if isinstance(child, BatchNormAct2d) else nn.Identity())
        else:
            _fold(child)
        before = child
