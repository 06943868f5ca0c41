"""How likely the answer that stands is right, after everything the graph found out, and whether that is enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..artifacts import ConfidenceModel
from ..predictors import Familiarity
from .decider import Decider
from .label_sets import LabelSets
from .records import EMOJI, MEMORY, Label, Row, first_of, memory_of, standing

ANSWER = "answer"
"""Feature: log-odds of the answer by its own probability."""
_FLOOR = 1e-4


@dataclass(frozen=True)
class Trust:
    """Writes trust, accepted and label_sets.

    Attributes:
        decider: What an answer is, and how sure it seems by its own probabilities.
        model: Learned from held-out answers of the graph; None: the answer's own probability.
        least: Confidence from which an answer keeps the error budget, by label, with the entry "" for labels without
            one of their own and for lists; None: no budget, every answer is given.
        familiarity: Says how likely a text is none that the task is about; None: nothing is known about that.
        prior: Share of each label in the calibration data: what is known of the answer to such a text.
        label_sets: Makes the labels that cannot be ruled out; None: they are not asked for.
    """

    decider: Decider
    model: ConfidenceModel | None = None
    least: Mapping[str, float] | None = None
    label_sets: LabelSets | None = None
    familiarity: Familiarity | None = None
    prior: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, state: Any) -> dict[str, Any]:
        """What people have said keeps the confidence that the memory gave it; a row without any answer has none."""
        found: list[float | None] = [None] * len(state["clean"])
        accepted = [True] * len(found)
        for i in range(len(found)):
            known = memory_of(state, i)
            if known is not None:
                confidence = known["confidence"]
                found[i] = confidence
                accepted[i] = self.least is None or confidence >= self._needed(known["label"])
                continue
            row, by = standing(state, i)
            if row is None:
                accepted[i] = False
                continue
            label, confidence = self.decider.name(row)
            by_models = by != EMOJI and first_of(state, i) is None
            if self.model is not None and self.model.features and by_models:
                confidence = self.model.probability(features_of(state, i, self.decider))
            if by_models:
                confidence = self._tempered(confidence, label, state["unfamiliar"][i])
            found[i] = confidence
            accepted[i] = self.least is None or confidence >= self._needed(label)
        return {"trust": found, "accepted": accepted, "label_sets": self._sets(state, found)}

    def _sets(self, state: Any, found: list[float | None]) -> list[list[str] | None]:
        sets: list[list[str] | None] = [None] * len(found)
        if self.label_sets is not None:
            answered = [i for i, sure in enumerate(found) if sure is not None and standing(state, i)[1] != MEMORY]
            rows = [row for i in answered if (row := standing(state, i)[0]) is not None]
            for i, one in zip(answered, self.label_sets(rows), strict=True):
                sets[i] = one
        return sets

    def sure_of(self, features: Mapping[str, float], label: Label, distance: float | None) -> float:
        """Confidence in an answer of a model's, from what :func:`features_of` knows of it.

        Raises:
            ValueError: there is no fitted confidence.
        """
        if self.model is None:
            raise ValueError("sure_of needs a fitted confidence, and this graph has none")
        own = 1.0 / (1.0 + math.exp(-features[ANSWER]))
        return self._tempered(self.model.probability(features) if self.model.features else own, label, distance)

    def _tempered(self, confidence: float, label: Label, distance: float | None) -> float:
        """The confidence, as far as the text is one that the task is about; of the others only the prior is known.

        Only of unfamiliar texts: within the limit the distance says nothing of errors, and would cost the ranking (on
        2,500 rows of GoEmotions' validation split an AURC of 0.1260 against 0.1246 without, and 0.1249 this way).
        """
        if self.familiarity is None or distance is None or distance <= 1.0:
            return confidence
        foreign = float(self.familiarity.foreign(np.array([distance]))[0])
        known = self.prior.get(label, 0.0) if isinstance(label, str) else 0.0
        return (1 - foreign) * confidence + foreign * min(known, confidence)

    def _needed(self, label: Label) -> float:
        least = self.least or {}
        return least.get(label, least.get("", 0.0)) if isinstance(label, str) else least.get("", 0.0)


def features_of(state: Any, i: int, decider: Decider) -> dict[str, float]:
    """What the graph knows about the answer that stands for a row; those of 0 may be left out.

    Numbers are log-odds, so that a weighted sum of them is one. Of each backup that was asked: what it adds to the
    primary's log-odds of the answer, and whether it names the same.
    """
    row, by = standing(state, i)
    if row is None:
        return {}
    label, sure = decider.name(row)
    features = {ANSWER: _logit(sure), "entropy": _entropy(row, multi_label=decider.multi_label)}
    said = label if isinstance(label, list) else [label]
    features |= {f"says {name}": 1.0 for name in said}
    if not decider.multi_label:
        first, second = sorted(row)[-1:-3:-1]
        features["margin"] = math.log(max(first, _FLOOR)) - math.log(max(second, _FLOOR))
    primary = state["primary"][i]["probabilities"]
    own = 0.0
    if primary is not None:
        own = _logit(_share(decider, primary, label))
        features |= {"primary": own, "primary differs": float(decider.name(primary)[0] != label)}
    outcome = (state.get("backup") or [None] * (i + 1))[i]
    features["asked"] = float(outcome is not None)
    features["replaced"] = float(outcome is not None and outcome["by"] is not None and by == outcome["by"])
    for attempt in outcome["attempts"] if outcome is not None else []:
        given = attempt["probabilities"]
        if given is not None:
            features[f"{attempt['by']} adds"] = _logit(_share(decider, given, label)) - own
            features[f"{attempt['by']} differs"] = float(decider.name(given)[0] != label)
    sarcasm = state["sarcasm"][i]
    if sarcasm is not None:
        features["sarcasm"] = sarcasm
    features |= {f"reason {reason}": 1.0 for reason in state["reasons"][i]}
    features["unreadable"] = state["unreadable"][i]
    features["length"] = math.log1p(len(state["clean"][i].split()))
    return features


def _share(decider: Decider, row: Row, label: Label) -> float:
    """How likely these probabilities hold the answer to be: the label's, or the product over a list's labels."""
    if isinstance(label, str):
        return row[decider.labels.index(label)]
    product = 1.0
    for name, p in zip(decider.labels, row, strict=True):
        product *= p if name in label else 1.0 - p
    return product


def _entropy(row: Row, *, multi_label: bool) -> float:
    parts = [p * math.log(p) for p in row if p > 0]
    if multi_label:
        parts += [(1 - p) * math.log(1 - p) for p in row if p < 1]
    return -sum(parts)


def _logit(p: float) -> float:
    clipped = min(max(p, _FLOOR), 1 - _FLOOR)
    return math.log(clipped / (1 - clipped))
