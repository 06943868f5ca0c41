"""Figures that say how good probabilities are, and the thresholds that make answers of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...predictors import FloatArray, decide

IntArray: TypeAlias = npt.NDArray[np.int64]
Objective: TypeAlias = Literal["argmax", "f1", "macro_f1"]

FOLDS = 5
_SWEEPS = 3
_STEPS = np.exp(np.linspace(np.log(0.2), np.log(5.0), 41))
"""Factors by which one label's threshold is tried beside the others'."""


def evaluate(
    probabilities: FloatArray,
    truth: IntArray,
    labels: Sequence[str],
    thresholds: Sequence[float] | None = None,
    *,
    multi_label: bool = False,
    predicted: IntArray | None = None,
) -> dict[str, Any]:
    """How good probabilities and the answers made from them are; every figure is rounded to four decimals.

    Both forms have ``n``, ``accuracy``, ``macro_f1``, ``weighted_f1``, ``macro_precision``, ``macro_recall``,
    ``roc_auc``, the :func:`probability_figures` and ``per_class`` (precision, recall, f1, support, roc_auc).
    Single-label: ``roc_auc`` is one-vs-rest. Multi-label: ``accuracy`` is the share of rows with every label right,
    and there are ``subset_accuracy`` (the same), ``micro_f1``, ``average_precision`` and ``hamming_loss`` besides.
    ``roc_auc`` and ``average_precision`` are means over the labels that have right and wrong rows; None where no
    label has.

    Args:
        probabilities: Array of shape (n, labels); rows sum to 1, or multi-label: each is from 0 to 1.
        truth: Column of the right label, shape (n,); multi-label: 0 or 1, shape (n, labels).
        thresholds: See :func:`healdag.predictors.decide`.
        predicted: What was answered, in the shape of ``truth``, where it is not what ``thresholds`` make of the
            probabilities; -1 is "no answer".

    Raises:
        UsageError: there is no row, or the shapes do not fit.
    """
    probabilities, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    _check_shapes(probabilities, truth, len(labels), multi_label)
    if predicted is None:
        predicted = decide(probabilities, thresholds, multi_label=multi_label)
    right = truth if multi_label else one_hot(truth, len(labels))
    figures: dict[str, Any] = {"n": len(truth), **_answer_figures(truth, predicted, len(labels))}
    areas = [_area(right[:, j], probabilities[:, j]) for j in range(len(labels))]
    figures["roc_auc"] = _mean_of_defined(areas)
    if multi_label:
        peaks = [_average_precision(right[:, j], probabilities[:, j]) for j in range(len(labels))]
        figures["average_precision"] = _mean_of_defined(peaks)
    figures |= probability_figures(probabilities, truth)
    precision, recall, f1 = precision_recall_f1(truth, predicted, len(labels))
    per_class = {
        label: {
            "precision": round(float(precision[i]), 4),
            "recall": round(float(recall[i]), 4),
            "f1": round(float(f1[i]), 4),
            "support": int(right[:, i].sum()),
            "roc_auc": None if (area := areas[i]) is None else round(area, 4),
        }
        for i, label in enumerate(labels)
    }
    return {**figures, "per_class": per_class}


def _answer_figures(truth: IntArray, predicted: IntArray, k: int) -> dict[str, float]:
    precision, recall, f1 = precision_recall_f1(truth, predicted, k)
    figures = {
        "accuracy": accuracy(truth, predicted),
        "macro_f1": float(f1.mean()),
        "weighted_f1": weighted_f1(truth, predicted, k),
        "macro_precision": float(precision.mean()),
        "macro_recall": float(recall.mean()),
    }
    if truth.ndim == 2:
        hits, said, there = (int(counts.sum()) for counts in _counts(truth, predicted, k))
        figures["subset_accuracy"] = figures["accuracy"]
        figures["micro_f1"] = 2 * hits / (said + there) if said + there else 0.0
        figures["hamming_loss"] = float((truth != predicted).mean())
    return {name: round(value, 4) for name, value in figures.items()}


def probability_figures(probabilities: FloatArray, truth: IntArray) -> dict[str, float]:
    """``ece``, ``adaptive_ece``, ``brier`` and ``log_loss``; multi-label: their means over the labels.

    Args:
        probabilities: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """
    multi_label = truth.ndim == 2
    right = truth if multi_label else one_hot(truth, probabilities.shape[1])
    gaps = (probabilities - right) ** 2
    figures = {
        "ece": expected_calibration_error(probabilities, truth, multi_label=multi_label),
        "adaptive_ece": expected_calibration_error(probabilities, truth, multi_label=multi_label, adaptive=True),
        "brier": gaps.mean() if multi_label else gaps.sum(axis=1).mean(),
        "log_loss": row_losses(probabilities, truth).mean() / (len(right[0]) if multi_label else 1),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def row_losses(probabilities: FloatArray, truth: IntArray) -> FloatArray:
    """Log loss of each row, shape (n,); multi-label: summed over the labels."""
    safe = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if truth.ndim == 2:
        return np.asarray(-np.where(truth == 1, np.log(safe), np.log(1 - safe)).sum(axis=1))
    return np.asarray(-np.log(safe[np.arange(len(truth)), truth]))


def _check_shapes(probabilities: FloatArray, truth: IntArray, k: int, multi_label: bool) -> None:
    n = len(truth)
    if n == 0:
        raise UsageError("there is no row to measure; give a split with at least one labelled text")
    expected = (n, k) if multi_label else (n,)
    if probabilities.shape != (n, k) or truth.shape != expected:
        raise UsageError(
            f"probabilities of shape {probabilities.shape} and truth of shape {truth.shape} do not fit: "
            f"{k} labels need {(n, k)} and {expected}"
        )


def one_hot(truth: IntArray, k: int) -> IntArray:
    """Columns as rows of 0 and 1, shape (n, k); a column of -1 ("no answer") is all 0."""
    return np.asarray(truth[:, None] == np.arange(k), dtype=np.int64)


def accuracy(truth: IntArray, predicted: IntArray) -> float:
    """Share of right rows; multi-label: of rows with every label right."""
    same = truth == predicted
    return float((same.all(axis=1) if same.ndim == 2 else same).mean())


def _counts(truth: IntArray, predicted: IntArray, k: int) -> tuple[IntArray, IntArray, IntArray]:
    """Per label: rows where it was rightly answered, rows where it was answered, rows where it is right."""
    if truth.ndim == 2:
        said, there = predicted == 1, truth == 1
        return (said & there).sum(axis=0), said.sum(axis=0), there.sum(axis=0)
    # Column 0 of the counts takes the rows without an answer (-1).
    hits = np.bincount(truth[truth == predicted] + 1, minlength=k + 1)
    said, there = np.bincount(predicted + 1, minlength=k + 1), np.bincount(truth + 1, minlength=k + 1)
    return hits[1:], said[1:], there[1:]


def precision_recall_f1(truth: IntArray, predicted: IntArray, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 of each label, shape (k,) each; 0 where one is not defined."""
    hits, said, there = _counts(truth, predicted, k)
    precision: FloatArray = hits / np.maximum(said, 1)
    recall: FloatArray = hits / np.maximum(there, 1)
    f1: FloatArray = 2 * hits / np.maximum(said + there, 1)
    return precision, recall, f1


def macro_f1(truth: IntArray, predicted: IntArray, k: int) -> float:
    """Mean F1 over all ``k`` labels, those without rows included."""
    return float(precision_recall_f1(truth, predicted, k)[2].mean())


def weighted_f1(truth: IntArray, predicted: IntArray, k: int) -> float:
    """Mean F1 over the labels, each weighted by its rows."""
    hits, said, there = _counts(truth, predicted, k)
    return float((2 * hits / np.maximum(said + there, 1) * there).sum() / max(int(there.sum()), 1))


def _area(right: IntArray, score: FloatArray) -> float | None:
    """ROC-AUC of one label; None where every row or no row has it."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right, score)) if 0 < right.sum() < len(right) else None


def _average_precision(right: IntArray, score: FloatArray) -> float | None:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(right, score)) if 0 < right.sum() < len(right) else None


def _mean_of_defined(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return round(float(np.mean(defined)), 4) if defined else None


def expected_calibration_error(
    probabilities: FloatArray, truth: IntArray, bins: int = 15, *, multi_label: bool = False, adaptive: bool = False
) -> float:
    """Mean gap between confidence and accuracy over bins, weighted by size (Naeini et al. 2015).

    Multi-label: the mean over the labels of the gap between a label's probability and how often it is right.

    Args:
        adaptive: Bins of equally many rows, see :func:`adaptive_gap`, and not of equal width.
    """
    gap = adaptive_gap if adaptive else binned_gap
    if multi_label:
        return float(np.mean([gap(probabilities[:, j], truth[:, j] == 1, bins) for j in range(truth.shape[1])]))
    return gap(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth, bins)


def binned_gap(confidence: FloatArray, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Mean gap between confidence and share of right answers over equal-width bins, weighted by size; shapes (n,)."""
    return _gap(confidence, right, np.minimum((confidence * bins).astype(int), bins - 1), bins)


def adaptive_gap(confidence: FloatArray, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """The same over bins of equally many rows (Nguyen & O'Connor 2015, EMNLP); equal confidences share a bin."""
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return _gap(confidence, right, np.searchsorted(edges, confidence, side="right"), bins)


def _gap(confidence: FloatArray, right: npt.NDArray[np.bool_], place: IntArray, bins: int) -> float:
    gaps = (abs(confidence[place == b].sum() - right[place == b].sum()) for b in range(bins))
    return float(sum(gaps)) / max(len(right), 1)


def bootstrap_interval(
    metric: Callable[[IntArray, IntArray], float],
    truth: IntArray,
    predicted: IntArray,
    n: int = 1000,
    seed: int = 13,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a figure over ``n`` draws of the rows with replacement (Efron 1979).

    Args:
        metric: Takes truth and predicted of a draw.
        level: Share of the draws inside the interval.
    """
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(truth), len(truth)) for _ in range(n))
    values = [metric(truth[rows], predicted[rows]) for rows in draws]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return round(float(low), 4), round(float(high), 4)


def fit_thresholds(
    probabilities: FloatArray, truth: IntArray, objective: Objective, *, multi_label: bool = False
) -> tuple[float, ...] | None:
    """Thresholds, one per label, for :func:`healdag.predictors.decide`; None where the plain rule is to stand.

    Args:
        probabilities: Shape (n, labels).
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
        objective: "argmax": None, the plain rule. "f1": the best F1 of the first of two labels. "macro_f1": the best
            mean F1 over the labels. Multi-label tasks: "f1" and "macro_f1" both mean each label's best F1.

    Returns:
        Single-label thresholds sum to 1. Those for "macro_f1" are taken only where they help on rows that they were
        not fitted on (cross-validation); else the answer is None, or 0.5 for a label of a multi-label task.

    Raises:
        UsageError: "f1" for more than two labels of a single-label task.
    """
    if objective == "argmax" or len(truth) == 0:
        return None
    if multi_label:
        return tuple(_label_threshold(probabilities[:, j], truth[:, j]) for j in range(truth.shape[1]))
    if objective == "macro_f1":
        return _macro_f1_thresholds(probabilities, truth)
    if probabilities.shape[1] != 2:
        raise UsageError(
            f"objective 'f1' is for two labels, there are {probabilities.shape[1]}; take 'macro_f1' or 'argmax'"
        )
    return best_f1_thresholds(probabilities, truth)


def best_f1_thresholds(probabilities: FloatArray, truth: IntArray) -> tuple[float, float]:
    """Thresholds of two labels (see :func:`healdag.predictors.decide`) that give the first its best F1."""
    grid = np.round(np.arange(0.05, 0.955, 0.01), 2)
    best = float(grid[int(np.argmax(_f1_curve(probabilities[:, 0], truth == 0, grid)))])
    return best, round(1 - best, 2)


def _f1_curve(probability: FloatArray, right: npt.NDArray[np.bool_], grid: FloatArray) -> FloatArray:
    """F1 of one label at each threshold of the grid."""
    said = len(right) - np.searchsorted(np.sort(probability), grid, side="left")
    hits = int(right.sum()) - np.searchsorted(np.sort(probability[right]), grid, side="left")
    curve: FloatArray = 2 * hits / np.maximum(said + int(right.sum()), 1)
    return curve


def _label_threshold(probability: FloatArray, truth: IntArray) -> float:
    """The threshold of a label's best F1, where it beats 0.5 on held-out folds; else 0.5."""
    right = truth == 1
    grid = np.round(np.arange(0.01, 0.995, 0.01), 2)

    def best(rows: npt.NDArray[np.bool_]) -> float:
        curve = _f1_curve(probability[rows], right[rows], grid)
        top = grid[curve >= curve.max() - 1e-12]
        return float(top[len(top) // 2])  # the middle of equals is the safest of them

    folds = stratified_folds(truth)
    said = np.zeros(len(truth), dtype=bool)
    for fold in range(FOLDS):
        said[folds == fold] = probability[folds == fold] >= best(folds != fold)
    plain = probability >= 0.5
    gain = _f1(right, said) - _f1(right, plain)
    return best(np.ones(len(truth), dtype=bool)) if gain > 0 else 0.5


def _f1(right: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    return 2 * int((right & said).sum()) / max(int(right.sum()) + int(said.sum()), 1)


def stratified_folds(truth: IntArray) -> IntArray:
    """Fold of each row, 0 to 4, every class spread evenly; the same at each call."""
    shuffled = np.random.default_rng(13).permutation(len(truth))
    folds = np.zeros(len(truth), dtype=np.int64)
    for label in np.unique(truth):
        rows = shuffled[truth[shuffled] == label]
        folds[rows] = np.arange(len(rows)) % FOLDS
    return folds


def _macro_f1_thresholds(probabilities: FloatArray, truth: IntArray) -> tuple[float, ...] | None:
    k = probabilities.shape[1]
    folds = stratified_folds(truth)
    crossed = np.zeros(len(truth), dtype=np.int64)
    for fold in range(FOLDS):
        held_out = folds == fold
        if held_out.all() or not held_out.any():
            return None
        fitted = _ascend(probabilities[~held_out], truth[~held_out])
        crossed[held_out] = decide(probabilities[held_out], fitted.tolist())
    if macro_f1(truth, crossed, k) <= macro_f1(truth, decide(probabilities), k):
        return None
    return tuple(round(float(t), 5) for t in _ascend(probabilities, truth))


def _ascend(probabilities: FloatArray, truth: IntArray) -> FloatArray:
    """Coordinate ascent of macro-F1 over the thresholds, from all equal; shape (labels,), sum 1."""
    k = probabilities.shape[1]
    thresholds = np.ones(k)
    best = macro_f1(truth, decide(probabilities), k)
    for _ in range(_SWEEPS):
        before = best
        for j in range(k):
            weighted = probabilities / thresholds
            weighted[:, j] = -1.0
            rival, strongest = weighted.argmax(axis=1), weighted.max(axis=1)
            for candidate in _STEPS:
                said = np.where(probabilities[:, j] / candidate > strongest, j, rival)
                score = macro_f1(truth, said, k)
                if score > best + 1e-9:
                    best, thresholds[j] = score, candidate
        if best == before:
            break
    normed: FloatArray = thresholds / thresholds.sum()
    return normed
