"""Fits the probability that the final answer is right, on answers of the whole graph to held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..artifacts import ConfidenceModel
from ..errors import UsageError
from ..nodes.trust import ANSWER
from ..predictors import FloatArray
from ..predictors.base import sigmoid
from .risk import BoolArray, grid_of

FOLDS = 10
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the L2 penalty that are tried, on standardised features."""
FEWEST = 50
"""Rows, and of right and of wrong answers a fifth of it each, below which nothing is fitted."""
EVENTS_PER_FEATURE = 10
"""Of the rarer of right and wrong answers, per feature, that a fit needs: Peduzzi et al. 1996, J. Clin. Epidem. 49."""


def fit_confidence(
    features: Sequence[Mapping[str, float]], right: BoolArray, backups: Sequence[str], seed: int
) -> tuple[ConfidenceModel, FloatArray]:
    """A logistic regression with the penalty of the best cross-validated log loss, where one is worth it.

    The simplest that none better is known for: the answer's own probability as it is; a regression on it alone; and, if
    there are rows enough, one on all the features. What is less simple has to have a lower log loss by more than the
    standard error of the difference.

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
    from sklearn.model_selection import StratifiedKFold

    few = min(int(right.sum()), int((~right).sum()))
    if len(right) < FEWEST or few < FEWEST // 5:
        raise UsageError(
            f"{len(right)} held-out answers, {few} of the rarer of right and wrong, are too few to learn how sure the "
            f"graph may be; {FEWEST} with {FEWEST // 5} of each are needed. Give more labelled rows"
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    answers = [{ANSWER: row.get(ANSWER, 0.0)} for row in features]
    own = sigmoid(np.array([row[ANSWER] for row in answers]))
    learned = partial(ConfidenceModel, n=len(right), backups=tuple(backups))
    model, crossed = learned(grid=grid_of(own, ~right)), own
    candidates: list[Sequence[Mapping[str, float]]] = [answers]
    if few >= EVENTS_PER_FEATURE * len({name for row in features for name in row}):
        candidates.append(features)
    for rows in candidates:
        fit = _best(rows, right, folds)
        gain = _losses(crossed, right) - _losses(fit.crossed, right)
        if gain.mean() > gain.std() / np.sqrt(len(gain)):
            scaler, regression = fit.model
            weights = regression.coef_[0] / scaler.scale_
            crossed = fit.crossed
            model = learned(
                features=fit.names,
                coefficients=tuple(float(weight) for weight in weights),
                ranges=tuple(zip(fit.table.min(axis=0).tolist(), fit.table.max(axis=0).tolist(), strict=True)),
                intercept=float(regression.intercept_[0] - weights @ scaler.mean_),
                grid=grid_of(crossed, ~right),
            )
    return model, crossed


def _losses(confidence: FloatArray, right: BoolArray) -> FloatArray:
    """Log loss of each row, shape (n,)."""
    losses: FloatArray = -np.log(np.clip(np.where(right, confidence, 1 - confidence), 1e-12, None))
    return losses


@dataclass(frozen=True)
class _Fit:
    """A regression: names of its columns, scaler and regression, and the cross-validated confidence, shape (n,)."""

    names: tuple[str, ...]
    table: FloatArray
    model: tuple[Any, Any]
    crossed: FloatArray


def _best(features: Sequence[Mapping[str, float]], right: BoolArray, folds: Any) -> _Fit:
    """The regression with the penalty of the best cross-validated log loss."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectorizer = DictVectorizer(sparse=False)
    table = vectorizer.fit_transform(features)

    def model(strength: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))

    fits = []
    for strength in STRENGTHS:
        crossed = cross_val_predict(model(strength), table, right, cv=folds, method="predict_proba")[:, 1]
        fits.append((strength, crossed))
    strength, crossed = min(fits, key=lambda fit: float(_losses(fit[1], right).mean()))
    scaler, regression = (step for _, step in model(strength).fit(table, right).steps)
    return _Fit(tuple(map(str, vectorizer.feature_names_)), table, (scaler, regression), crossed)
