"""Asks a predictor for its answers and, from the same pass, for the texts as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Answers, FloatArray, Predictor, ask, is_multi_label


def ask_with_vectors(predictor: Predictor, texts: Sequence[str]) -> tuple[Answers, list[FloatArray | None]]:
    """What :func:`ask` brings back, and a vector per text; None where the predictor has none for it."""
    if not hasattr(predictor, "represent"):
        return ask(predictor, texts), [None] * len(texts)
    witness = _Witness(predictor)
    answers = ask(witness, texts)
    return answers, [witness.vectors.get(text) for text in texts]


class _Witness:
    """A predictor as it is, that keeps the vectors; however often, and of how many texts at once, it is asked."""

    def __init__(self, inner: Any) -> None:
        self.name: str = inner.name
        self.labels: tuple[str, ...] = tuple(inner.labels)
        self.version: str = inner.version
        self.multi_label = is_multi_label(inner)
        self.vectors: dict[str, FloatArray] = {}
        self._inner = inner

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        return self.examine(texts)[0]

    def examine(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        values, distances, vectors = self._inner.represent(texts)
        if vectors is not None:
            self.vectors.update(zip(texts, vectors, strict=True))
        return values, distances
