"""Heads: feature map in, logits out."""

from torch import Tensor, nn


class LinearHead(nn.Sequential):
    """Global average pooling, dropout, one linear layer.

    Args:
        features: channels of the feature map; classes: K; dropout: rate.
    """

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, classes))


class MLPHead(nn.Module):
    """Paper A, section "model": GAP → BN → dropout → dense ReLU → BN → dropout → dense.

    Keras' BatchNorm defaults (momentum .99, epsilon 1e-3) are kept, as the paper names Keras and no other values.

    Args:
        features: channels C of the feature map; classes: K; hidden: units of the dense layer; dropout: rate.
    """

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(features, eps=1e-3, momentum=0.01),
            nn.Dropout(dropout),
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden, eps=1e-3, momentum=0.01),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """float32 N×C×h×w to logits float32 N×K."""
        return self.layers(features)
