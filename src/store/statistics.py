"""What a decision log says in numbers."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np

from .row import Decision

NO_ANSWER = "-"
NO_LABEL = "(none)"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Count:
    """How many decisions, and which share of all, 0 to 1."""

    n: int
    share: float


@dataclass(frozen=True)
class Spread:
    """Mean and quantiles of confidences, 0 to 1; ``quantiles`` maps '0.05' and so on to a confidence."""

    mean: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class LabelFigures(Count):
    """A label's decisions. In a multi-label task the confidence is that of the whole list that the label is in."""

    confidence: Spread | None


@dataclass(frozen=True)
class BackupFigures:
    """A backup: how often it was asked, failed, and gave the answer that was returned; mean ms per text."""

    asked: int
    failed: int
    accepted: int
    ms: float


@dataclass(frozen=True)
class Period:
    """The decisions of a day or an hour, in UTC.

    Attributes:
        start: '2025-03-01', or '2025-03-01T17:00Z'.
        n: Decisions.
        doubted: Those with a reason.
        backup: Those for which a backup was asked.
        unanswered: Those without an answer.
        confidence: Mean, 0 to 1; None where nothing was answered.
        labels: Decisions per label.
    """

    start: str
    n: int
    doubted: int
    backup: int
    unanswered: int
    confidence: float | None
    labels: dict[str, int]


@dataclass(frozen=True)
class Statistics:
    """A log in numbers; counts are ordered by size, periods by time.

    Attributes:
        n: Decisions.
        first: Time of the earliest; None without any.
        last: Time of the latest.
        confidence: Of all that were answered.
        labels: By label; '-' where nothing could answer, '(none)' where no label of a multi-label task applies.
        sources: By source.
        reasons: By reason; a decision can have several, or none.
        model_versions: By model.
        backup_asked: Decisions for which a backup was asked.
        backup_accepted: Those where a backup's answer was returned. It changed the label where the source is 'backup'.
        backups: By name, in the order of the log.
        periods: By day or hour.
    """

    n: int
    first: datetime | None
    last: datetime | None
    confidence: Spread | None
    labels: dict[str, LabelFigures]
    sources: dict[str, Count]
    reasons: dict[str, Count]
    model_versions: dict[str, Count]
    backup_asked: Count
    backup_accepted: Count
    backups: dict[str, BackupFigures]
    periods: list[Period]


@dataclass
class _Backup:
    asked: int = 0
    failed: int = 0
    accepted: int = 0
    ms: float = 0.0


@dataclass
class _Period:
    n: int = 0
    doubted: int = 0
    backup: int = 0
    confident: int = 0
    confidence: float = 0.0
    labels: Counter[str] = field(default_factory=Counter)


class _Tally:
    """Counts while a log is read; of a decision only its confidence is kept."""

    def __init__(self, by: Literal["day", "hour"]) -> None:
        self.form = "%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H:00Z"
        self.n = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.labels: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.model_versions: Counter[str] = Counter()
        self.confidence = array("d")
        self.confidence_by_label: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self.backup_asked = self.backup_accepted = 0
        self.backups: defaultdict[str, _Backup] = defaultdict(_Backup)
        self.periods: defaultdict[str, _Period] = defaultdict(_Period)

    def add(self, row: Decision) -> None:
        self.n += 1
        self.first = row.time if self.first is None else min(self.first, row.time)
        self.last = row.time if self.last is None else max(self.last, row.time)
        labels = (NO_ANSWER,) if row.label is None else row.labels or (NO_LABEL,)
        self.labels.update(labels)
        self.sources[row.source] += 1
        self.reasons.update(row.reasons)
        self.model_versions[row.model_version] += 1
        if row.confidence is not None:
            self.confidence.append(row.confidence)
            for label in labels:
                self.confidence_by_label[label].append(row.confidence)
        backups = row.backups
        self.backup_asked += bool(backups)
        self.backup_accepted += row.accepted in backups
        times = dict(zip(row.asked, row.ms, strict=False))
        for name in backups:
            backup = self.backups[name]
            backup.asked += 1
            backup.failed += name in row.failed
            backup.accepted += name == row.accepted
            backup.ms += times.get(name, 0.0)
        self._add_to_period(row, labels, asked=bool(backups))

    def _add_to_period(self, row: Decision, labels: tuple[str, ...], *, asked: bool) -> None:
        period = self.periods[row.time.strftime(self.form)]
        period.n += 1
        period.doubted += bool(row.reasons)
        period.backup += asked
        period.labels.update(labels)
        if row.confidence is not None:
            period.confident += 1
            period.confidence += row.confidence

    def counts(self, counter: Mapping[str, int]) -> dict[str, Count]:
        return {name: self.count(n) for name, n in _ordered(counter).items()}

    def count(self, n: int) -> Count:
        return Count(n, n / self.n if self.n else 0.0)


def summarize(decisions: Iterable[Decision], *, by: Literal["day", "hour"] = "day") -> Statistics:
    """Counts, shares, confidences and their course over time.

    Args:
        decisions: For example of :func:`healdag.store.read_decisions`; read once.
        by: Length of the periods.
    """
    tally = _Tally(by)
    for row in decisions:
        tally.add(row)
    spreads = {label: _spread(values) for label, values in tally.confidence_by_label.items()}
    return Statistics(
        n=tally.n,
        first=tally.first,
        last=tally.last,
        confidence=_spread(tally.confidence),
        labels={
            label: LabelFigures(count.n, count.share, spreads.get(label))
            for label, count in tally.counts(tally.labels).items()
        },
        sources=tally.counts(tally.sources),
        reasons=tally.counts(tally.reasons),
        model_versions=tally.counts(tally.model_versions),
        backup_asked=tally.count(tally.backup_asked),
        backup_accepted=tally.count(tally.backup_accepted),
        backups={
            name: BackupFigures(found.asked, found.failed, found.accepted, found.ms / found.asked)
            for name, found in tally.backups.items()
        },
        periods=[_period(start, found) for start, found in sorted(tally.periods.items())],
    )


def _period(start: str, found: _Period) -> Period:
    return Period(
        start=start,
        n=found.n,
        doubted=found.doubted,
        backup=found.backup,
        unanswered=found.labels[NO_ANSWER],
        confidence=found.confidence / found.confident if found.confident else None,
        labels=_ordered(found.labels),
    )


def _spread(values: array[float]) -> Spread | None:
    if not values:
        return None
    numbers = np.frombuffer(values)
    found = np.quantile(numbers, QUANTILES)
    return Spread(float(numbers.mean()), {str(q): float(value) for q, value in zip(QUANTILES, found, strict=True)})


def _ordered(counter: Mapping[str, int]) -> dict[str, int]:
    """By size, then by name."""
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
