"""What is decided on validation logits once the network is trained, and then frozen: calibration and threshold.

What ships is fitted on all of validation. What validation is scored by is not: a calibration would be flattered on the
faces it was fitted on, so each face is scored by one that was fitted without it (:func:`cross_fitted`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fer_lab.data.splits import stratified_folds
from fer_lab.evaluation.calibration import Calibration, answers_of
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.selective import selective_scores, threshold_for_precision
from fer_lab.schema import build

_FOLDS = 5
#: Scores of the shipped calibration that a record keeps of validation.
_COMPARED = ("accuracy", "macro_f1", "nll", "ece")


@dataclass(frozen=True)
class Decision:
    """How logits are turned into answers.

    Attributes:
        calibration: fitted on validation.
        target_precision: share of answers that should be right; None for no threshold.
        abstain_below: least confidence of an answer, 0-1; None where validation does not reach the target.
        validation: cross-fitted log-probabilities of validation, float64 N×K; empty where nothing was decided here.
        folds: how many parts of validation they come from; 0: too few faces, `calibration` was asked about its own.
    """

    calibration: Calibration
    target_precision: float | None
    abstain_below: float | None
    validation: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    folds: int = 0

    @property
    def chosen(self) -> dict[str, float | None]:
        """What an opening of the test split notes besides the calibration."""
        return {} if self.target_precision is None else {"abstain_below": self.abstain_below}

    def score(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        class_names: tuple[str, ...],
        votes: np.ndarray | None = None,
        own: bool = False,
    ) -> dict[str, Any]:
        """`compute_metrics` of a split and `selective` (`selective_scores`).

        Args:
            logits: float N×K; labels: int64 N; own: these are the faces that were decided on. Then scores are by
                `validation`, with `cross_fitted`, its folds, and `in_sample`, the scores of `calibration` itself on
                the faces it was fitted on, which exported files are compared with.
        """
        log_p = self.validation if own else self.calibration.log_probabilities(logits)
        metrics = compute_metrics(logits, labels, class_names, log_p, votes)
        metrics["selective"] = selective_scores(np.exp(log_p), labels, self.target_precision, self.abstain_below)
        if own:
            shipped = compute_metrics(logits, labels, class_names, self.calibration)
            metrics |= {"cross_fitted": self.folds, "in_sample": {name: shipped[name] for name in _COMPARED}}
        return metrics


def decide(cfg: DictConfig, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Decision:
    """Fit `cfg.calibration` on validation logits, then choose the threshold on the cross-fitted probabilities.

    Configs of older runs have no target_precision: they get no threshold.

    Args:
        logits: float N×K; labels: int64 N; groups: N values, equal for equal pixels; None where all differ.
    """
    fit: Callable[[np.ndarray, np.ndarray], Calibration] = build(cfg.calibration)
    calibration = fit(logits, labels)
    groups = np.arange(len(labels)) if groups is None else groups
    validation, folds = cross_fitted(fit, logits, labels, groups)
    target = cfg.get("target_precision")
    threshold = None if target is None else threshold_for_precision(np.exp(validation), labels, target)
    return Decision(calibration, target, threshold, validation, folds)


def cross_fitted(
    fit: Callable[[np.ndarray, np.ndarray], Calibration], logits: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, int]:
    """Calibrated log-probabilities of faces by calibrations that were fitted on the other folds' faces.

    Args:
        fit: logits and labels to a calibration; logits: float N×K; labels: int64 N.
        groups: N values, equal for equal pixels; a group is never divided by a fold.

    Returns:
        float64 N×K, and the number of folds: 5, fewer where there are fewer groups or faces of the largest class; 0
        where these are too few, and the probabilities are by `fit` of all of them.
    """
    folds = min(_FOLDS, len(np.unique(groups)), int(np.bincount(labels).max()))
    if folds < 2:
        return answers_of(logits, fit(logits, labels)), 0
    fold = stratified_folds(labels, groups, folds, seed=0)
    found = np.empty(logits.shape, np.float64)
    for number in range(folds):
        outside = fold == number
        found[outside] = fit(logits[~outside], labels[~outside]).log_probabilities(logits[outside])
    return found, folds
