"""Asks a predictor for its answers and, from the same pass, for what else it sees in the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Answers, FloatArray, Predictor, ask, is_multi_label


@dataclass(frozen=True)
class Observed:
    """What one pass over n texts brings.

    Attributes:
        probabilities: Shape (n, labels), as ``predict_proba`` gives them.
        distances: From the training texts, shape (n,); None where the predictor does not know those.
        vectors: The texts as vectors, shape (n, d): near twins have nearly the same direction. None where there are
            none, or none were asked for.
        suspicions: Probability, as far as this pass shows it, that a sarcasm detector finds each text sarcastic, shape
            (n,); see :class:`healdag.predictors.Screen`. None where the predictor does not tell.
    """

    probabilities: FloatArray
    distances: FloatArray | None = None
    vectors: FloatArray | None = None
    suspicions: FloatArray | None = None


@dataclass(frozen=True)
class Seen:
    """:class:`Observed`, text by text; None for what there is not.

    Attributes:
        answers: As :func:`ask` gives them.
    """

    answers: Answers
    vectors: list[FloatArray | None]
    suspicions: list[float | None]


def observe(predictor: Predictor, texts: Sequence[str], *, vectors: bool = False) -> Seen:
    """What :func:`ask` brings back, and from the same pass what the predictor's ``observe`` does.

    Args:
        vectors: Whether the texts' vectors are wanted.
    """
    if not hasattr(predictor, "observe"):
        return Seen(ask(predictor, texts), [None] * len(texts), [None] * len(texts))
    witness = _Witness(predictor, vectors=vectors)
    answers = ask(witness, texts)
    return Seen(
        answers, [witness.vectors.get(text) for text in texts], [witness.suspicions.get(text) for text in texts]
    )


class _Witness:
    """A predictor as it is, that keeps what it saw; however often, and of how many texts at once, it is asked."""

    def __init__(self, inner: Any, *, vectors: bool) -> None:
        self.name: str = inner.name
        self.labels: tuple[str, ...] = tuple(inner.labels)
        self.version: str = inner.version
        self.multi_label = is_multi_label(inner)
        self.vectors: dict[str, FloatArray] = {}
        self.suspicions: dict[str, float] = {}
        self._inner = inner
        self._wants_vectors = vectors

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        return self.examine(texts)[0]

    def examine(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        seen: Observed = self._inner.observe(texts, vectors=self._wants_vectors)
        if seen.vectors is not None:
            self.vectors.update(zip(texts, seen.vectors, strict=True))
        if seen.suspicions is not None:
            known = np.isfinite(seen.suspicions)
            pairs = zip(texts, seen.suspicions.tolist(), known, strict=True)
            self.suspicions.update((text, value) for text, value, ok in pairs if ok)
        return seen.probabilities, seen.distances
