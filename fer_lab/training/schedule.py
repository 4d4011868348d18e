"""Schedules: which part of the network learns when. A schedule is a list of stages, each a fit of its own that starts
from the best weights of the one before, with a fresh optimizer (as one compiles again in Keras after unfreezing)."""

import warnings
from dataclasses import dataclass
from typing import Literal

from torch import nn

from fer_lab.errors import FerLabError
from fer_lab.models.keras_layers import keras_layers
from fer_lab.models.network import Network


@dataclass(frozen=True)
class Stage:
    """Epochs that train the same part of the network.

    Attributes:
        name: folder of its checkpoints; epochs: at most so many; trains: the head, head and backbone's top, or all.
        lr_factor: times the optimizer's lr; top_layers, top_fraction, from_block: what "top" is (see `two_stage`).
        views: augmented views of each face that the stage's epochs take turns with; 0 for new ones in every epoch.
    """

    name: str
    epochs: int
    trains: Literal["head", "top", "all"]
    lr_factor: float = 1.0
    top_layers: int | None = None
    top_fraction: float | None = None
    from_block: str | None = None
    views: int = 0


def full(max_epochs: int) -> list[Stage]:
    """Everything learns from the first epoch."""
    return [Stage("full", max_epochs, "all")]


def head_only(max_epochs: int, cache_views: int) -> list[Stage]:
    """The head learns on a frozen backbone, whose BatchNorm stays in eval mode.

    Args:
        max_epochs: of the stage; cache_views: augmented views a face, whose features are computed once (0: no cache).
    """
    return [Stage("head", max_epochs, "head", views=_checked(cache_views))]


def two_stage(
    max_epochs: int,
    head_epochs: float,
    lr_factor: float,
    cache_views: int,
    top_layers: int | None = None,
    top_fraction: float | None = None,
    from_block: str | None = None,
) -> list[Stage]:
    """First the head, then the head and the top of the backbone (papers A and B).

    Args:
        max_epochs: of both stages; head_epochs: of the first, a number or a fraction of max_epochs below 1.
        lr_factor: of the second stage's learning rate; cache_views: see `head_only`.
        top_layers: the last N layers as Keras counts them; top_fraction: the last share of the layers with weights,
            in (0, 1]; from_block: everything from this module of the timm network on. Exactly one is given.

    Raises:
        FerLabError: not exactly one of the three, or no epoch is left for the second stage.
    """
    if sum(choice is not None for choice in (top_layers, top_fraction, from_block)) != 1:
        raise FerLabError("schedule: give exactly one of top_layers, top_fraction and from_block, the others null.")
    first = max(1, round(head_epochs * max_epochs)) if head_epochs < 1 else round(head_epochs)
    views = _checked(cache_views)
    stages = [Stage("head", min(first, max_epochs), "head", views=views)]
    if first < max_epochs:
        stages.append(Stage("top", max_epochs - first, "top", lr_factor, top_layers, top_fraction, from_block, views))
    elif head_epochs >= 1 and max_epochs > 1:
        raise FerLabError(
            f"schedule.head_epochs={head_epochs} leaves none of trainer.max_epochs={max_epochs} for the second stage; "
            "raise max_epochs or lower head_epochs."
        )
    else:
        warnings.warn("trainer.max_epochs=1 is too short for two stages: only the head is trained", stacklevel=2)
    return stages


def _checked(cache_views: int) -> int:
    if cache_views < 0:
        raise FerLabError(f"schedule.cache_views={cache_views} must be 0 (no cache) or a number of views.")
    return cache_views


def freeze(network: Network, stage: Stage) -> list[nn.Module]:
    """Set requires_grad for a stage. What pretrained weights left out has nothing to keep and is never frozen.

    Returns:
        The frozen modules; they are kept in eval mode while training (BatchNorm statistics must not drift).

    Raises:
        FerLabError: the stage's top is not a part of this backbone.
    """
    body = network.backbone.body
    layers = [m for m in body.modules() if any(True for _ in m.parameters(recurse=False))]
    frozen = {"all": [], "head": layers, "top": []}[stage.trains]
    if stage.trains == "top":
        trained = _top(body, layers, stage)
        frozen = [layer for layer in layers if layer not in trained]
    fresh = {body.get_submodule(name) for name in network.backbone.fresh}
    frozen = [layer for layer in frozen if layer not in fresh]
    network.requires_grad_(True)
    for layer in frozen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _top(body: nn.Module, layers: list[nn.Module], stage: Stage) -> set[nn.Module]:
    if stage.top_layers is not None:
        return {module for _, module in keras_layers(body)[-stage.top_layers :] if module is not None}
    if stage.top_fraction is not None:
        if not 0 < stage.top_fraction <= 1:
            raise FerLabError(f"schedule.top_fraction={stage.top_fraction} must be in (0, 1].")
        return set(layers[-round(len(layers) * stage.top_fraction) :])
    names = [name for name, module in body.named_modules() if module in set(layers)]
    start = next((i for i, name in enumerate(names) if f"{name}.".startswith(f"{stage.from_block}.")), None)
    if start is None:
        known = ", ".join(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks")))
        raise FerLabError(f"schedule.from_block={stage.from_block} is no part of this backbone; it has {known}.")
    return set(layers[start:])
