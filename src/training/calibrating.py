"""Fits a model's calibration and thresholds on the validation split and measures it there and on the test split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Calibration, Manifest, Policy
from ..predictors import FloatArray, Spec, calibrate, decide, load_predictor, logits_of
from .artifact_writer import write_json
from .data import targets, texts_of
from .datasets import Example
from .ensembles.list_confidence import fit_list_confidence
from .evaluation.calibration import Fitted, fit_calibration
from .evaluation.measure import write_metrics_csv
from .evaluation.metrics import IntArray, evaluate, fit_thresholds
from .evaluation.plots import Reliability, confusion_matrix_png, reliability_png
from .tasks import Task

CALIBRATION, RELIABILITY = "calibration.json", "reliability.png"

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Calibrated:
    """What :func:`calibrate_and_measure` found.

    Attributes:
        manifest: With the calibration.
        policy: With the thresholds.
        figures: For metrics.json: of the validation split before and (cross-validated) after, and of the test split.
        fitted: The calibration, with what it was compared to.
    """

    manifest: Manifest
    policy: Policy
    figures: dict[str, Any]
    fitted: Fitted


def calibrate_and_measure(
    folder: Path,
    manifest: Manifest,
    task: Task,
    validation: Sequence[Example],
    test: Sequence[Example],
    *,
    pictures: bool = True,
) -> Calibrated:
    """Fits calibration and thresholds on ``validation``; figures are those of the model as it is written in ``folder``.

    Args:
        folder: With the model and its manifest in place.
        manifest: What is in it.
        test: May be empty.
        pictures: Whether confusion_matrix.png and reliability.png are drawn.
    """
    multi, labels = task.multi_label, task.labels
    predictor: Any = load_predictor(manifest.kind, Spec(labels, folder))
    truth = targets(validation, labels, multi_label=multi)
    raw = predictor.uncalibrated(texts_of(validation))
    fitted = fit_calibration(logits_of(raw, multi_label=multi), truth, multi_label=multi)
    values = recalibrated(raw, fitted.calibration, multi_label=multi)
    policy = thresholds_of(values, truth, task)
    figures = {
        "validation_uncalibrated": evaluate(raw, truth, labels, multi_label=multi),
        "validation": evaluate(fitted.crossed, truth, labels, policy.thresholds, multi_label=multi),
    }
    right = truth
    if test:
        right = targets(test, labels, multi_label=multi)
        values = recalibrated(predictor.uncalibrated(texts_of(test)), fitted.calibration, multi_label=multi)
        figures["test"] = evaluate(values, right, labels, policy.thresholds, multi_label=multi)
        log.info("test: %s", {key: figures["test"][key] for key in ("accuracy", "macro_f1", "ece")})
    if pictures:
        said = decide(values, policy.thresholds, multi_label=multi)
        confusion_matrix_png(folder / "confusion_matrix.png", right, said, labels, multi_label=multi)
        reliability_png(folder / RELIABILITY, [Reliability(manifest.task, truth, raw, fitted.crossed)])
    made = manifest.model_copy(update={"calibration": fitted.calibration})
    return Calibrated(made, policy, figures, fitted)


def recalibrated(raw: FloatArray, calibration: Calibration, *, multi_label: bool) -> FloatArray:
    """Calibrated probabilities from uncalibrated ones, shape (n, labels)."""
    return calibrate(logits_of(raw, multi_label=multi_label), calibration, multi_label=multi_label)


def thresholds_of(probabilities: FloatArray, truth: IntArray, task: Task) -> Policy:
    """The thresholds that the task's decision calls for, and for lists of labels how sure they are."""
    multi = task.multi_label
    thresholds = fit_thresholds(probabilities, truth, task.decision, multi_label=multi)
    pair = fit_list_confidence(probabilities, truth, thresholds) if multi else None
    return Policy(thresholds=thresholds, set_calibration=pair)


def write_figures(folder: Path, labels: Sequence[str], figures: dict[str, Any], report: dict[str, Any]) -> None:
    """Writes labels.json, calibration.json, metrics.json and metrics.csv.

    Args:
        report: Of the calibration, see :class:`.evaluation.calibration.Fitted`.
    """
    write_json(folder / "labels.json", list(labels))
    write_json(folder / CALIBRATION, report)
    write_json(folder / "metrics.json", figures)
    write_metrics_csv(folder / "metrics.csv", figures)
