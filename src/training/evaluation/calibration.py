"""Fits what makes a model's probabilities mean something, by the method that cross-validation finds best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...artifacts import UNCALIBRATED, Calibration
from ...errors import UsageError
from ...predictors import FloatArray, calibrate, logits_of, sigmoid, softmax
from .metrics import FOLDS, IntArray, one_hot, probability_figures, row_losses, stratified_folds

DEFAULT = "temperature"
FEWEST = 100
"""Rows below which nothing but the default is tried: a fold of 20 rows cannot tell methods apart."""
FEWEST_ISOTONIC = 1000
"""Rows below which isotonic regression is not tried. Niculescu-Mizil & Caruana 2005 (ICML) found it to overfit below
about 1,000; above, the cross-validation decides."""
_LIMITS = (float(np.log(0.02)), float(np.log(50.0)))
"""Of the logarithm of a temperature or scale, which few rows would drive further."""
_EVEN = 1e-3
"""Penalty on scales that differ between the labels."""

Fit: TypeAlias = Callable[[FloatArray, IntArray], Calibration]


@dataclass(frozen=True)
class Fitted:
    """A fitted calibration, and what is known about it.

    Attributes:
        raw: Uncalibrated probabilities, shape (n, labels).
        crossed: Those of each row calibrated without that row.
        report: The content of calibration.json: method and parameters; ``rows``; ``compared``, which has for each
            method that was tried its cross-validated log loss (multi-label: the mean over the labels), the gain over
            the default and the gain's standard error; the figures of :func:`.metrics.probability_figures` ``before``
            (uncalibrated) and ``after`` (of ``crossed``).
    """

    calibration: Calibration
    raw: FloatArray
    crossed: FloatArray
    report: dict[str, Any]


def fit_calibration(logits: FloatArray, truth: IntArray, *, multi_label: bool = False) -> Fitted:
    """The calibration with the least log loss on rows that it was not fitted on, with good reason.

    Temperature scaling with a bias per label is the default. Vector scaling, beta calibration or isotonic regression
    takes its place where its log loss over five folds is less by more than one standard error of the rows'
    differences; of several the one with the least.

    Args:
        logits: Uncalibrated, shape (n, labels); see :func:`healdag.predictors.logits_of`.
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).

    Raises:
        UsageError: there is no row.
    """
    n = len(truth)
    if n == 0:
        raise UsageError("there is no row to calibrate on; give labelled texts that the model was not trained on")
    folds = np.random.default_rng(13).permutation(n) % FOLDS if multi_label else stratified_folds(truth)
    crossed = {name: _crossed(_FITS[name], logits, truth, folds) for name in _tried(n)}
    losses = {name: row_losses(values, truth) for name, values in crossed.items()}
    if multi_label:
        losses = {name: values / truth.shape[1] for name, values in losses.items()}
    compared = {name: _compared(losses[DEFAULT], each) for name, each in losses.items()}
    better = [name for name, found in compared.items() if found["gain"] > found["standard_error"]]
    taken = min(better, key=lambda name: compared[name]["log_loss"], default=DEFAULT)
    calibration, raw = _FITS[taken](logits, truth), calibrate(logits, multi_label=multi_label)
    report = {
        **calibration.model_dump(mode="json"),
        "rows": n,
        "compared": {name: {key: round(value, 6) for key, value in found.items()} for name, found in compared.items()},
        "before": probability_figures(raw, truth),
        "after": probability_figures(crossed[taken], truth),
    }
    return Fitted(calibration, raw, crossed[taken], report)


def _tried(n: int) -> tuple[str, ...]:
    if n < FEWEST:
        return (DEFAULT,)
    return tuple(name for name in _FITS if name != "isotonic" or n >= FEWEST_ISOTONIC)


def _crossed(fit: Fit, logits: FloatArray, truth: IntArray, folds: IntArray) -> FloatArray:
    """Probabilities of each row by a calibration that was fitted on the other folds."""
    result: FloatArray = np.zeros(logits.shape)
    for fold in np.unique(folds):
        out = folds == fold
        calibration = fit(logits[~out], truth[~out]) if not out.all() else UNCALIBRATED
        result[out] = calibrate(logits[out], calibration, multi_label=truth.ndim == 2)
    return result


def _compared(default: FloatArray, other: FloatArray) -> dict[str, float]:
    """Mean log loss, how much less it is than the default's, and the standard error of that."""
    gain = default - other
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    return {"log_loss": float(other.mean()), "gain": float(gain.mean()), "standard_error": error}


def fit_temperature(logits: FloatArray, truth: IntArray) -> Calibration:
    """Temperature, and a bias per label, of the least log loss.

    Class weights in training and a training mix that is not the field's shift the class shares; the bias puts them
    back. A small penalty on the bias keeps rare classes stable, and the temperature stays between 0.02 and 50.

    Args:
        logits: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """
    from scipy.optimize import minimize

    n, k = logits.shape
    right, activate = _right(truth, k), _activation(truth)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        temperature, bias = float(np.exp(parameters[0])), parameters[1:]
        scaled = logits / temperature + bias
        gap = activate(scaled) - right
        slope = np.array([-(gap * logits).sum() / temperature, *gap.sum(axis=0)]) / n
        slope[1:] += 2e-4 * bias
        return (_total(scaled, truth) - float((right * scaled).sum())) / n + 1e-4 * float((bias**2).sum()), slope

    limits = [_LIMITS, *([(None, None)] * k)]
    best = minimize(loss, np.zeros(1 + k), method="L-BFGS-B", jac=True, bounds=limits).x
    return Calibration(temperature=round(float(np.exp(best[0])), 5), bias=_rounded(best[1:]))


def fit_vector(logits: FloatArray, truth: IntArray) -> Calibration:
    """A scale and a bias per label of the least log loss; penalties hold the scales together and the bias small.

    Args:
        logits: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """
    from scipy.optimize import minimize

    n, k = logits.shape
    right, activate = _right(truth, k), _activation(truth)
    given = logits if truth.ndim == 2 else logits_of(softmax(logits))

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        logs, bias = parameters[:k], parameters[k:]
        scale, apart = np.exp(logs), logs - logs.mean()
        scaled = given * scale + bias
        gap = activate(scaled) - right
        slope = np.concatenate([(gap * given).sum(axis=0) * scale, gap.sum(axis=0)]) / n
        slope += 2 * np.concatenate([_EVEN * apart, 1e-4 * bias])
        penalty = _EVEN * float((apart**2).sum()) + 1e-4 * float((bias**2).sum())
        return (_total(scaled, truth) - float((right * scaled).sum())) / n + penalty, slope

    limits = [_LIMITS] * k + [(None, None)] * k
    best = minimize(loss, np.zeros(2 * k), method="L-BFGS-B", jac=True, bounds=limits).x
    return Calibration(method="vector", scale=_rounded(np.exp(best[:k])), bias=_rounded(best[k:]))


def fit_beta(logits: FloatArray, truth: IntArray) -> Calibration:
    """a, b and c per label, each label against the rest, of the least log loss; a penalty holds them near 1, 1, 0.

    Args:
        logits: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """
    from scipy.optimize import minimize

    probabilities, right = _activation(truth)(logits), _right(truth, logits.shape[1])
    start = np.array([1.0, 1.0, 0.0])

    def fit(p: FloatArray, hit: IntArray) -> tuple[float, float, float]:
        given = np.stack([logits_of(p), -logits_of(1.0 - p), np.ones(len(p))], axis=1)

        def loss(abc: FloatArray) -> tuple[float, FloatArray]:
            scaled = given @ abc
            value = float((np.logaddexp(0, scaled) - hit * scaled).mean()) + 1e-4 * float(((abc - start) ** 2).sum())
            return value, given.T @ (sigmoid(scaled) - hit) / len(p) + 2e-4 * (abc - start)

        limits = [(0.0, None), (0.0, None), (None, None)]
        a, b, c = _rounded(minimize(loss, start, method="L-BFGS-B", jac=True, bounds=limits).x)
        return a, b, c

    return Calibration(method="beta", beta=tuple(fit(p, hit) for p, hit in zip(probabilities.T, right.T, strict=True)))


def fit_isotonic(logits: FloatArray, truth: IntArray) -> Calibration:
    """A rising line per label, each label against the rest: isotonic regression, a corner in the middle of each step.

    The steps themselves would make equal what the model ranks apart (centred isotonic regression, Oron & Flournoy 2017,
    arXiv:1701.05964). No label becomes impossible or certain: the line stays 1 / (n + 2) away from 0 and 1.

    Args:
        logits: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """
    from sklearn.isotonic import IsotonicRegression

    probabilities, right = _activation(truth)(logits), _right(truth, logits.shape[1])
    least = 1.0 / (len(truth) + 2)

    def fit(p: FloatArray, hit: IntArray) -> tuple[tuple[float, float], ...]:
        # Of p that differ in the last digit it keeps one; the others can lie beyond its ends, where it would say NaN.
        model = IsotonicRegression(y_min=least, y_max=1.0 - least, out_of_bounds="clip")
        steps, place, n = np.unique(model.fit_transform(p, hit), return_inverse=True, return_counts=True)
        middles = np.bincount(place, p) / n
        # Six digits are plenty; of corners that fall together the last stays, so that the line still rises.
        corners = zip(middles.tolist(), steps.tolist(), strict=True)
        return tuple({float(f"{x:.6g}"): float(f"{y:.6g}") for x, y in corners}.items())

    lines = tuple(fit(p, hit) for p, hit in zip(probabilities.T, right.T, strict=True))
    return Calibration(method="isotonic", knots=lines)


_FITS: dict[str, Fit] = {
    DEFAULT: fit_temperature,
    "vector": fit_vector,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}


def _right(truth: IntArray, k: int) -> IntArray:
    return truth if truth.ndim == 2 else one_hot(truth, k)


def _activation(truth: IntArray) -> Callable[[FloatArray], FloatArray]:
    return sigmoid if truth.ndim == 2 else softmax


def _total(scaled: FloatArray, truth: IntArray) -> float:
    """Sum over the rows of the logarithm of what their probabilities are divided by."""
    return float((np.logaddexp(0, scaled) if truth.ndim == 2 else np.logaddexp.reduce(scaled, axis=1)).sum())


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)
