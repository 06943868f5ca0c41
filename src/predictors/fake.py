"""A predictor that says what it is told to: for tests of whatever is built around a classifier."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from ..config import ModelSettings
from ..errors import ConfigError, PredictorError
from .base import FloatArray, Predictor, Spec

Answer: TypeAlias = str | Sequence[str] | Mapping[str, float] | None
"""A label that is certain (multi-label: a list of them, the others being out of the question); probabilities, where
labels that are not named share evenly what is left (multi-label: get 0); or None for "could not answer"."""

UNIFORM: Mapping[str, float] = MappingProxyType({})
"""Names no label, so all of them share evenly (multi-label: each is as likely as not)."""


class FakePredictor:
    """Fixed answers, no model. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        labels: Labels, in order.
        answers: Answer per text.
        default: Answer to every other text.
        fail: Raised on every call; a string becomes the message of a PredictorError.
        delay: Seconds that every call takes.
        multi_label: Whether a text can have several labels, or none; the rows then have any sum.

    Attributes:
        calls: The batches it was asked, in order.

    Raises:
        ConfigError: an answer names a label that is not there, or its numbers are no probabilities.

    >>> fake = FakePredictor(("joy", "anger", "neutral"), answers={"hooray": "joy", "hm": {"anger": 0.5}})
    >>> fake.predict_proba(["hooray", "hm"]).tolist()
    [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]]
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        answers: Mapping[str, Answer] | None = None,
        default: Answer = UNIFORM,
        fail: Exception | str | None = None,
        delay: float = 0.0,
        name: str = "fake",
        version: str = "fake/1",
        multi_label: bool = False,
    ) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.version = version
        self.multi_label = multi_label
        self.calls: list[list[str]] = []
        self._rows = {text: self._row(answer) for text, answer in (answers or {}).items()}
        self._default = self._row(default)
        self._fail = PredictorError(fail) if isinstance(fail, str) else fail
        self._delay = delay

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """The fixed answers, of shape (len(texts), len(labels)); each row sums to 1, or is NaN for the answer None."""
        self.calls.append(list(texts))
        if self._delay:
            time.sleep(self._delay)
        if self._fail is not None:
            raise self._fail
        rows = [self._rows.get(text, self._default) for text in texts]
        return np.array(rows, dtype=np.float64).reshape(len(texts), len(self.labels))

    def _row(self, answer: Answer) -> FloatArray:
        if answer is None:
            return np.full(len(self.labels), np.nan)
        if isinstance(answer, Mapping):
            given = dict(answer)
        else:
            given = dict.fromkeys([answer] if isinstance(answer, str) else answer, 1.0)
        unknown = [label for label in given if label not in self.labels]
        if unknown:
            raise ConfigError(f"the answer {answer!r} names {unknown}; the labels are {list(self.labels)}")
        if self.multi_label:
            if not all(0 <= p <= 1 for p in given.values()):
                raise ConfigError(f"the answer {answer!r} holds no probabilities from 0 to 1")
            unnamed_too = 0.5 if answer is UNIFORM or answer == {} else 0.0
            return np.array([given.get(label, unnamed_too) for label in self.labels])
        left = 1.0 - sum(given.values())
        unnamed = len(self.labels) - len(given)
        if not all(p >= 0 for p in given.values()) or left < -1e-9 or (unnamed == 0 and left > 1e-9):
            raise ConfigError(f"the answer {answer!r} holds no probabilities that sum to 1")
        share = max(left, 0.0) / unnamed if unnamed else 0.0
        return np.array([given.get(label, share) for label in self.labels])


def load(spec: Spec) -> Predictor:
    """Makes a :class:`FakePredictor` from ``spec.options``, which are its keyword arguments.

    Raises:
        ConfigError: an option is unknown, or an answer is not possible.
    """
    allowed = ("answers", "default", "fail", "delay", "name", "version", "multi_label")
    unknown = sorted(spec.options.keys() - {*allowed, *ModelSettings.model_fields})
    if unknown:
        raise ConfigError(f"options of a predictor of kind 'fake': unknown {unknown}; allowed: {', '.join(allowed)}")
    options = {key: spec.options[key] for key in allowed if key in spec.options}
    return FakePredictor(spec.labels, **{"multi_label": spec.multi_label, **options})
