"""Runs the graph over labelled rows and keeps what it found out about each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..artifacts import Manifest
from ..errors import InputError
from ..graph import Classifier
from ..graph.build import build_graph
from ..graph.learning import forgetful
from ..nodes import Backup
from ..nodes.records import Label, Row, pending_rows, standing
from ..nodes.trust import features_of
from ..predictors import FloatArray
from ..text import check_text
from ..training.datasets import Example
from ..training.evaluation.measure import truth_of
from ..training.evaluation.metrics import IntArray
from ..training.evaluation.slices import raw_text
from .risk import BoolArray

_CHUNK = 1024


@dataclass(frozen=True)
class Tried:
    """A backup that was asked about a row.

    Attributes:
        by: Its name.
        ms: Milliseconds that it spent on this text.
        failed: Whether it could not answer.
        right: Whether its own answer is right.
        took: Whether its answer replaced the one that stood.
        stands: Whether the answer that stands after it is right.
    """

    by: str
    ms: float
    failed: bool
    right: bool
    took: bool
    stands: bool


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
        primary_answers: The primary's own answers, or the emoji lexicon's; None where it could not answer.
        tried: The backups that were asked about each row, in order.
        primary_ms: Milliseconds that the primary spent on each row; None where it was not asked.
        node_ms: Milliseconds that each node of the graph took for all rows together.
        sarcasm: Probability that each is sarcastic; None where it was not looked for.
        unfamiliar: Distance of each from the training texts, 1 at the limit; None where it is not known.
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
    primary_answers: list[Label | None] = field(default_factory=list)
    tried: list[list[Tried]] = field(default_factory=list)
    primary_ms: list[float | None] = field(default_factory=list)
    node_ms: Mapping[str, float] = field(default_factory=dict)
    sarcasm: list[float | None] = field(default_factory=list)
    unfamiliar: list[float | None] = field(default_factory=list)


def right_answers(rows: Sequence[Example], task: Manifest | Classifier) -> list[Label]:
    """The right label of each row, or multi-label the list of its labels in the task's order."""
    if task.multi_label:
        return [[label for label in task.labels if label in row.labels] for row in rows]
    return [row.label for row in rows]


def observe_rows(classifier: Classifier, rows: Sequence[Example]) -> Observed:
    """:func:`observe` on labelled rows as they were written, emoji and all.

    Raises:
        UsageError: there is no row, or one has a label that the classifier does not know.
    """
    truth_of(rows, classifier.labels, multi_label=classifier.multi_label)  # says what is wrong with them
    texts, truth = [raw_text(row) for row in rows], right_answers(rows, classifier)
    observe(classifier, texts[:1], truth[:1])  # what is loaded at the first call is not to count
    return observe(classifier, texts, truth)


def observe(classifier: Classifier, texts: Sequence[str], truth: Sequence[Label]) -> Observed:
    """Classifies rows, and keeps more of each than a result holds.

    Args:
        classifier: Without human_review and without an error budget. What people have corrected is left aside: it
            says nothing of other texts; see :func:`healdag.trust.steps.score_memory`.
        truth: The right label of each text, or list of labels in the task's order.
    """
    decider, backup = classifier.nodes.finalize.decider, classifier.nodes.backup
    readable, good = _readable(texts, classifier.nodes.preprocess.max_chars)
    node_ms: dict[str, float] = {}
    answers: list[Label | None] = [None] * len(texts)
    firsts: list[tuple[Label | None, float]] = [(None, 0.0)] * len(texts)
    features: list[dict[str, float] | None] = [None] * len(texts)
    rows: list[Row | None] = [None] * len(texts)
    confidence = np.zeros(len(texts))
    reasons: list[list[str]] = [[] for _ in texts]
    sources = ["abstain"] * len(texts)
    tried: list[list[Tried]] = [[] for _ in texts]
    primary_ms: list[float | None] = [None] * len(texts)
    sarcasm: list[float | None] = [None] * len(texts)
    unfamiliar: list[float | None] = [None] * len(texts)
    places = iter(readable)
    for state in _states(classifier, good, node_ms):
        pending = set(pending_rows(state))
        for i in range(len(state["clean"])):
            place = next(places)
            row, _ = standing(state, i)
            first = state["primary"][i]["probabilities"] if i in pending else row
            answers[place] = None if row is None else decider.name(row)[0]
            firsts[place] = (None, 0.0) if first is None else decider.name(first)
            features[place] = features_of(state, i, decider) if i in pending and row is not None else None
            rows[place] = row
            confidence[place] = state["trust"][i] or 0.0
            reasons[place] = state["results"][i]["reasons"]
            sources[place] = state["results"][i]["source"]
            sarcasm[place], unfamiliar[place] = (state["results"][i][key] for key in ("sarcasm", "unfamiliar"))
            if i in pending:
                primary_ms[place] = state["primary"][i]["ms"]
                tried[place] = list(_tried(backup, state, i, truth[place]))
    return Observed(
        answers,
        _same(answers, truth),
        confidence,
        np.array([sure for _, sure in firsts]),
        _same([label for label, _ in firsts], truth),
        features,
        rows,
        reasons,
        sources,
        [label for label, _ in firsts],
        tried,
        primary_ms,
        node_ms,
        sarcasm,
        unfamiliar,
    )


def answer_columns(answers: Sequence[Label | None], labels: Sequence[str], *, multi_label: bool) -> IntArray:
    """Answers as columns: shape (n,), -1 for None; multi-label 0 or 1, shape (n, labels), all 0 for None."""
    place = {label: i for i, label in enumerate(labels)}
    if not multi_label:
        return np.array([place[answer] if isinstance(answer, str) else -1 for answer in answers], dtype=np.int64)
    said = np.zeros((len(answers), len(labels)), dtype=np.int64)
    for i, answer in enumerate(answers):
        said[i, [place[label] for label in answer or ()]] = 1
    return said


def _readable(texts: Sequence[str], max_chars: int) -> tuple[list[int], list[str]]:
    """Places and texts of those that the graph takes; an empty or too long one gets no answer, as in classify_many."""
    places, good = [], []
    for i, text in enumerate(texts):
        try:
            good.append(check_text(text, max_chars=max_chars))
        except InputError:
            continue
        places.append(i)
    return places, good


def _states(classifier: Classifier, texts: Sequence[str], node_ms: dict[str, float]) -> Iterator[dict[str, Any]]:
    """The final state of each batch. Every key has one writer, so the nodes' updates together are the state.

    Args:
        node_ms: Milliseconds are added to it by node; the nodes run one after another, so the time between two
            updates is that of the second one's node.
    """
    graph = classifier.graph
    if len(classifier.nodes.memory.corrections):
        graph = build_graph(forgetful(classifier.nodes)).compile()
    for start in range(0, len(texts), _CHUNK):
        state: dict[str, Any] = {}
        batch = {"texts": list(texts[start : start + _CHUNK])}
        last = time.perf_counter()
        for update in graph.stream(batch, stream_mode="updates"):
            now = time.perf_counter()
            for node, written in update.items():
                node_ms[node] = node_ms.get(node, 0.0) + (now - last) * 1000
                state |= written or {}
            last = now
        yield state


def _tried(backup: Backup, state: Any, i: int, truth: Label) -> Iterator[Tried]:
    """What each rung did to a row, by the ladder's own rules."""
    backups = state.get("backup")
    outcome = backups[i] if backups else None
    first = state["primary"][i]["probabilities"]
    right = first is not None and backup.decider.name(first)[0] == truth
    sure = backup.standing_confidence(state, i)
    rules = {rung.name: rung.rule for rung in backup.ladder}
    for attempt in outcome["attempts"] if outcome is not None else ():
        row = attempt["probabilities"]
        own = row is not None and backup.decider.name(row)[0] == truth
        took = row is not None and backup.replaces(rules[attempt["by"]], row, sure)
        if row is not None and took:
            sure, right = backup.decider.sureness(row), own
        yield Tried(attempt["by"], attempt["ms"], row is None, own, took, right)


def _same(answers: Sequence[Label | None], truth: Sequence[Label]) -> BoolArray:
    return np.array([answer == label for answer, label in zip(answers, truth, strict=True)], dtype=bool)
