"""The network: preprocessing, backbone and head as one module, uint8 faces in, logits out."""

from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fer_lab.data.dataset import FaceData
from fer_lab.errors import FerLabError
from fer_lab.models.backbones import Backbone
from fer_lab.models.losses import Loss
from fer_lab.models.preprocess import Preprocess
from fer_lab.schema import build


class Network(nn.Module):
    """Preprocess → backbone → head.

    Args:
        preprocess: uint8 faces to normalised images; backbone: images to a feature map; head: feature map to logits.
    """

    def __init__(self, preprocess: Preprocess, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.preprocess, self.backbone, self.head = preprocess, backbone, head

    def forward(self, inputs: Tensor, start: int = 0) -> Tensor:
        """Logits, float32 N×K, of faces, uint8 N×H×W×C (C 1 or 3), or of what the first `start` steps made of them."""
        if not start:
            return self.head(self.backbone(self.preprocess(inputs)))
        return nn.Sequential(*self.steps()[start:])(inputs)

    def steps(self) -> list[nn.Module]:
        """The network as a chain: each step takes what the one before gives; all of them together are `forward`."""
        layers = getattr(self.head, "layers", self.head)
        head = list(layers) if isinstance(layers, nn.Sequential) else [self.head]
        return [self.preprocess, *self.backbone.steps(), *head]


def build_network(cfg: DictConfig, classes: int) -> Network:
    """Build backbone, head and preprocessing of a config; weights as `cfg.backbone.weights` says."""
    backbone: Backbone = build(cfg.backbone)
    head = build(cfg.head, features=backbone.features, classes=classes)
    illumination = build(cfg.get("illumination"))  # absent from the configs of older runs
    return Network(Preprocess(cfg.input_size, backbone.mean, backbone.std, illumination), backbone, head)


def build_loss(cfg: DictConfig, data: FaceData) -> Loss:
    """Build the loss with the class weights of `cfg.weighting` over the training counts.

    Raises:
        FerLabError: the loss needs vote distributions and the data has single labels.
    """
    weights = build(cfg.weighting, counts=data.counts("train"))
    tensor = None if weights is None else torch.tensor(np.asarray(weights), dtype=torch.float32)
    loss: Loss = build(cfg.loss, class_weights=tensor)
    if loss.needs_votes and not data.meta["votes"]:
        raise FerLabError(
            f"This loss needs vote distributions, but {data.meta['name']} has one label a face; use loss=cross_entropy."
        )
    return loss


def describe_network(network: Network, size: int, channels: int) -> dict[str, Any]:
    """Parameter counts and multiply-adds of one face, and what its preprocessing does about illumination.

    Returns:
        parameters_total, parameters_trainable (as requires_grad stands now), parameters_keras_no_top (the backbone's
        parameters with BatchNorm's moving statistics, as Keras counts a model without top: paper B, table 1) and macs;
        illumination: none, or the step with its settings.
    """
    backbone = network.backbone
    statistics = [b for name, b in backbone.named_buffers() if name.endswith(("running_mean", "running_var"))]
    training = network.training
    device = next(network.parameters()).device
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, size, size, channels, dtype=torch.uint8, device=device))
    network.train(training)
    return {
        "parameters_total": sum(p.numel() for p in network.parameters()),
        "parameters_trainable": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "parameters_keras_no_top": sum(t.numel() for t in [*backbone.parameters(), *statistics]),
        "macs": counter.get_total_flops() // 2,
        "illumination": str(network.preprocess.illumination or "none"),
    }
