"""What is decided on validation logits once the network is trained, and then frozen: calibration and threshold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.selective import selective_scores, threshold_for_precision
from fer_lab.schema import build


@dataclass(frozen=True)
class Decision:
    """How logits are turned into answers.

    Attributes:
        calibration: fitted on validation.
        target_precision: share of answers that should be right; None for no threshold.
        abstain_below: least confidence of an answer, 0-1; None where validation does not reach the target.
    """

    calibration: Calibration
    target_precision: float | None
    abstain_below: float | None

    @property
    def chosen(self) -> dict[str, float | None]:
        """What an opening of the test split notes besides the calibration."""
        return {} if self.target_precision is None else {"abstain_below": self.abstain_below}

    def score(
        self, logits: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], votes: np.ndarray | None = None
    ) -> dict[str, Any]:
        """`compute_metrics` of a split, float N×K logits and int64 N labels, and `selective` (`selective_scores`)."""
        metrics = compute_metrics(logits, labels, class_names, self.calibration, votes)
        probabilities = self.calibration.probabilities(logits)
        selective = selective_scores(probabilities, labels, self.target_precision, self.abstain_below)
        return {**metrics, "selective": selective}


def decide(cfg: DictConfig, logits: np.ndarray, labels: np.ndarray) -> Decision:
    """Fit `cfg.calibration` on validation logits (float N×K, labels int64 N), then choose the threshold on them.

    Configs of older runs have no target_precision: they get no threshold.
    """
    calibration: Calibration = build(cfg.calibration)(logits, labels)
    target = cfg.get("target_precision")
    if target is None:
        return Decision(calibration, None, None)
    threshold = threshold_for_precision(calibration.probabilities(logits), labels, target)
    return Decision(calibration, target, threshold)
