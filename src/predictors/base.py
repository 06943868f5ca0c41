"""What a predictor is, and the one way in which the graph asks it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..artifacts import UNCALIBRATED, Calibration
from ._halving import in_halves

FloatArray: TypeAlias = npt.NDArray[np.float64]
Row: TypeAlias = list[float]

log = logging.getLogger("healdag")


@runtime_checkable
class Predictor(Protocol):
    """Anything that gives a probability per label.

    Attributes:
        name: Short name, shown in ``attempts``.
        labels: Label of each column, in order.
        version: Changes whenever the answers may change.

    A predictor may have more: ``multi_label`` (True: each probability stands by itself, since a text can have several
    labels or none; False where it is missing), ``prior`` (share of each label in its training data),
    ``unknown_share(texts)`` (share of each text that it cannot read), ``uncalibrated(texts)`` (like ``predict_proba``,
    before its calibration) and ``examine(texts)`` (its probabilities and, from the same pass, how far each text lies
    from its training texts, or None; see :class:`healdag.predictors.Familiarity`); with it goes
    ``observe(texts, *, vectors)`` (all that the pass shows, see :class:`healdag.predictors.Observed`).
    """

    name: str
    labels: tuple[str, ...]
    version: str

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); each row sums to 1, unless ``multi_label``.

        A row of NaN means "could not answer this one". Raises only where the whole batch failed.
        """
        ...


@dataclass(frozen=True)
class Spec:
    """What a predictor module's ``load`` gets.

    Attributes:
        labels: The task's labels, in order; the predictor's columns must be these.
        folder: The artefact folder, for kinds that have one.
        options: Settings by name (device, tokens_per_batch, ...; or what the user wrote in ``backups``).
        members: Predictors that are already loaded, by name, for kinds that combine others.
        multi_label: Whether a text can have several labels, or none.
    """

    labels: tuple[str, ...]
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Predictor] = field(default_factory=dict)
    multi_label: bool = False


@dataclass(frozen=True)
class Answers:
    """What :func:`ask` brings back: one row per text, None where there is no answer, and then why.

    Attributes:
        distances: From the training texts; None where the predictor does not say.
    """

    rows: list[Row | None]
    errors: list[str | None]
    ms: float
    distances: list[float | None] | None = None

    @classmethod
    def failed(cls, n: int, error: str, ms: float = 0.0) -> Answers:
        """No row answered, all for the same reason."""
        return cls([None] * n, [error] * n, ms)


def ask(predictor: Predictor, texts: Sequence[str]) -> Answers:
    """Asks a predictor and turns whatever it does, failures included, into rows of plain floats.

    Where it raises it is asked by halves, so that one text costs the others nothing, see :mod:`._halving`.
    """
    start = time.perf_counter()
    examine = getattr(predictor, "examine", None)

    def call(part: slice) -> Answers:
        some = texts[part]
        values, distances = examine(some) if examine is not None else (predictor.predict_proba(some), None)
        answers = check_rows(values, len(some), len(predictor.labels), 0.0, multi_label=is_multi_label(predictor))
        if distances is None:
            return answers
        return replace(answers, distances=[float(d) if np.isfinite(d) else None for d in distances])

    parts = in_halves(call, len(texts))
    # A failing model is an answer ("none"), never a crash of the graph.
    failures = [(part.stop - part.start, found) for part, found in parts if isinstance(found, Exception)]
    if failures:
        failed, error = sum(size for size, _ in failures), _described(failures[-1][1])
        log.warning("predictor %r failed on %d of %d texts: %s", predictor.name, failed, len(texts), error)
    elif len(parts) > 1:
        log.warning("predictor %r answered %d texts only in %d parts", predictor.name, len(texts), len(parts))
    each = [
        Answers.failed(part.stop - part.start, _described(found)) if isinstance(found, Exception) else found
        for part, found in parts
    ]
    distances = [known for one in each for known in one.distances or [None] * len(one.rows)]
    return Answers(
        [row for one in each for row in one.rows],
        [why for one in each for why in one.errors],
        _ms(start, len(texts)),
        None if all(one.distances is None for one in each) else distances,
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def is_multi_label(predictor: Predictor) -> bool:
    """Whether its probabilities stand each by itself; False for a predictor that does not say."""
    return bool(getattr(predictor, "multi_label", False))


def check_rows(values: Any, n: int, k: int, ms: float, *, multi_label: bool = False) -> Answers:
    """Probabilities of shape (n, k) as rows; a row that is none becomes None with an error.

    A row is a distribution: none below 0, sum 1. Multi-label: each number is from 0 to 1, whatever their sum.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        return Answers.failed(n, f"answered no numbers: {error}", ms)
    if array.shape != (n, k):
        return Answers.failed(n, f"answered shape {array.shape}, expected {(n, k)}", ms)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(array).all(axis=1))
    with np.errstate(invalid="ignore"):
        fits = (array <= 1).all(axis=1) if multi_label else np.abs(array.sum(axis=1) - 1.0) < 1e-3
        valid = finite & (array >= 0).all(axis=1) & fits
    rows: list[Row | None] = [row if ok else None for row, ok in zip(array.tolist(), valid, strict=True)]
    wrong = "not a probability per label" if multi_label else "not a probability distribution"
    errors = [
        None if ok else (wrong if number else "could not answer") for ok, number in zip(valid, finite, strict=True)
    ]
    return Answers(rows, errors, ms)


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: FloatArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: FloatArray) -> FloatArray:
    """Logistic function, element by element."""
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))
    return result


def calibrate(logits: FloatArray, calibration: Calibration = UNCALIBRATED, *, multi_label: bool = False) -> FloatArray:
    """Calibrated probabilities, of the logits' shape (..., labels); see :class:`healdag.artifacts.Calibration`.

    Args:
        logits: For a single-label task log-probabilities do as well; see :func:`logits_of`.
        calibration: For as many labels as there are, or for any number.
        multi_label: Each label by itself, with the sigmoid in the softmax's place.

    >>> calibrate(np.array([[2.0, 0.0]]), Calibration(temperature=2.0)).round(3).tolist()
    [[0.731, 0.269]]
    """
    if calibration.method == "temperature":
        scaled = logits / calibration.temperature + (np.asarray(calibration.bias) if calibration.bias else 0.0)
        return sigmoid(scaled) if multi_label else softmax(scaled)
    plain = sigmoid(logits) if multi_label else softmax(logits)
    if calibration.method == "vector":
        scaled = (logits if multi_label else logits_of(plain)) * calibration.scale + np.asarray(calibration.bias)
        return sigmoid(scaled) if multi_label else softmax(scaled)
    each = _beta(plain, calibration) if calibration.method == "beta" else _isotonic(plain, calibration)
    if multi_label:
        return each
    total = each.sum(axis=-1, keepdims=True)
    result: FloatArray = np.divide(each, total, out=plain, where=total > 0)
    return result


def _beta(probabilities: FloatArray, calibration: Calibration) -> FloatArray:
    a, b, c = np.array(calibration.beta).T
    return sigmoid(a * logits_of(probabilities) - b * logits_of(1.0 - probabilities) + c)


def _isotonic(probabilities: FloatArray, calibration: Calibration) -> FloatArray:
    lines = [np.array(line).T for line in calibration.knots]
    return np.stack([np.interp(probabilities[..., k], x, y) for k, (x, y) in enumerate(lines)], axis=-1)


def logits_of(probabilities: FloatArray, *, multi_label: bool = False) -> FloatArray:
    """What :func:`calibrate` takes, from probabilities: logarithms, or per label log-odds; finite at 0 and 1."""
    floored = np.clip(probabilities, 1e-12, None)
    logs: FloatArray = np.log(floored)
    return logs - np.log(np.clip(1.0 - probabilities, 1e-12, None)) if multi_label else logs


def decide(
    probabilities: FloatArray, thresholds: Sequence[float] | None = None, *, multi_label: bool = False
) -> npt.NDArray[np.int64]:
    """What is answered: the column per row, shape (n,); multi-label: 1 for each answered label, shape (n, labels).

    Args:
        probabilities: Array of shape (n, labels).
        thresholds: One per label. Single-label: the label with the largest probability / threshold is answered, so
            that of two labels with thresholds (t, 1 - t) the first is answered from probability t on; None answers
            the likeliest. Multi-label: a label is answered from its threshold on; None takes 0.5.
    """
    if multi_label:
        return np.asarray(probabilities >= (0.5 if thresholds is None else np.asarray(thresholds)), dtype=np.int64)
    weighted = probabilities if thresholds is None else probabilities / np.asarray(thresholds)
    return np.asarray(weighted.argmax(axis=1), dtype=np.int64)


def list_confidence(
    probabilities: FloatArray, decided: npt.ArrayLike, set_calibration: tuple[float, float] | None = None
) -> FloatArray:
    """How likely the whole list of a multi-label answer is right, each label in it and each left out: shape (n,).

    The product over the labels of p where it was answered and 1 - p where not. That takes labels for independent and
    is too low where they go together; a pair fitted on held-out rows (``training.list_confidence``) mends it:
    sigmoid(offset + slope * logit(product)).

    Args:
        probabilities: Array of shape (n, labels), each 0 to 1.
        decided: 1 for each answered label, shape (n, labels); see :func:`decide`.
        set_calibration: Slope and offset; None for the product itself.

    >>> list_confidence(np.array([[0.9, 0.2]]), np.array([[1, 0]])).round(2).tolist()
    [0.72]
    """
    product: FloatArray = np.where(np.asarray(decided) == 1, probabilities, 1.0 - probabilities).prod(axis=1)
    if set_calibration is None:
        return product
    slope, offset = set_calibration
    return sigmoid(offset + slope * logits_of(product, multi_label=True))


def _ms(start: float, n: int) -> float:
    return (time.perf_counter() - start) * 1000 / max(n, 1)
