"""Figures that say how good probabilities are, and the calibration that makes them mean something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..predictors import FloatArray, calibrate, decide

IntArray = npt.NDArray[np.int64]


def evaluate(
    probabilities: FloatArray, truth: IntArray, labels: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """Accuracy, macro-F1, per-class precision, recall and F1, ECE, Brier score and log loss.

    Args:
        probabilities: Array of shape (n, labels), rows summing to 1.
        truth: Column of the right label, shape (n,).
        thresholds: See :func:`healdag.predictors.decide`.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

    predicted = decide(probabilities, thresholds)
    columns = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=columns, zero_division=0)
    safe = np.clip(probabilities, 1e-12, 1.0)
    return {
        "n": len(truth),
        "accuracy": round(float(accuracy_score(truth, predicted)), 4),
        "macro_f1": round(float(f1_score(truth, predicted, labels=columns, average="macro", zero_division=0)), 4),
        "ece": round(expected_calibration_error(probabilities, truth), 4),
        "brier": round(float(((probabilities - np.eye(len(labels))[truth]) ** 2).sum(axis=1).mean()), 4),
        "log_loss": round(float(log_loss(truth, safe / safe.sum(axis=1, keepdims=True), labels=columns)), 4),
        "per_class": {
            label: {
                "precision": round(float(precision[i]), 4),
                "recall": round(float(recall[i]), 4),
                "f1": round(float(f1[i]), 4),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
    }


def expected_calibration_error(probabilities: FloatArray, truth: IntArray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by size (Naeini et al. 2015)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = (abs(confidence[place == b].sum() - right[place == b].sum()) for b in range(bins))
    return float(sum(gaps)) / max(len(truth), 1)


def fit_calibration(logits: FloatArray, truth: IntArray, *, with_bias: bool) -> tuple[float, tuple[float, ...]]:
    """Temperature, and a bias per label, that minimise the log loss of :func:`healdag.predictors.calibrate`.

    Class weights in training and a training mix that is not the field's shift the class shares; the bias puts them
    back. A small penalty on the bias keeps rare classes stable.

    Returns:
        Temperature and bias; the bias is empty without ``with_bias``.
    """
    from scipy.optimize import minimize

    k = logits.shape[1]
    rows = np.arange(len(truth))

    def loss(parameters: FloatArray) -> float:
        probabilities = calibrate(logits, float(np.exp(parameters[0])), parameters[1:].tolist())
        penalty = 1e-4 * float((parameters[1:] ** 2).sum())
        return float(-np.log(np.clip(probabilities[rows, truth], 1e-12, 1)).mean()) + penalty

    start = np.zeros(1 + (k if with_bias else 0))
    best = minimize(loss, start, method="L-BFGS-B").x
    return round(float(np.exp(best[0])), 5), tuple(round(float(b), 5) for b in best[1:])


def best_f1_thresholds(probabilities: FloatArray, truth: IntArray) -> tuple[float, float]:
    """Thresholds of two labels (see :func:`healdag.predictors.decide`) that give the first its best F1."""
    from sklearn.metrics import f1_score

    grid = [round(0.01 * step, 2) for step in range(5, 96)]
    scores = [f1_score(truth == 0, probabilities[:, 0] >= t, zero_division=0) for t in grid]
    best = grid[int(np.argmax(scores))]
    return best, round(1 - best, 2)
