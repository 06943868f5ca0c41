"""The confidence of a multi-label answer: how likely the whole list is right, fitted on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...predictors import FloatArray, decide, list_confidence, logits_of

_STEEPEST = 20.0


def fit_list_confidence(
    probabilities: FloatArray, truth: npt.NDArray[np.int64], thresholds: Sequence[float] | None = None
) -> tuple[float, float]:
    """Slope and offset for :func:`healdag.predictors.list_confidence`, by the least log loss of "the list is right".

    Platt 1999, Advances in Large Margin Classifiers: the targets are drawn in by one row each, so that rows that are
    all right, or all wrong, give no certainty.

    Args:
        probabilities: Calibrated probabilities of rows that the calibration was not fitted on, shape (n, labels).
        truth: 0 or 1, shape (n, labels).
        thresholds: One per label, see :func:`healdag.predictors.decide`; None: 0.5.

    Returns:
        Slope, 0 at least (a larger product is never less sure), and offset.

    Raises:
        UsageError: no rows, or shapes that do not fit.
    """
    from scipy.optimize import minimize

    probabilities, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    if probabilities.ndim != 2 or probabilities.shape != truth.shape or not len(truth):
        raise UsageError(
            "the confidence of lists is fitted on probabilities and truth of shape (rows, labels), at least one row; "
            f"got shapes {probabilities.shape} and {truth.shape}"
        )
    decided = decide(probabilities, thresholds, multi_label=True)
    right = (decided == truth).all(axis=1)
    logits = logits_of(list_confidence(probabilities, decided), multi_label=True)
    good, bad = int(right.sum()), int((~right).sum())
    targets = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(pair: Any) -> tuple[float, FloatArray]:
        scores = pair[1] + pair[0] * logits
        error = 1 / (1 + np.exp(-np.clip(scores, -500, 500))) - targets
        gradient: FloatArray = np.array([(error * logits).mean(), error.mean()])
        return float((np.logaddexp(0.0, scores) - targets * scores).mean()), gradient

    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0.0, _STEEPEST), (None, None)])
    return float(found.x[0]), float(found.x[1])
