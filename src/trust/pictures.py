"""Pictures of a classifier's trustworthiness as SVG, for a page; needs matplotlib (extra ``train``).

Text stays text, so that it can be searched and copied. The colours are those of Okabe and Ito (2008), which people with
colour-blindness can tell apart, on white; what matters differs in form or place as well.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from io import StringIO
from typing import Any, ParamSpec, TypeAlias

import numpy as np

from ..errors import MissingExtraError
from ..predictors import FloatArray
from ..training.evaluation.plots import BLUE, GREEN, GREY, ORANGE
from .risk import BoolArray, Curve, upper_bound

PALETTE = (BLUE, "#E69F00", GREEN, "#CC79A7", "#56B4E9", ORANGE, "#F0E442", "#999999", "#000000")
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "healdag",  # the same figures give the same bytes
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
    "date.converter": "concise",
    "legend.fontsize": 9,
}
_LONGEST = 26
_WIDTH = 9.2
"""Inches: 883 pixels of a page, its full column."""

Drawn: TypeAlias = tuple[Any, str]
"""A figure, and what it shows in words."""
P = ParamSpec("P")


def check_matplotlib() -> None:
    """Raises MissingExtraError where matplotlib is not installed, before any work is done in vain."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "train") from None


def _picture(draw: Callable[P, Drawn]) -> Callable[P, str]:
    """Turns a function that draws a figure into one that gives its SVG element."""

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> str:
        check_matplotlib()
        from matplotlib import rc_context

        with rc_context(_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's fonts may have them
            return _svg(*draw(*args, **options))

    return drawn


def _svg(figure: Any, alt: str) -> str:
    """The figure as an element for a page: no XML header, no identifiers that two pictures could share, no links."""
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    content = stream.getvalue()
    content = content[content.index("<svg") :]
    content = re.sub(r'<g id="[^"]*">', "<g>", content)
    content = re.sub(r' xmlns(:xlink)?="[^"]*"', "", content).replace('xlink:href="#', 'href="#')
    return content.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1).strip()


def _figure(height: float, width: float = _WIDTH) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _short(label: str, longest: int = _LONGEST) -> str:
    return label if len(label) <= longest else label[: longest - 1] + "…"


@dataclass(frozen=True)
class Mark:
    """A certified budget on the rows that are drawn.

    Attributes:
        name: For example '5 %'.
        max_error: The share of wrong answers that is promised not to be exceeded.
        bound: The certificate's upper bound on it.
        coverage: Share of the rows drawn that its threshold accepts.
        risk: Share of wrong ones among those.
    """

    name: str
    max_error: float
    bound: float
    coverage: float
    risk: float


@_picture
def risk_coverage_svg(curves: Mapping[str, Curve], marks: Sequence[Mark] = ()) -> Drawn:
    """Share of wrong answers among those given, against the share that is given.

    Args:
        curves: By name; up to three are told apart by colour and dashes.
        marks: Budgets on the curve of the whole graph.
    """
    figure = _figure(4.4)
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
        axes.annotate(
            mark.name, (mark.coverage, mark.bound), xytext=(0, 4), textcoords="offset points", ha="center", va="bottom"
        )
    axes.set_xlabel("coverage: share of the texts that are answered")
    axes.set_ylabel("risk: share of wrong answers among those")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0)
    axes.grid()
    axes.legend(loc="upper left")
    n = len(next(iter(curves.values())).risk)
    ends = ", ".join(f"{name} {curve.risk[-1]:.1%} at full coverage" for name, curve in curves.items())
    return figure, f"Risk-coverage curves of {n:,} rows: {ends}; {len(marks)} certified budgets marked."


def _thinned(curve: Curve, most: int = 800) -> tuple[FloatArray, FloatArray]:
    """Coverage and risk at places enough for the eye."""
    places = np.unique(np.linspace(0, len(curve.coverage) - 1, most).astype(int))
    return curve.coverage[places], curve.risk[places]


@_picture
def reliability_svg(confidences: Mapping[str, FloatArray], right: Mapping[str, BoolArray], bins: int = 10) -> Drawn:
    """Share of right answers against confidence, with exact 95 % intervals, and below how many there are.

    Args:
        confidences: By name, one panel each; shape (n,).
        right: Whether each answer is right, by the same names.
    """
    figure = _figure(4.6)
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


@_picture
def confidence_boxes_svg(groups: Mapping[str, Mapping[str, FloatArray]]) -> Drawn:
    """Box plots of confidences: median, quartiles, and whiskers from the 5 % to the 95 % quantile.

    Args:
        groups: Confidences by label, and within it by kind ('right' and 'wrong', or one kind); a label per row.
    """
    kinds = list(dict.fromkeys(kind for boxes in groups.values() for kind in boxes))
    figure = _figure(0.9 + 0.26 * len(groups) * max(len(kinds), 1.4))
    axes = figure.subplots()
    height = 0.8 / len(kinds)
    for row, boxes in enumerate(groups.values()):
        for kind, values in boxes.items():
            place = kinds.index(kind)
            middle = row - 0.4 + height * (place + 0.5)
            _box(axes, values, middle, height * 0.8, (BLUE, ORANGE)[place % 2], ("", "///")[place % 2])
            axes.text(1.012, middle, f"n = {len(values):,}", va="center", fontsize=8, color="#444444", clip_on=False)
    axes.set_yticks(range(len(groups)), [_short(label) for label in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.grid(axis="x")
    if len(kinds) > 1:
        from matplotlib.patches import Patch

        looks = zip(kinds, (BLUE, ORANGE), ("", "///"), strict=False)
        handles = [Patch(fc="white", ec=colour, hatch=hatch, label=kind) for kind, colour, hatch in looks]
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


@_picture
def ways_svg(ways: Mapping[tuple[str, ...], int], order: Sequence[str], colours: Mapping[str, str]) -> Drawn:
    """How many texts took which way, as bands from stage to stage.

    Args:
        ways: Texts by the stages that they went through, all of the same number.
        order: Stages from top to bottom, of all columns.
        colours: Of stages; the bands that lead to one are in its colour. The others are grey.
    """
    columns = list(zip(*ways, strict=True))
    total = sum(ways.values())
    stages = [sorted(set(column), key=order.index) for column in columns]
    figure = _figure(max(2.4, 0.42 * max(map(len, stages)) + 1.2))
    axes = figure.subplots()
    least = 0.085 * 3.6 / figure.get_figheight()  # a stage's share of the height, so that its words have room
    sizes = [_sizes(ways, column) for column in range(len(columns))]
    places = [_stacked(names, size, total, least) for names, size in zip(stages, sizes, strict=True)]
    for column in range(len(columns) - 1):
        _bands(axes, ways, column, places, stages, total, colours)
    for column, names in enumerate(stages):
        for name in names:
            top, share = places[column][name], sizes[column][name] / total
            axes.bar(column, share, width=0.035, bottom=top - share, color=colours.get(name, "#555555"), zorder=3)
            words = f"{_short(name, 40)}: {sizes[column][name]:,} ({share:.1%})"
            axes.text(column + 0.03, top - share / 2, words, va="center", fontsize=9, zorder=4)
    axes.set_xlim(-0.05, len(columns) - 0.25)
    axes.axis("off")
    ends = ", ".join(f"{name} {sizes[-1][name]:,}" for name in stages[-1])
    return figure, f"Ways of {total:,} texts through the graph; they end in: {ends}."


def _sizes(ways: Mapping[tuple[str, ...], int], column: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for way, n in ways.items():
        found[way[column]] = found.get(way[column], 0) + n
    return found


def _stacked(names: Sequence[str], sizes: Mapping[str, int], total: int, least: float) -> dict[str, float]:
    """Upper edge of each stage, from 1 downwards; a thin one is given room for its words."""
    gap = 0.03
    slots = {name: max(sizes[name] / total, least) + gap for name in names}
    edges, below = {}, (sum(slots.values()) - gap) / 2 + 0.5
    for name in names:
        edges[name] = below - (slots[name] - gap - sizes[name] / total) / 2
        below -= slots[name]
    return edges


def _bands(
    axes: Any,
    ways: Mapping[tuple[str, ...], int],
    column: int,
    places: Sequence[Mapping[str, float]],
    stages: Sequence[Sequence[str]],
    total: int,
    colours: Mapping[str, str],
) -> None:
    """The bands between a column and the next."""
    left, right = dict(places[column]), dict(places[column + 1])
    flows: dict[tuple[str, str], int] = {}
    for way, n in ways.items():
        flows[way[column], way[column + 1]] = flows.get((way[column], way[column + 1]), 0) + n
    steps = np.linspace(0, 1, 30)
    bend = steps**2 * (3 - 2 * steps)
    for start in stages[column]:
        for end in stages[column + 1]:
            share = flows.get((start, end), 0) / total
            if share:
                top = left[start] + (right[end] - left[start]) * bend
                axes.fill_between(column + steps, top - share, top, color=colours.get(end, GREY), alpha=0.25, lw=0)
                left[start] -= share
                right[end] -= share


@_picture
def steps_svg(names: Sequence[str], fixed: Sequence[int], broke: Sequence[int]) -> Drawn:
    """How many wrong answers each step made right (to the right) and right ones wrong (to the left)."""
    figure = _figure(0.9 + 0.42 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places, fixed, height=0.6, color=BLUE, label="fixed")
    axes.barh(places, [-n for n in broke], height=0.6, fc="white", ec=ORANGE, hatch="///", label="broke")
    for place, good, bad in zip(places, fixed, broke, strict=True):
        axes.annotate(f"{good:,}", (good, place), xytext=(4, 0), textcoords="offset points", va="center")
        axes.annotate(f"{bad:,}", (-bad, place), xytext=(-4, 0), textcoords="offset points", va="center", ha="right")
    most = max(*fixed, *broke, 1)
    axes.set_xlim(-1.15 * most, 1.15 * most)
    axes.axvline(0, color="#444444", lw=1)
    axes.set_yticks(places, [_short(name, 40) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("answers")
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    said = (f"{name}: {good} fixed, {bad} broken" for name, good, bad in zip(names, fixed, broke, strict=True))
    return figure, f"What each step did to the answers. {'; '.join(said)}."


@_picture
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
    figure = _figure(4.4)
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


@_picture
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
    figure = _figure(3.8)
    axes = figure.subplots()
    edges, below = _edges(starts, length), np.zeros(len(starts))
    for i, (name, values) in enumerate(shown.items()):
        above = below + np.divide(values, every, out=np.zeros(len(starts)), where=every > 0)
        axes.fill_between(
            edges, _twice(below), _twice(above), color=PALETTE[i], alpha=0.85, ec="white", lw=0.6, label=_short(name)
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
