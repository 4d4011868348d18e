"""Losses: (logits, target) to a scalar. Class weights come from `weighting`; every loss here honours them.

A target is a class, int64 N, or a distribution over classes, float32 N×K, where faces are mixed or have votes.

A new loss is a class here and a file in conf/loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.errors import FerLabError


class Loss(nn.Module):
    """Base of all losses.

    Attributes:
        class_weights: float32 K or None.
        needs_votes: whether the target must be a distribution over classes (float N×K) instead of an index.
    """

    needs_votes = False
    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)


class CrossEntropy(Loss):
    """Weighted cross-entropy with label smoothing: paper A, equation 15, y'_k = (1 - ε) y_k + ε / K.

    Args:
        label_smoothing: ε in [0, 1).
    """

    def __init__(self, label_smoothing: float, class_weights: Tensor | None = None) -> None:
        super().__init__(class_weights)
        if not 0 <= label_smoothing < 1:
            raise FerLabError(f"loss.label_smoothing={label_smoothing} must be in [0, 1).")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch, weighted by the classes' weights.

        Args:
            logits: float32 N×K; target: int64 N or float32 N×K.
        """
        if not target.is_floating_point():
            return F.cross_entropy(logits, target, self.class_weights, label_smoothing=self.label_smoothing)
        total = F.cross_entropy(
            logits, target, self.class_weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / _weight(target, self.class_weights)


class Focal(Loss):
    """-α_t (1 - p_t)^γ log p_t: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5.

    Normalised by the sum of the weights, as weighted cross-entropy is, so that γ = 0 is exactly that.

    Args:
        gamma: γ >= 0; alpha: one α for each class instead of those of `weighting`.
    """

    def __init__(self, gamma: float, alpha: Sequence[float] | None = None, class_weights: Tensor | None = None) -> None:
        if alpha is not None and class_weights is not None:
            raise FerLabError(
                "loss.alpha and weighting both give class weights; set loss.alpha=null or weighting=none."
            )
        super().__init__(torch.tensor(list(alpha)) if alpha is not None else class_weights)
        if gamma < 0:
            raise FerLabError(f"loss.gamma={gamma} must not be negative.")
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Weighted mean over the batch; logits float32 N×K, target int64 N or float32 N×K.

        The loss of a distribution is that of its classes, each by its share, as mixup has it.
        """
        if target.is_floating_point():
            log_all = F.log_softmax(logits, dim=1)
            shares = target if self.class_weights is None else target * self.class_weights
            total = -(shares * (1 - log_all.exp()) ** self.gamma * log_all).sum()
            return total / _weight(target, self.class_weights)
        log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None]).squeeze(1)
        losses = -((1 - log_p.exp()) ** self.gamma) * log_p
        if self.class_weights is None:
            return losses.mean()
        weights = self.class_weights[target]
        return (weights * losses).sum() / weights.sum()


def _weight(target: Tensor, class_weights: Tensor | None) -> Tensor:
    """What a batch weighs in all, by which PyTorch divides the loss of classes, but not that of distributions."""
    return (target if class_weights is None else target * class_weights).sum()


class SoftLabel(Loss):
    """Cross-entropy against the raters' distribution of votes: Barsoum et al. 2016 (FER+), section 3, "PLD"."""

    needs_votes = True

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the batch; logits float32 N×K, target float32 N×K with rows that add up to 1."""
        return F.cross_entropy(logits, target, self.class_weights)
