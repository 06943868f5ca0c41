"""Models side by side on one split: figures with intervals, and whether a difference is more than chance."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from ...predictors import FloatArray, decide
from ..artifact_writer import write_json
from ..datasets import Example
from .measure import Measured, Model, adding_to, measure
from .metrics import IntArray, macro_f1
from .plots import comparison_png

_COLUMNS = (
    *("name", "n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high"),
    *("weighted_f1", "roc_auc", "log_loss", "confidence_before", "confidence", "ece_before", "ece", "unanswered"),
    *("megabytes", "ms_per_text", "ms_single", "accuracy_difference", "accuracy_p", "macro_f1_difference"),
    *("macro_f1_difference_low", "macro_f1_difference_high", "macro_f1_p"),
)
_DRAWS = 2000


def compare(models: Sequence[Model], rows: Sequence[Example]) -> list[dict[str, Any]]:
    """Measures every model on the same rows, and each one but the first against the first.

    Returns:
        A dictionary per model: ``name``, ``n``, ``accuracy``, ``macro_f1`` (each with ``_interval``, 95 %),
        ``weighted_f1``, ``roc_auc``, ``log_loss``, ``confidence``, ``ece`` (both also with ``_before``: calibration
        undone), ``unanswered``, ``megabytes``, ``ms_per_text`` (in a batch), ``ms_single``, and ``against_first``: None
        for the first, else ``accuracy_difference`` with McNemar's exact ``accuracy_p``, ``macro_f1_difference`` with
        ``macro_f1_difference_interval`` and ``macro_f1_p`` from a paired bootstrap. The p values are corrected after
        Holm (1979) over the models.

    Raises:
        UsageError: models with other labels than the first, or rows that cannot be measured.
    """
    if not models:
        raise UsageError("there is nothing to compare; give at least one model")
    first = models[0]
    measured = [measure(_aligned(model, first), rows) for model in models]
    result = [_row(model, found) for model, found in zip(models, measured, strict=True)]
    against = [_against(measured[0], other) for other in measured[1:]]
    for key in ("accuracy_p", "macro_f1_p"):
        for entry, p in zip(against, holm([entry[key] for entry in against]), strict=True):
            entry[key] = float(f"{p:.3g}")
    result[0]["against_first"] = None
    for row, entry in zip(result[1:], against, strict=True):
        row["against_first"] = entry
    return result


def _aligned(model: Model, first: Model) -> Model:
    """The model with its columns in the first one's order."""
    if sorted(model.labels) != sorted(first.labels) or model.multi_label != first.multi_label:
        raise UsageError(
            f"{model.name!r} answers {list(model.labels)}, {first.name!r} {list(first.labels)}: "
            "only models of the same labels and the same form can be compared on one split"
        )
    if model.labels == first.labels:
        return model
    order = [model.labels.index(label) for label in first.labels]
    back = np.array([*(order.index(j) for j in range(len(order))), -1])  # the last: -1 stays "no answer"

    def answer(texts: Sequence[str]) -> tuple[FloatArray, IntArray]:
        probabilities, said = model.answer(texts)
        return probabilities[:, order], said[:, order] if model.multi_label else back[said]

    def undo(texts: Sequence[str], probabilities: FloatArray) -> FloatArray:
        assert model.undo is not None
        return model.undo(texts, probabilities[:, back[:-1]])[:, order]

    known = undo if model.undo is not None else None
    return Model(model.name, first.labels, answer, model.multi_label, model.size, known)


def _row(model: Model, measured: Measured) -> dict[str, Any]:
    figures = measured.figures
    copied = ("weighted_f1", "roc_auc", "log_loss", "confidence_before", "confidence", "ece_before", "ece")
    return {
        "name": model.name,
        "n": figures["n"],
        **{
            key: value
            for name in ("accuracy", "macro_f1")
            for key, value in ((name, figures[name]), (f"{name}_interval", figures["intervals"][name]))
        },
        **{name: figures[name] for name in (*copied, "unanswered")},
        "megabytes": None if model.size is None else round(model.size / 1e6, 2),
        "ms_per_text": figures["latency_ms"]["batch"],
        "ms_single": figures["latency_ms"]["single"],
    }


def _against(first: Measured, other: Measured) -> dict[str, Any]:
    right, right_first = _right(other), _right(first)
    difference, interval, p = macro_f1_difference(first.truth, other.predicted, first.predicted, len(first.labels))
    return {
        "accuracy_difference": round(float(right.mean() - right_first.mean()), 4),
        "accuracy_p": mcnemar_exact(int((right & ~right_first).sum()), int((right_first & ~right).sum())),
        "macro_f1_difference": round(difference, 4),
        "macro_f1_difference_interval": interval,
        "macro_f1_p": p,
    }


def _right(measured: Measured) -> Any:
    same = measured.truth == measured.predicted
    return same.all(axis=1) if measured.multi_label else same


def mcnemar_exact(only_one: int, only_other: int) -> float:
    """Two-sided p value of McNemar's exact test (1947), from the rows that only the one or only the other got right.

    >>> round(mcnemar_exact(8, 1), 4)
    0.0391
    """
    from scipy.stats import binomtest

    n = only_one + only_other
    return float(binomtest(only_one, n, 0.5).pvalue) if n else 1.0


def macro_f1_difference(
    truth: IntArray, one: IntArray, other: IntArray, k: int, *, n: int = _DRAWS, seed: int = 13
) -> tuple[float, list[float], float]:
    """How much higher the macro-F1 of one model's answers is than another's on the same rows.

    Returns:
        The difference, its 95 % interval over ``n`` paired bootstrap draws, and a two-sided p value: twice the share of
        draws on the other side of 0, counting half of those at 0; at least 1 / n.
    """
    figure = partial(macro_f1, k=k)
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(truth), len(truth)) for _ in range(n))
    differences = np.array([figure(truth[rows], one[rows]) - figure(truth[rows], other[rows]) for rows in draws])
    level = np.sign(np.where(np.abs(differences) < 1e-12, 0.0, differences))
    below, above = float((level < 0).mean()), float((level > 0).mean())
    p = min(1.0, max(2 * min(below, above) + (1 - below - above), 1 / n))
    low, high = np.quantile(differences, [0.025, 0.975])
    return figure(truth, one) - figure(truth, other), [round(float(low), 4), round(float(high), 4)], p


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being several (Holm 1979), in the same order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = highest
    return corrected


def majority(labels: tuple[str, ...], prior: Sequence[float], *, multi_label: bool = False) -> Model:
    """Answers the commonest label, with the labels' shares as probabilities, whatever the text.

    Args:
        prior: Share of each label, shape (labels,).
    """
    shares = np.asarray(prior, dtype=np.float64)

    def answer(texts: Sequence[str]) -> tuple[FloatArray, IntArray]:
        probabilities = np.tile(shares, (len(texts), 1))
        return probabilities, decide(probabilities, multi_label=multi_label)

    return Model("majority", labels, answer, multi_label, size=0)


def write_comparison(folder: Path, compared: Sequence[Mapping[str, Any]]) -> None:
    """Writes comparison.json, comparison.csv and comparison.png into ``folder``: all three or none."""
    with adding_to(folder) as fresh:
        write_json(fresh / "comparison.json", list(compared))
        with (fresh / "comparison.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(flat(row) for row in compared)
        comparison_png(fresh / "comparison.png", compared)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of :func:`compare` with one plain value per column."""
    result: dict[str, Any] = {}
    for key, value in {**row, **(row["against_first"] or {})}.items():
        if key.endswith("_interval"):
            name = key.removesuffix("_interval")
            result |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        elif key != "against_first":
            result[key] = value
    return result
