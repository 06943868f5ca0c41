"""What a page says about a decision log: confidence, labels and ways over time."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from ..errors import UsageError
from ..predictors import FloatArray
from ..store import Count, Decision, Decisions, Statistics, summarize
from ..training.evaluation.plots import GREY
from .evidence import NO_LABEL
from .page import Picture, Section, Table
from .pictures import confidence_boxes_svg, confidence_over_time_svg, labels_over_time_svg, without_gaps
from .svg import percent
from .ways import REASONS, reason_stage, ways_svg

By = Literal["hour", "day"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_HOURS = 72
"""Logs that span more hours are drawn by day, unless something else is asked for."""
_LABELS_SHOWN = 20


@dataclass
class _Hour:
    n: int = 0
    confidence: array[float] = field(default_factory=lambda: array("d"))
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, other: _Hour) -> None:
        self.n += other.n
        self.confidence.extend(other.confidence)
        self.labels.update(other.labels)


@dataclass(frozen=True)
class LogSeen:
    """A decision log in numbers.

    Attributes:
        name: Of its file.
        skipped: Broken lines that were passed over.
        statistics: See :func:`healdag.store.summarize`.
        ways: Decisions by reason and source.
        confidence: Of the answers with each label; in a multi-label task of the list that it is in.
        hours: By start.
    """

    name: str
    skipped: int
    statistics: Statistics
    ways: Mapping[tuple[str, ...], int]
    confidence: Mapping[str, FloatArray]
    hours: Mapping[datetime, _Hour]


def read_log(decisions: Decisions) -> LogSeen:
    """Reads a log once; of a decision its confidence and what is counted are kept.

    Raises:
        UsageError: there is no decision in it, or it cannot be read.
    """
    hours: defaultdict[datetime, _Hour] = defaultdict(_Hour)
    ways: Counter[tuple[str, ...]] = Counter()
    confidence: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    statistics = summarize(_counted(decisions, hours, ways, confidence))
    if not statistics.n:
        broken = f" (broken lines: {decisions.skipped:,})" if decisions.skipped else ""
        raise UsageError(
            f"no decisions in {str(decisions.path)!r}{broken}; give a log with some, or a wider --since and --until"
        )
    labels = {label: np.array(confidence[label]) for label in statistics.labels if len(confidence[label])}
    return LogSeen(decisions.path.name, decisions.skipped, statistics, ways, labels, hours)


def _counted(
    decisions: Iterable[Decision],
    hours: defaultdict[datetime, _Hour],
    ways: Counter[tuple[str, ...]],
    confidence: defaultdict[str, array[float]],
) -> Iterator[Decision]:
    """The decisions, counted as they pass."""
    for row in decisions:
        hour = hours[row.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)]
        hour.n += 1
        labels = () if row.label is None else row.labels or (NO_LABEL,)
        hour.labels.update(labels)
        if row.confidence is not None:
            hour.confidence.append(row.confidence)
            for label in labels:
                confidence[label].append(row.confidence)
        first = "not read by a model" if row.source in {"emoji", "memory"} else reason_stage(row.reasons)
        ways["decisions", first, row.source] += 1
        yield row


def log_sections(found: LogSeen, by: By | None = None) -> list[Section]:
    """The sections of a page about a decision log.

    Args:
        by: Length of the periods; None: hours where the log spans up to :data:`MOST_HOURS` of them, else days.
    """
    starts, length, periods = _periods(found, by)
    return [
        _time(found, starts, length, periods),
        _labels(found, starts, length, periods),
        _ways(found),
        _tables(found),
    ]


def _periods(found: LogSeen, by: By | None) -> tuple[list[datetime], timedelta, list[_Hour]]:
    """Starts of the periods from the first to the last decision, their length, and what each holds."""
    first, last = min(found.hours), max(found.hours)
    hourly = by == "hour" or (by is None and last - first < MOST_HOURS * HOUR)
    length = HOUR if hourly else DAY

    def start_of(hour: datetime) -> datetime:
        return hour if hourly else hour.replace(hour=0)

    starts = without_gaps(start_of(first), start_of(last), length)
    periods = {start: _Hour() for start in starts}
    for hour, content in found.hours.items():
        periods[start_of(hour)].add(content)
    return starts, length, list(periods.values())


def _time(found: LogSeen, starts: list[datetime], length: timedelta, periods: list[_Hour]) -> Section:
    confidences = [np.array(period.confidence) for period in periods]
    svg = confidence_over_time_svg(starts, length, confidences, [period.n for period in periods])
    statistics = found.statistics
    text = (
        f"Decisions: {statistics.n:,}, from {statistics.first:%Y-%m-%d %H:%M} to {statistics.last:%Y-%m-%d %H:%M} UTC, "
        f"in {found.name}. Broken lines passed over: {found.skipped:,}.",
    )
    name = "hour" if length == HOUR else "day"
    caption = (
        f"Per {name}: the median, and the bands that hold the middle 50 % and 90 % of the answers' confidences. "
        "Whether the answers were right is not known from a log: a confidence that drifts is a reason to look."
    )
    return Section("log-time", "Log: confidence over time", text, (Picture(svg, caption),))


def _labels(found: LogSeen, starts: list[datetime], length: timedelta, periods: list[_Hour]) -> Section:
    if not found.confidence:
        return Section("log-labels", "Log: labels", ("Nothing was answered.",))
    names = list(found.confidence)
    counts = {name: [period.labels[name] for period in periods] for name in names}
    name = "hour" if length == HOUR else "day"
    over_time = Picture(
        labels_over_time_svg(starts, length, counts), f"Share of each label among the answers, per {name}."
    )
    shown = {name: {"answers": found.confidence[name]} for name in names[:_LABELS_SHOWN]}
    cut = f"; the {_LABELS_SHOWN} commonest of {len(names)} labels" if len(names) > _LABELS_SHOWN else ""
    boxes = Picture(
        confidence_boxes_svg(shown),
        f"Median, quartiles, and whiskers from the 5 % to the 95 % quantile{cut}. In a task with several labels per "
        "text, the confidence of the whole list that a label is in.",
    )
    return Section("log-labels", "Log: labels", (), (over_time, boxes))


def _ways(found: LogSeen) -> Section:
    stages = {stage for way in found.ways for stage in way}
    order = ("decisions", "not read by a model", *REASONS, "model", "backup", "emoji", "memory", "human", "abstain")
    unknown = sorted(stages - set(order))  # of a later version
    svg = ways_svg(found.ways, (*order, *unknown), {"abstain": GREY})
    caption = (
        f"{found.statistics.n:,} decisions: why the primary's answer was doubted, and the source of the final one."
    )
    return Section("log-ways", "Log: the way through the graph", (), (Picture(svg, caption),))


def _tables(found: LogSeen) -> Section:
    statistics = found.statistics
    tables = [
        _counts("source", statistics.sources, "Who gave the label"),
        _counts("reason", statistics.reasons, "Why the primary's answer was doubted; a decision can have several"),
        _counts("model", statistics.model_versions, "Models"),
    ]
    rows = [
        (name, f"{one.asked:,}", f"{one.failed:,}", f"{one.accepted:,}", f"{one.ms:.2f}")
        for name, one in statistics.backups.items()
    ]
    backups = Table("Backups; ms: per text asked", ("backup", "asked", "failed", "taken", "ms"), rows)
    return Section(
        "log-tables",
        "Log: sources, reasons, backups",
        tables=tuple(table for table in (*tables, backups) if table.rows),
    )


def _counts(name: str, counts: Mapping[str, Count], caption: str) -> Table:
    rows = [(key, f"{count.n:,}", percent(count.share)) for key, count in counts.items()]
    return Table(caption, (name, "decisions", "share"), rows)
