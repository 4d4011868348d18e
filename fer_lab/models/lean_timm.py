"""What fer_lab uses of timm, imported without W&B: timm wants that for a summary writer which nothing here uses, and it
costs every command that has a network four seconds."""

import sys

_given = sys.modules.get("wandb")
if _given is None:
    sys.modules["wandb"] = None  # type: ignore[assignment]
try:
    import timm
    from timm.layers import BatchNormAct2d
    from timm.models import MobileNetV3
    from timm.models._efficientnet_blocks import (
        ConvBnAct,
        DepthwiseSeparableConv,
        EdgeResidual,
        InvertedResidual,
        SqueezeExcite,
    )
    from timm.models.efficientnet import EfficientNet
    from timm.models.resnet import ResNet
finally:
    if _given is None:
        del sys.modules["wandb"]

__all__ = [
    "BatchNormAct2d",
    "ConvBnAct",
    "DepthwiseSeparableConv",
    "EdgeResidual",
    "EfficientNet",
    "InvertedResidual",
    "MobileNetV3",
    "ResNet",
    "SqueezeExcite",
    "timm",
]
