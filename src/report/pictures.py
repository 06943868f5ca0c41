"""Pictures of how far a classifier can be trusted, each an SVG element; see :mod:`.svg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ..predictors import FloatArray
from ..training.evaluation.plots import BLUE, GREEN, GREY, ORANGE
from ..trust.risk import BoolArray, Curve, upper_bound
from .svg import PALETTE, Drawn, new_figure, percent, picture, short

_LOOKS = {"right": (BLUE, ""), "wrong": (ORANGE, "///"), "answers": (BLUE, "")}
"""Colour and hatch of boxes by kind."""


@dataclass(frozen=True)
class Mark:
    """A certified budget on the rows that are drawn.

    Attributes:
        name: The share of wrong answers that is promised not to be exceeded, for example '5 %'.
        bound: The certificate's upper bound on it, 0 to 1.
        coverage: Share of the rows drawn that its threshold accepts.
        risk: Share of wrong ones among those.
    """

    name: str
    bound: float
    coverage: float
    risk: float


@picture
def risk_coverage_svg(curves: Mapping[str, Curve], marks: Sequence[Mark] = ()) -> Drawn:
    """Share of wrong answers among those given, against the share that is given.

    Args:
        curves: By name; up to three are told apart by colour and dashes.
        marks: Budgets on the curve of the whole graph.
    """
    figure = new_figure(4.4)
    axes = figure.subplots()
    looks = zip(curves.items(), (GREY, BLUE, GREEN), ("--", "-", ":"), strict=False)
    for (name, curve), colour, dashes in looks:
        x, y = _thinned(curve)
        axes.plot(x, y, dashes, color=colour, lw=1.8, label=f"{name} (area {curve.risk.mean():.3f})")
    for i, mark in enumerate(marks):
        label = {"label": "certified budget: risk here, and the certificate's bound"} if i == 0 else {}
        axes.vlines(mark.coverage, mark.risk, mark.bound, color=ORANGE, lw=1.4)
        axes.plot(mark.coverage, mark.bound, "_", color=ORANGE, ms=13, mew=2)
        axes.plot(mark.coverage, mark.risk, "o", color=ORANGE, ms=6, mec="white", **label)
        # Right and below: the curve comes from the left and goes up.
        axes.annotate(mark.name, (mark.coverage, mark.risk), xytext=(8, -9), textcoords="offset points")
    axes.set_xlabel("coverage: share of the texts that are answered")
    axes.set_ylabel("risk: share of wrong answers among those")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0)
    axes.grid()
    axes.legend(loc="upper left")
    n = len(next(iter(curves.values())).risk)
    ends = ", ".join(f"{name} {percent(curve.risk[-1])} at full coverage" for name, curve in curves.items())
    return figure, f"Risk-coverage curves of {n:,} rows: {ends}; {len(marks)} certified budgets marked."


def _thinned(curve: Curve, most: int = 800) -> tuple[FloatArray, FloatArray]:
    """Coverage and risk at places enough for the eye."""
    places = np.unique(np.linspace(0, len(curve.coverage) - 1, most).astype(int))
    return curve.coverage[places], curve.risk[places]


@picture
def reliability_svg(confidences: Mapping[str, FloatArray], right: Mapping[str, BoolArray], bins: int = 10) -> Drawn:
    """Share of right answers against confidence, with exact 95 % intervals, and below how many there are.

    Args:
        confidences: By name, one panel each; shape (n,).
        right: Whether each answer is right, by the same names.
    """
    figure = new_figure(4.6)
    panels = figure.subplots(
        2, len(confidences), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1), subplot_kw={"xlim": (0, 1)}
    )
    said = []
    for column, (name, sure) in enumerate(confidences.items()):
        upper, lower = panels[0][column], panels[1][column]
        place = np.minimum((sure * bins).astype(int), bins - 1)
        counts = np.bincount(place, minlength=bins)
        filled = np.flatnonzero(counts)
        means = np.array([sure[place == b].mean() for b in filled])
        hits = np.array([int(right[name][place == b].sum()) for b in filled])
        shares = hits / counts[filled]
        spans = [_interval(int(h), int(counts[b])) for h, b in zip(hits, filled, strict=True)]
        reach = np.clip(np.array([[s - lo, hi - s] for s, (lo, hi) in zip(shares, spans, strict=True)]).T, 0, None)
        upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        upper.errorbar(means, shares, yerr=reach, fmt="o", color=BLUE, capsize=3, ms=5)
        upper.set_title(f"{name} (n = {len(sure):,})")
        upper.set_ylim(0, 1.02)
        upper.grid()
        lower.bar((np.arange(bins) + 0.5) / bins, counts, width=0.92 / bins, color="#9DBFD6")
        lower.set_xlabel("confidence")
        gap = float(np.abs(means - shares) @ counts[filled] / len(sure))
        said.append(f"{name}: mean gap {gap:.3f} over {bins} bins")
    panels[0][0].set_ylabel("share of right answers")
    panels[1][0].set_ylabel("answers")
    return figure, f"Reliability diagrams. {'; '.join(said)}."


def _interval(hits: int, n: int) -> tuple[float, float]:
    """Two-sided exact 95 % interval of a share (Clopper & Pearson 1934)."""
    return 1 - upper_bound(n - hits, n, 0.975), upper_bound(hits, n, 0.975)


@picture
def confidence_boxes_svg(groups: Mapping[str, Mapping[str, FloatArray]]) -> Drawn:
    """Box plots of confidences: median, quartiles, and whiskers from the 5 % to the 95 % quantile.

    Args:
        groups: Confidences by label, none of them empty, and within it by kind: 'right' and 'wrong', or 'answers'.
    """
    kinds = [kind for kind in _LOOKS if any(kind in boxes for boxes in groups.values())]
    figure = new_figure(0.9 + 0.26 * len(groups) * max(len(kinds), 1.4))
    axes = figure.subplots()
    height = 0.8 / len(kinds)
    for row, boxes in enumerate(groups.values()):
        for kind, values in boxes.items():
            middle = row - 0.4 + height * (kinds.index(kind) + 0.5)
            _box(axes, values, middle, height * 0.8, *_LOOKS[kind])
            axes.text(1.012, middle, f"n = {len(values):,}", va="center", fontsize=8, color="#444444", clip_on=False)
    axes.set_yticks(range(len(groups)), [short(label) for label in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.grid(axis="x")
    if len(kinds) > 1:
        from matplotlib.patches import Patch

        handles = [Patch(fc="white", ec=_LOOKS[kind][0], hatch=_LOOKS[kind][1], label=kind) for kind in kinds]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(kinds))
    medians = (
        f"{label} {kind} {np.median(values):.2f}" for label, boxes in groups.items() for kind, values in boxes.items()
    )
    return figure, f"Confidence per label, medians: {', '.join(medians)}."


def _box(axes: Any, values: FloatArray, middle: float, height: float, colour: str, hatch: str) -> None:
    low, first, median, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    axes.hlines(middle, low, high, color=colour, lw=1.2)
    axes.barh(middle, third - first, left=first, height=height, fc="white", ec=colour, lw=1.2, hatch=hatch, zorder=2)
    axes.vlines(median, middle - height / 2, middle + height / 2, color=colour, lw=2.8, zorder=3)


@dataclass(frozen=True)
class Bars:
    """What a step fixed and broke, and what its own answers would have in place of the primary's; None: no backup."""

    name: str
    fixed: int
    broke: int
    alone: tuple[int, int] | None


@picture
def steps_svg(steps: Sequence[Bars]) -> Drawn:
    """How many wrong answers each step made right (to the right) and right ones wrong (to the left)."""
    figure = new_figure(1.0 + 0.55 * len(steps))
    axes = figure.subplots()
    places = np.arange(len(steps))
    fixed, broke = [step.fixed for step in steps], [-step.broke for step in steps]
    axes.barh(places - 0.13, fixed, height=0.42, color=BLUE, label="fixed")
    axes.barh(places - 0.13, broke, height=0.42, fc="white", ec=ORANGE, hatch="///", label="broke")
    alone = [(place, step.alone) for place, step in enumerate(steps) if step.alone is not None]
    for place, step in enumerate(steps):
        _ends(axes, place - 0.13, step.fixed, step.broke, 9.5, "black")
    for place, (good, bad) in alone:
        axes.barh(place + 0.25, good + bad, left=-bad, height=0.2, color="#BBBBBB")
        _ends(axes, place + 0.25, good, bad, 8, "#555555")
    most = max(1, *fixed, *(-n for n in broke), *(n for _, pair in alone for n in pair))
    axes.set_xlim(-1.15 * most, 1.15 * most)
    axes.axvline(0, color="#444444", lw=1)
    axes.set_yticks(places, [short(step.name, 40) for step in steps])
    axes.set_ylim(len(steps) - 0.45, -0.55)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("answers broken | answers fixed")
    axes.grid(axis="x")
    handles = axes.get_legend_handles_labels()[0]
    if alone:
        from matplotlib.patches import Patch

        handles = [*handles, Patch(color="#BBBBBB", label="its own answers in place of the primary's")]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    said = (f"{step.name}: {step.fixed:,} fixed, {step.broke:,} broken" for step in steps)
    return figure, f"What each step did to the answers. {'; '.join(said)}."


def _ends(axes: Any, place: float, right: int, left: int, size: float, colour: str) -> None:
    """The numbers at both ends of a bar."""
    for value, end, shift, side in ((right, right, 4, "left"), (left, -left, -4, "right")):
        axes.annotate(
            f"{value:,}",
            (end, place),
            xytext=(shift, 0),
            textcoords="offset points",
            va="center",
            ha=side,
            fontsize=size,
            color=colour,
        )


@picture
def confidence_over_time_svg(
    starts: Sequence[datetime], length: timedelta, confidences: Sequence[FloatArray], counts: Sequence[int]
) -> Drawn:
    """Median confidence per period with the quartiles and the 5 % and 95 % quantiles, and below how many decisions.

    Args:
        starts: Of the periods, one after the other without a gap.
        length: Of each.
        confidences: Those of a period's answers, any number of them.
        counts: Decisions of each period, those without an answer included.
    """
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    nothing = [np.nan] * len(quantiles)
    levels = np.array([np.quantile(values, quantiles) if len(values) else nothing for values in confidences]).T
    figure = new_figure(4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles = [start + length / 2 for start in starts]
    edges = _edges(starts, length)
    upper.fill_between(edges, _twice(levels[0]), _twice(levels[4]), color=BLUE, alpha=0.15, lw=0, label="5 % to 95 %")
    upper.fill_between(edges, _twice(levels[1]), _twice(levels[3]), color=BLUE, alpha=0.3, lw=0, label="25 % to 75 %")
    upper.plot(middles, levels[2], "o-", color=BLUE, ms=3.5, lw=1.4, label="median")
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("confidence")
    upper.grid()
    upper.legend(loc="lower left", ncols=3)
    lower.fill_between(edges, _twice(counts), color="#9DBFD6", lw=0)
    lower.set_ylabel("decisions")
    lower.set_ylim(0)
    lower.yaxis.get_major_locator().set_params(integer=True)
    _time_axis(lower, starts, length)
    every = [value for value in levels[2] if not np.isnan(value)]
    span = f"from {min(every):.2f} to {max(every):.2f}" if every else "not known: nothing was answered"
    return figure, f"Confidence over {len(starts)} periods from {starts[0]:%Y-%m-%d}: the median is {span}."


@picture
def labels_over_time_svg(
    starts: Sequence[datetime], length: timedelta, counts: Mapping[str, Sequence[int]], most: int = 8
) -> Drawn:
    """Share of each label per period, stacked.

    Args:
        counts: Per label, the commonest first, its decisions in each period; those after the first ``most`` are joined.
    """
    names = list(counts)
    shown = {name: np.asarray(counts[name], dtype=np.float64) for name in names[:most]}
    if len(names) > most:
        shown[f"{len(names) - most} others"] = np.sum([counts[name] for name in names[most:]], axis=0)
    every = np.sum(list(shown.values()), axis=0)
    figure = new_figure(3.8)
    axes = figure.subplots()
    edges, below = _edges(starts, length), np.zeros(len(starts))
    for i, (name, values) in enumerate(shown.items()):
        above = below + np.divide(values, every, out=np.zeros(len(starts)), where=every > 0)
        axes.fill_between(
            edges, _twice(below), _twice(above), color=PALETTE[i], alpha=0.85, ec="white", lw=0.6, label=short(name)
        )
        below = above
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of the answers")
    _time_axis(axes, starts, length)
    handles, words = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], words[::-1], loc="outside right center")
    first = ", ".join(f"{name} {int(sum(values)):,}" for name, values in shown.items())
    return figure, f"Labels over {len(starts)} periods from {starts[0]:%Y-%m-%d}, in all: {first}."


def _edges(starts: Sequence[datetime], length: timedelta) -> list[datetime]:
    """Both edges of each period: what is drawn over them is a step, and one period alone is still to be seen."""
    return [edge for start in starts for edge in (start, start + length)]


def _twice(values: Any) -> FloatArray:
    return np.repeat(np.asarray(values, dtype=np.float64), 2)


def _time_axis(axes: Any, starts: Sequence[datetime], length: timedelta) -> None:
    axes.set_xlim(starts[0], starts[-1] + length)
    axes.set_xlabel("time (UTC)")


def without_gaps(first: datetime, last: datetime, length: timedelta) -> list[datetime]:
    """Starts of all periods from the first to the last.

    >>> hours = without_gaps(datetime(2026, 1, 1, 22), datetime(2026, 1, 2, 1), timedelta(hours=1))
    >>> [hour.hour for hour in hours]
    [22, 23, 0, 1]
    """
    return [first + i * length for i in range((last - first) // length + 1)]
