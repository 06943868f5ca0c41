"""What int8 gives up on labelled rows: agreement with torch, macro-F1, and a calibration fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifacts import Calibration, Int8Check
from ..predictors import FloatArray, decide, logits_of
from ..predictors.lora import LoraClassifier
from ..training.calibrating import recalibrated
from ..training.data import data_hash, targets, texts_of
from ..training.datasets import Example
from ..training.evaluation.calibration import fit_calibration
from ..training.evaluation.metrics import IntArray, macro_f1, probability_figures

_QUANTILE = 0.99
"""As in the limit of what is familiar: 99 % of held-out texts stay below it."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows that a model was not trained on.

    Attributes:
        data: Where they are from, in words.
        refit: Whether the calibration may be fitted on them: they are such rows as the model's was fitted on.
    """

    rows: tuple[Example, ...]
    data: str
    refit: bool = True


def measure_int8(
    reference: LoraClassifier, int8: LoraClassifier, thresholds: Sequence[float] | None, given: Rows
) -> Int8Check:
    """Holds int8 against torch, with a calibration fitted anew on the rows, or the artefact's where that one passes.

    A new calibration is what int8 should have. Fitted on rows with other shares of labels it would give other
    answers than torch's, which the gate notices; then int8 is measured with the calibration that torch has.

    Args:
        reference: Run by torch.
        int8: The same model, without a calibration.
        thresholds: See :func:`healdag.predictors.decide`.
    """
    texts, multi = texts_of(given.rows), reference.multi_label
    expected, far = reference.examine(texts)
    raw, other = int8.examine(texts)
    # A text that torch cannot answer, for it has no token, says nothing. One that int8 alone cannot is a wrong answer.
    rows = np.flatnonzero(np.isfinite(expected).all(axis=1))
    truth = targets([given.rows[i] for i in rows], reference.labels, multi_label=multi)
    expected, silent = expected[rows], np.asarray(~np.isfinite(raw[rows]).all(axis=1))
    raw = np.where(np.isfinite(raw), raw, 1.0 / raw.shape[1])[rows]
    far, other = (None if each is None else each[rows] for each in (far, other))
    fixed: dict[str, Any] = {
        "rows": len(rows),
        "data": given.data,
        "data_sha256": data_hash(given.rows),
        **_familiar(far, other),
    }
    check: Int8Check | None = None
    for calibration, refitted in _calibrations(raw, truth, reference, refit=given.refit):
        values = recalibrated(raw, calibration, multi_label=multi)
        figures = compare(expected, values, truth, thresholds, multi_label=multi, silent=silent)
        found = Int8Check(**fixed, **figures, calibration=calibration, refitted=refitted)
        if found.passed:
            return found
        check = check or found
    assert check is not None
    return check


def compare(
    expected: FloatArray,
    found: FloatArray,
    truth: IntArray,
    thresholds: Sequence[float] | None,
    *,
    multi_label: bool,
    silent: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Figures of int8's probabilities, ``found``, and of torch's, ``expected``; both of shape (n, labels).

    Args:
        silent: Rows that int8 gave no answer to, shape (n,): each is wrong, whatever ``found`` says.
    """
    said, was = (decide(values, thresholds, multi_label=multi_label) for values in (found, expected))
    if silent is not None:
        said[silent] = -1
    same = said == was
    k = found.shape[1]
    return {
        "agreement": float((same.all(axis=1) if multi_label else same).mean()),
        "macro_f1": macro_f1(truth, said, k),
        "macro_f1_torch": macro_f1(truth, was, k),
        "log_loss": probability_figures(found, truth)["log_loss"],
        "log_loss_torch": probability_figures(expected, truth)["log_loss"],
        "mean_difference": float(np.abs(found - expected).mean()),
    }


def _calibrations(
    raw: FloatArray, truth: IntArray, reference: LoraClassifier, *, refit: bool
) -> list[tuple[Calibration, bool]]:
    multi = reference.multi_label
    own = [(reference.calibration, False)]
    if not refit:
        return own
    fitted = fit_calibration(logits_of(raw, multi_label=multi), truth, multi_label=multi)
    return [(fitted.calibration, True), *own]


def _familiar(far: FloatArray | None, other: FloatArray | None) -> dict[str, Any]:
    """What is made of int8's distances from the training texts, which the rounding of hidden states makes longer."""
    if far is None or other is None:
        return {}
    scale = float(np.nanquantile(other, _QUANTILE) / np.nanquantile(far, _QUANTILE))
    return {
        "distance_scale": round(scale, 5),
        "familiar_agreement": float(((far > 1) == (other / scale > 1)).mean()),
    }
