"""Measures a model on labelled rows: figures with intervals, slices, latency; as JSON, CSV and picture."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...artifacts import Calibration
from ...errors import UsageError
from ...predictors import FloatArray, Predictor, calibrate, decide, logits_of
from ...text import clean_text
from ..datasets import Example
from .metrics import (
    IntArray,
    accuracy,
    bootstrap_interval,
    evaluate,
    expected_calibration_error,
    macro_f1,
    one_hot,
    precision_recall_f1,
    weighted_f1,
)
from .slices import raw_text, slices_of

Answer: TypeAlias = Callable[[Sequence[str]], tuple[FloatArray, IntArray]]
"""Texts to probabilities (n, labels), a row of NaN where there is no answer, and to what is answered (n,) or
(n, labels), -1 or 0 there."""
Undo: TypeAlias = Callable[[Sequence[str], FloatArray], FloatArray]
"""Texts, and a model's probabilities of them, to the probabilities before calibration; both of shape (n, labels)."""

_LATENCY_TEXTS, _LATENCY_SECONDS = 50, 2.0
_CHUNK = 2048
CSV_COLUMNS = ("split", "label", "metric", "value")


@dataclass(frozen=True)
class Model:
    """Something that answers, with what is known about it.

    Attributes:
        name: As it is shown.
        labels: Label of each column.
        answer: See :data:`Answer`.
        size: Bytes of its files; None where it has none.
        undo: For the figures before calibration; None where it is not known.
    """

    name: str
    labels: tuple[str, ...]
    answer: Answer
    multi_label: bool = False
    size: int | None = None
    undo: Undo | None = None


@dataclass(frozen=True)
class Answered:
    """What a model answered to rows that it has been asked about already; see :data:`Answer`.

    Attributes:
        ms: Milliseconds per row.
    """

    probabilities: FloatArray
    predicted: IntArray
    ms: float


@dataclass(frozen=True)
class Measured:
    """A model's answers to the rows of a split, and the figures made from them.

    Attributes:
        truth: Column of the right label, shape (n,); multi-label: 0 or 1, shape (n, labels).
        predicted: The same for what was answered; -1 (multi-label: no label) where there is no answer.
        probabilities: Shape (n, labels); a row without an answer holds the same probability for each label.
        figures: See :func:`measure`.
    """

    labels: tuple[str, ...]
    multi_label: bool
    truth: IntArray
    predicted: IntArray
    probabilities: FloatArray
    figures: dict[str, Any]


def of_predictor(
    predictor: Predictor,
    thresholds: Sequence[float] | None = None,
    *,
    multi_label: bool = False,
    size: int | None = None,
    calibration: Calibration | None = None,
) -> Model:
    """A predictor as a model: it answers what :func:`healdag.predictors.decide` makes of its probabilities.

    Args:
        calibration: What its artefact says; None for a predictor without one.
    """

    def answer(texts: Sequence[str]) -> tuple[FloatArray, IntArray]:
        cleaned = [clean_text(text) for text in texts]
        probabilities: FloatArray = np.asarray(predictor.predict_proba(cleaned), dtype=np.float64)
        said = decide(np.nan_to_num(probabilities), thresholds, multi_label=multi_label)
        said[np.isnan(probabilities).any(axis=1)] = 0 if multi_label else -1
        return probabilities, said

    def undo(texts: Sequence[str], probabilities: FloatArray) -> FloatArray:
        assert calibration is not None
        if calibration.method == "temperature":  # at no cost; the others have to be asked once more
            return without_temperature(probabilities, calibration, multi_label=multi_label)
        return np.asarray(predictor.uncalibrated([clean_text(text) for text in texts]))  # type: ignore[attr-defined]

    name, labels = predictor.name, tuple(predictor.labels)
    return Model(name, labels, answer, multi_label, size, undo if calibration is not None else None)


def evaluate_model(
    model: Model | Predictor,
    rows: Sequence[Example],
    *,
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    detector: Predictor | None = None,
) -> dict[str, Any]:
    """The figures of :func:`measure`, for a model or a predictor of your own.

    Args:
        thresholds: For a predictor: see :func:`healdag.predictors.decide`.
        multi_label: For a predictor: whether a text can have several labels, or none.
    """
    if not isinstance(model, Model):
        model = of_predictor(model, thresholds, multi_label=multi_label)
    return measure(model, rows, detector=detector).figures


def measure(
    model: Model, rows: Sequence[Example], *, detector: Predictor | None = None, answered: Answered | None = None
) -> Measured:
    """Asks a model for every row and measures its answers.

    The figures are those of :func:`.metrics.evaluate`, and ``intervals`` (95 %, for accuracy, macro-F1
    and weighted F1), ``confidence`` (mean), ``ece_before`` and ``confidence_before`` (calibration undone; None where it
    is not known), ``unanswered`` (rows without an answer, counted as wrong), ``slices`` and ``latency_ms``.

    Args:
        rows: Labelled rows; every label is one of the model's.
        detector: A predictor with the label 'sarcastic' that tells sarcastic rows where the data does not.
        answered: What the model said to the rows as they were written, see :func:`.slices.raw_text`; by default it is
            asked.

    Raises:
        UsageError: there is no row, or one has a label that the model does not know.
    """
    truth = truth_of(rows, model.labels, multi_label=model.multi_label)
    texts = [raw_text(row) for row in rows]
    given = _ask(model, texts) if answered is None else answered
    probabilities, predicted = given.probabilities.copy(), given.predicted
    silent = np.asarray(np.isnan(probabilities).any(axis=1))
    probabilities[silent] = 0.5 if model.multi_label else 1 / len(model.labels)
    figures = evaluate(probabilities, truth, model.labels, multi_label=model.multi_label, predicted=predicted)
    per_class = figures.pop("per_class")
    figures |= {
        "intervals": intervals(truth, predicted, len(model.labels)),
        **_confidence(model, texts, probabilities, silent, truth),
        "unanswered": int(silent.sum()),
        "latency_ms": {"single": _single_latency(model, texts), "batch": round(given.ms, 3)},
        "per_class": per_class,
        "slices": _slices(rows, truth, predicted, probabilities, model.multi_label, detector),
    }
    return Measured(model.labels, model.multi_label, truth, predicted, probabilities, figures)


def _ask(model: Model, texts: Sequence[str]) -> Answered:
    model.answer(texts[:1])  # what is loaded at the first call is not to count
    start = time.perf_counter()
    answered = [model.answer(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK)]
    ms = (time.perf_counter() - start) * 1000 / len(texts)
    return Answered(np.concatenate([p for p, _ in answered]), np.concatenate([said for _, said in answered]), ms)


def truth_of(rows: Sequence[Example], labels: Sequence[str], *, multi_label: bool) -> IntArray:
    """Column of each row's label, shape (n,); multi-label: 0 or 1, shape (n, labels).

    Raises:
        UsageError: there is no row, a label that is not among ``labels``, or not exactly one in a single-label task.
    """
    if not rows:
        raise UsageError("there is no row to measure; give a split with at least one labelled text")
    place = {label: i for i, label in enumerate(labels)}
    unknown = sorted({label for row in rows for label in row.labels} - place.keys())
    if unknown:
        raise UsageError(
            f"the rows have labels that the model does not know: {unknown[:10]}; it knows {list(labels)}. "
            "Rename them in the task file (rename = {...}), or leave those rows out"
        )
    if not multi_label:
        several = next((row for row in rows if len(row.labels) != 1), None)
        if several is not None:
            raise UsageError(f"a row has the labels {list(several.labels)}, the model gives one: {several.text[:60]!r}")
        return np.array([place[row.label] for row in rows], dtype=np.int64)
    truth = np.zeros((len(rows), len(labels)), dtype=np.int64)
    for i, row in enumerate(rows):
        truth[i, [place[label] for label in row.labels]] = 1
    return truth


def intervals(truth: IntArray, predicted: IntArray, k: int) -> dict[str, list[float]]:
    """95 % bootstrap intervals for accuracy, macro-F1 and weighted F1."""
    figures: dict[str, Callable[[IntArray, IntArray], float]] = {
        "accuracy": accuracy,
        "macro_f1": partial(macro_f1, k=k),
        "weighted_f1": partial(weighted_f1, k=k),
    }
    return {name: list(bootstrap_interval(figure, truth, predicted)) for name, figure in figures.items()}


def _confidence(
    model: Model, texts: Sequence[str], probabilities: FloatArray, silent: npt.NDArray[np.bool_], truth: IntArray
) -> dict[str, float | None]:
    """Mean confidence now and before calibration; multi-label: of the decision about each label."""
    result: dict[str, float | None] = {"confidence": _mean_confidence(probabilities, model.multi_label)}
    result |= {"confidence_before": None, "ece_before": None}
    if model.undo is not None:
        before = model.undo(texts, probabilities)
        before[silent] = probabilities[silent]
        result["confidence_before"] = _mean_confidence(before, model.multi_label)
        error = expected_calibration_error(before, truth, multi_label=model.multi_label)
        result["ece_before"] = round(error, 4)
    return result


def _mean_confidence(probabilities: FloatArray, multi_label: bool) -> float:
    sure = np.maximum(probabilities, 1 - probabilities) if multi_label else probabilities.max(axis=1)
    return round(float(sure.mean()), 4)


def without_temperature(probabilities: FloatArray, calibration: Calibration, *, multi_label: bool) -> FloatArray:
    """The probabilities that a model gave before temperature scaling.

    Exact but for rounding, and for texts longer than the model reads at once, whose windows were averaged afterwards.
    """
    logits = logits_of(probabilities, multi_label=multi_label)
    bias = np.asarray(calibration.bias) if calibration.bias else 0.0
    return calibrate((logits - bias) * calibration.temperature, multi_label=multi_label)


def _single_latency(model: Model, texts: Sequence[str]) -> float:
    """Median milliseconds for one text alone, over up to 50 texts or two seconds."""
    spent: list[float] = []
    for text in texts[:: max(1, len(texts) // _LATENCY_TEXTS)][:_LATENCY_TEXTS]:
        start = time.perf_counter()
        model.answer([text])
        spent.append(time.perf_counter() - start)
        if sum(spent) > _LATENCY_SECONDS:
            break
    return round(float(np.median(spent)) * 1000, 3)


def _slices(
    rows: Sequence[Example],
    truth: IntArray,
    predicted: IntArray,
    probabilities: FloatArray,
    multi_label: bool,
    detector: Predictor | None,
) -> dict[str, dict[str, float]]:
    """Figures per part of the rows; a part without rows is left out."""
    k = probabilities.shape[1]
    result = {}
    for name, chosen in slices_of(rows, detector).items():
        if not chosen.any():
            continue
        right, said = truth[chosen], predicted[chosen]
        there = (right if multi_label else one_hot(right, k)).any(axis=0)
        f1 = precision_recall_f1(right, said, k)[2]
        error = expected_calibration_error(probabilities[chosen], right, multi_label=multi_label)
        result[name] = {
            "n": int(chosen.sum()),
            "accuracy": round(accuracy(right, said), 4),
            # Only the labels that the part holds: the others cannot be got right there.
            "macro_f1": round(float(f1[there].mean()), 4) if there.any() else 0.0,
            "ece": round(error, 4),
        }
    return result


def metric_rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Figures in long form: split, label ("" for all), metric, value (None where it is not defined).

    Args:
        figures: What ``metrics.json`` holds: figures per split, such as {"test": {"accuracy": 0.7, "per_class": ...}}.
            A part of a split is a split of its own, such as "test, emoji: yes".
    """
    for split, content in figures.items():
        if isinstance(content, Mapping):
            yield from _split_rows(split, content)
        elif _is_figure(content):
            yield "", "", split, content


def _split_rows(split: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for metric, value in figures.items():
        if metric == "per_class":
            for label, values in value.items():
                yield from ((split, label, name, figure) for name, figure in values.items())
        elif metric == "slices":
            for name, values in value.items():
                yield from _split_rows(f"{split}, {name}", values)
        elif metric == "intervals":
            for name, (low, high) in value.items():
                yield from ((split, "", f"{name}_low", low), (split, "", f"{name}_high", high))
        elif isinstance(value, Mapping):
            yield from ((split, "", f"{metric}_{name}", figure) for name, figure in value.items() if _is_figure(figure))
        elif _is_figure(value):
            yield split, "", metric, value


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def write_metrics_csv(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes figures as a table of :func:`metric_rows`; an empty value is one that is not defined."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(metric_rows(figures))


@contextmanager
def adding_to(folder: Path) -> Iterator[Path]:
    """A fresh folder whose files move into ``folder`` when the block ends without an error; the others there stay.

    Raises:
        UsageError: ``folder`` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is a file; give a folder to write into")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as fresh:
        yield Path(fresh)
        for path in sorted(Path(fresh).iterdir()):
            path.replace(folder / path.name)
