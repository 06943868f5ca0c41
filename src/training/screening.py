"""Fits the screen that tells from a classifier's own pass which texts the sarcasm detector need not be asked about."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..artifacts import MANIFEST, read_manifest, sha256
from ..predictors import SCREEN, FloatArray, Screen, Spec, every_layer, load_predictor, logits_of
from ..predictors.lora import LoraClassifier
from .data import texts_of
from .datasets import Example

MOST_MISSED = 0.15
"""Share of what the detector flags that the screen may miss on held-out texts. Of GoEmotions' those are mostly texts of
which the detector is least sure; of those that it gives 0.7 or more, 3 % are missed."""
MOST_ASKED = 0.5
"""Share of held-out texts about which the detector is still asked, above which a screen is not worth having."""
LEAST_FLAGGED = 50
"""Flagged held-out texts below which nobody could say what a screen misses."""
FLAGGED_FROM = 0.5
MOST_ROWS = 60_000
_RIDGE = 30.0
_BOUNDS = -4.0, 3.0
"""Of the detector's log-odds as they are fitted: how certain it is of what is beyond does not matter."""
_SUSPECT_WEIGHT = 5.0
"""What a certainly sarcastic text counts for, beyond what any text does: they are few."""

log = logging.getLogger("healdag")


def write_screen(
    folder: Path, detector: Path, rows: Sequence[Example], held_out: Sequence[Example], seed: int
) -> str | None:
    """Fits and writes the screen of an adapter; returns the file's name, or None where none is worth having.

    Args:
        folder: The artefact; its manifest has to vouch for the file yet.
        detector: Artefact of the sarcasm detector.
        rows: Texts of the task, whose labels are not looked at.
        held_out: Others of the same kind, to choose the threshold on.
    """
    own, other = read_manifest(folder), read_manifest(detector)
    model, judge = (
        load_predictor(manifest.kind, Spec(manifest.labels, place, multi_label=manifest.multi_label))
        for manifest, place in ((own, folder), (other, detector))
    )
    if not isinstance(model, LoraClassifier) or not rows or not held_out:
        return None
    chosen = np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]
    texts, others = [rows[i].text for i in chosen], texts_of(held_out)
    layers = every_layer(model.layers)
    column = other.labels.index("sarcastic")
    found = fit_screen(
        layers,
        (model.hidden(texts, *layers), judge.predict_proba(texts)[:, column]),
        (model.hidden(others, *layers), judge.predict_proba(others)[:, column]),
        sha256(detector / MANIFEST),
    )
    if found is None:
        return None
    found.save(folder)
    return SCREEN


def fit_screen(
    layers: tuple[int, ...],
    training: tuple[FloatArray, FloatArray],
    held_out: tuple[FloatArray, FloatArray],
    detector: str,
) -> Screen | None:
    """Ridge regression on the detector's log-odds, and the threshold that misses ``MOST_MISSED`` of what it flags.

    Args:
        layers: Whose hidden states are given.
        training: States of texts, shape (n, len(layers) * d), and the detector's probabilities of them, shape (n,).
        held_out: The same of others.
        detector: See :class:`healdag.predictors.Screen`.

    Returns:
        None where too few texts are flagged to say what is missed, or where most would have to be asked about.
    """
    from sklearn.linear_model import Ridge

    (states, said), (other_states, other_said) = (_answered(*pair) for pair in (training, held_out))
    flagged = other_said >= FLAGGED_FROM
    if flagged.sum() < LEAST_FLAGGED or not len(said):
        log.info("no screen for sarcasm: the detector flags %d of %d held-out texts", flagged.sum(), len(flagged))
        return None
    mean, spread = states.mean(axis=0), states.std(axis=0) + 1e-6
    odds = np.clip(logits_of(said, multi_label=True), *_BOUNDS)
    fitted = Ridge(alpha=_RIDGE).fit((states - mean) / spread, odds, sample_weight=1 + _SUSPECT_WEIGHT * said)
    weights = np.asarray(fitted.coef_) / spread
    offset = float(fitted.intercept_ - mean @ weights)
    found = Screen(layers, weights, offset, 0.0, detector, FLAGGED_FROM, len(flagged), 0.0, 0.0)
    suspicion = found.suspicion(other_states)
    # Below what the detector flags from, so that no text is called sarcastic by the screen alone.
    threshold = min(float(np.quantile(suspicion[flagged], MOST_MISSED, method="lower")), FLAGGED_FROM)
    asked, missed = float((suspicion >= threshold).mean()), float((suspicion[flagged] < threshold).mean())
    log.info("the detector of sarcasm is asked about %.1f %% of texts, and misses %.1f %%", 100 * asked, 100 * missed)
    if asked > MOST_ASKED:
        return None
    return Screen(layers, weights, offset, threshold, detector, FLAGGED_FROM, len(flagged), asked, missed)


def _answered(states: FloatArray, said: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Without the texts that a model cannot answer."""
    known = np.isfinite(said) & np.isfinite(states).all(axis=1)
    return states[known], said[known]
