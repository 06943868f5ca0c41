"""Counts of decisions: those on held-out rows as an artefact's profile, those of a decision log in the same form."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..artifacts import Histogram, Profile
from ..nodes.records import Label
from ..store import Decision

BINS = 10
"""Bins of a number, as full as each other in the reference."""
NONE = "(none)"
PEOPLE = ("memory", "human")


@dataclass(frozen=True)
class Seen:
    """What is looked at of a decision, see :class:`healdag.store.Decision`."""

    label: Label | None
    confidence: float | None
    source: str
    reasons: tuple[str, ...]
    sarcasm: float | None
    unfamiliar: float | None
    chars: int


Decided: TypeAlias = Seen | Decision


class Tally:
    """Counts decisions one by one.

    What a person has answered (sources 'memory', 'human') counts for the input alone: length, sarcasm, familiarity.

    Args:
        edges: Cuts of each number; what is not named is not counted.
    """

    def __init__(self, edges: Mapping[str, tuple[float, ...]]) -> None:
        self.n = 0
        self._edges = edges
        self._shares: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._flags: Counter[str] = Counter()
        self._read = self._answered = 0
        self._bins = {name: [0] * (len(cuts) + 1) for name, cuts in edges.items()}

    def add(self, one: Decided) -> None:
        """Counts a decision."""
        self.n += 1
        for name, value in numbers_of(one).items():
            if name in self._edges:
                self._bins[name][bisect_right(self._edges[name], value)] += 1
        if one.source == "memory":
            return
        self._read += 1
        self._flags.update(f"reason {reason}" for reason in one.reasons)
        if one.source in PEOPLE:
            return
        self._answered += 1
        self._shares["source"][one.source] += 1
        if isinstance(one.label, list):
            self._flags.update(f"label {label}" for label in one.label or [NONE])
        else:
            self._shares["label"][NONE if one.label is None else one.label] += 1

    def profile(self, model_version: str, rows: str) -> Profile:
        """The counts so far."""
        return Profile(
            model_version=model_version,
            rows=rows,
            n=self.n,
            read=self._read,
            answered=self._answered,
            shares={name: dict(counts.most_common()) for name, counts in self._shares.items()},
            flags=dict(self._flags.most_common()),
            numbers={name: Histogram(edges=cuts, counts=tuple(self._bins[name])) for name, cuts in self._edges.items()},
        )


def numbers_of(one: Decided) -> dict[str, float]:
    """The numbers of a decision that are known."""
    sure = None if one.source in PEOPLE else one.confidence
    known = {"length": one.chars, "confidence": sure, "sarcasm": one.sarcasm, "unfamiliar": one.unfamiliar}
    return {name: value for name, value in known.items() if value is not None}


def profile_of(decisions: Iterable[Decided], model_version: str, rows: str) -> Profile:
    """The profile of decisions, with bins as full as each other.

    Args:
        rows: Which rows they are, in words.
    """
    kept: list[Seen] = []
    values: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for one in decisions:
        for name, value in numbers_of(one).items():
            values[name].append(value)
        kept.append(Seen(one.label, one.confidence, one.source, one.reasons, one.sarcasm, one.unfamiliar, one.chars))
    shares = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = {name: tuple(np.unique(np.quantile(found, shares)).tolist()) for name, found in values.items()}
    tally = Tally(edges)
    for one in kept:
        tally.add(one)
    return tally.profile(model_version, rows)
