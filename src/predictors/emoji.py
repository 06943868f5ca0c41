"""Emoji-only texts: the mean of each emoji's weighted distribution over the labels, from a data file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from ..artifacts import UNCALIBRATED, Calibration
from ..emojis import emoji_key, emoji_words, load_data
from ..text import prepare
from .base import FloatArray, Predictor, Spec, calibrate, logits_of


@cache
def lexicon_labels() -> tuple[str, ...]:
    """The labels that the lexicon speaks about."""
    return tuple(load_data("emoji_emotions")["labels"])


class EmojiLexicon:
    """Probabilities for texts by their emoji alone. See :class:`~healdag.predictors.base.Predictor`.

    An emoji that the lexicon does not hold is read by the words of its CLDR name; if those say nothing, it counts
    as ``neutral``. A text without emoji gets a row of NaN.

    Args:
        calibration: By default none: not one of the 68,456 labelled texts of the task 'emotion' is emoji alone, so
            there is nothing to fit it on.
    """

    def __init__(
        self, labels: tuple[str, ...], *, name: str = "emoji", calibration: Calibration = UNCALIBRATED
    ) -> None:
        self.name = name
        self.labels = labels
        self.version = "emoji/1"
        self._calibration = calibration
        self._table = {emoji_key(e): _row(d, labels) for e, d in load_data("emoji_emotions")["emoji"].items()}
        self._words = {word: _row(d, labels) for word, d in load_data("emoji_words")["words"].items()}

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (len(texts), len(labels)); each row sums to 1, or is NaN without emoji."""
        result: FloatArray = np.full((len(texts), len(self.labels)), np.nan)
        for i, text in enumerate(texts):
            # An emoji said three times counts once: repeating is emphasis, not more evidence.
            distinct = dict.fromkeys(emoji_key(sequence) for sequence in prepare(text).emojis)
            if distinct:
                result[i] = np.mean([self.distribution(key) for key in distinct], axis=0)
        if self._calibration == UNCALIBRATED:
            return result  # labels that the lexicon rules out stay at 0
        return calibrate(logits_of(result), self._calibration)

    def distribution(self, sequence: str) -> FloatArray:
        """One emoji's probability per label, of shape (len(labels),)."""
        known = self._table.get(emoji_key(sequence))
        if known is not None:
            return known
        rows = [self._words[word] for word in emoji_words(sequence).lower().split() if word in self._words]
        return np.mean(rows, axis=0) if rows else _row({"neutral": 1.0}, self.labels)


def _row(distribution: dict[str, float], labels: tuple[str, ...]) -> FloatArray:
    row = np.array([distribution.get(label, 0.0) for label in labels])
    total = row.sum()
    return row / total if total > 0 else np.full(len(labels), 1 / len(labels))


def load(spec: Spec) -> Predictor:
    """Makes the lexicon for ``spec.labels``; labels that it does not speak about get probability 0."""
    return EmojiLexicon(spec.labels, calibration=Calibration(temperature=float(spec.options.get("temperature", 1.0))))
