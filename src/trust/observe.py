"""Runs the graph over labelled rows and keeps what it found out about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Classifier
from ..nodes.records import Label, Row, pending_rows, standing
from ..nodes.trust import features_of
from ..predictors import FloatArray
from .risk import BoolArray

_CHUNK = 1024


@dataclass(frozen=True)
class Observed:
    """What the graph came to on n rows.

    Attributes:
        answers: Final answers without regard to any budget; None where nothing could answer.
        right: Whether each is the row's label, or the whole list of its labels, shape (n,).
        confidence: As the graph gives it, shape (n,); 0 where nothing could answer.
        primary: The primary's own confidence in its own answer, shape (n,); 0 where it could not answer.
        primary_right: Whether that answer is right, shape (n,).
        features: See :func:`healdag.nodes.trust.features_of`; None for rows that no model was asked about.
        rows: Probabilities that stand; None where nothing could answer.
        reasons: Why each was doubted.
        sources: Who gave the answer: 'model', 'backup', 'emoji', or 'abstain' where nobody could.
    """

    answers: list[Label | None]
    right: BoolArray
    confidence: FloatArray
    primary: FloatArray
    primary_right: BoolArray
    features: list[dict[str, float] | None]
    rows: list[Row | None]
    reasons: list[list[str]]
    sources: list[str]


def observe(classifier: Classifier, texts: Sequence[str], truth: Sequence[Label]) -> Observed:
    """Classifies rows, and keeps more of each than a result holds.

    Args:
        classifier: Without human_review and without an error budget.
        truth: The right label of each text, or list of labels in the task's order.
    """
    decider = classifier.nodes.finalize.decider
    answers: list[Label | None] = []
    firsts: list[tuple[Label | None, float]] = []
    features: list[dict[str, float] | None] = []
    rows: list[Row | None] = []
    confidence: list[float] = []
    reasons: list[list[str]] = []
    sources: list[str] = []
    for state in _states(classifier, texts):
        pending = set(pending_rows(state))
        for i in range(len(state["clean"])):
            row, _ = standing(state, i)
            first = state["primary"][i]["probabilities"] if i in pending else row
            answers.append(None if row is None else decider.name(row)[0])
            firsts.append((None, 0.0) if first is None else decider.name(first))
            features.append(features_of(state, i, decider) if i in pending and row is not None else None)
            rows.append(row)
            confidence.append(state["trust"][i] or 0.0)
            reasons.append(state["results"][i]["reasons"])
            sources.append(state["results"][i]["source"])
    return Observed(
        answers,
        _same(answers, truth),
        np.array(confidence),
        np.array([sure for _, sure in firsts]),
        _same([label for label, _ in firsts], truth),
        features,
        rows,
        reasons,
        sources,
    )


def _states(classifier: Classifier, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The final state of each batch. Every key has one writer, so the nodes' updates together are the state."""
    for start in range(0, len(texts), _CHUNK):
        state: dict[str, Any] = {}
        batch = {"texts": list(texts[start : start + _CHUNK])}
        for update in classifier.graph.stream(batch, stream_mode="updates"):
            for written in update.values():
                state |= written or {}
        yield state


def _same(answers: Sequence[Label | None], truth: Sequence[Label]) -> BoolArray:
    return np.array([answer == label for answer, label in zip(answers, truth, strict=True)], dtype=bool)
