"""Fits the probability that the final answer is right, on answers of the whole graph to held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..artifacts import ConfidenceModel
from ..errors import UsageError
from ..predictors import FloatArray
from .risk import BoolArray, grid_of

FOLDS = 10
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the L2 penalty that are tried, on standardised features."""
FEWEST = 50
"""Rows, and of right and of wrong answers a fifth of it each, below which nothing is fitted."""


def fit_confidence(
    features: Sequence[Mapping[str, float]], right: BoolArray, backups: Sequence[str], seed: int
) -> tuple[ConfidenceModel, FloatArray]:
    """A logistic regression with the penalty of the best cross-validated log loss.

    Args:
        features: One mapping per row, n rows.
        right: Whether the final answer is right, shape (n,).
        backups: The ladder that the rows went through.
        seed: Of the folds.

    Returns:
        The model, and the cross-validated confidence of each row, shape (n,).

    Raises:
        UsageError: too few rows, or too few right or wrong ones among them.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    few = min(int(right.sum()), int((~right).sum()))
    if len(right) < FEWEST or few < FEWEST // 5:
        raise UsageError(
            f"{len(right)} held-out answers, {few} of the rarer of right and wrong, are too few to learn how sure the "
            f"graph may be; {FEWEST} with {FEWEST // 5} of each are needed. Give more labelled rows"
        )
    vectorizer = DictVectorizer(sparse=False)
    table = vectorizer.fit_transform(features)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)

    def model(strength: float) -> object:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))

    crossed = {
        strength: cross_val_predict(model(strength), table, right, cv=folds, method="predict_proba")[:, 1]
        for strength in STRENGTHS
    }
    best = min(STRENGTHS, key=lambda strength: log_loss(right, crossed[strength]))
    scaler, regression = (step for _, step in model(best).fit(table, right).steps)  # type: ignore[attr-defined]
    weights = regression.coef_[0] / scaler.scale_
    fitted = ConfidenceModel(
        features=tuple(str(name) for name in vectorizer.feature_names_),
        coefficients=tuple(float(weight) for weight in weights),
        ranges=tuple(zip(table.min(axis=0).tolist(), table.max(axis=0).tolist(), strict=True)),
        intercept=float(regression.intercept_[0] - weights @ scaler.mean_),
        n=len(right),
        backups=tuple(backups),
        grid=grid_of(crossed[best], ~right),
    )
    return fitted, np.asarray(crossed[best], dtype=np.float64)
