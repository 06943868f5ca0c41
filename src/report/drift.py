"""What a page says about drift: how far each figure of a log is from the reference, over time and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from ..training.evaluation.plots import BLUE, GREY, ORANGE
from ..trust.drift import LIMITS, RATE, Drift, Figure, share_of
from .page import Picture, Section, Table
from .svg import PALETTE, Drawn, new_figure, percent, picture, short

_LINES = 6
"""Figures that get a colour of their own; the others are grey."""
_BARS = 3
"""Figures whose shares are drawn."""


def drift_sections(found: Drift, task: str) -> list[Section]:
    """The sections of a page about drift."""
    latest = found.windows[-1]
    over_time = Picture(
        drift_svg([window.start for window in found.windows], strengths(found)),
        "Each figure's distance from the reference, in units of the limit from which it counts as drift. Dots: the "
        "difference is significant too, and the window has drifted.",
    )
    shown = [figure for figure in latest.figures if figure.drifted][:_BARS] or list(latest.figures[:1])
    bars = tuple(
        Picture(
            shares_svg(figure.name, share_of(found.reference, figure.name), share_of(latest.counts, figure.name)),
            f"{figure.name}: its shares in the reference and in the latest window; "
            f"{figure.measure} {figure.effect:+.2f}, limit {LIMITS[figure.measure]:g}.",
        )
        for figure in shown
    )
    return [
        Section("drift", "Drift", tuple(found.in_words(task)), (over_time,)),
        Section("drift-latest", "The latest window", (), bars, (_table(latest.figures),)),
    ]


def strengths(found: Drift) -> dict[str, list[tuple[float, bool] | None]]:
    """Per figure, the strongest first: its strength in each window and whether it has drifted; None where not known."""
    each = [{figure.name: figure for figure in window.figures} for window in found.windows]
    names = {name: None for window in each for name in window}
    lines = {
        name: [None if (one := window.get(name)) is None else (one.strength, one.drifted) for window in each]
        for name in names
    }
    return dict(sorted(lines.items(), key=lambda line: -max(point[0] for point in line[1] if point is not None)))


def figure_rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The figures of a window as cells, in the order of :data:`COLUMNS`."""
    return [
        (
            *(one.name, one.kind, one.measure, f"{one.effect:+.3f}", f"{LIMITS[one.measure]:g}"),
            *(f"{one.q:.2g}", f"{one.n:,}", "yes" if one.drifted else "no"),
        )
        for one in figures
    ]


COLUMNS = ("figure", "of", "measure", "effect", "limit", "q", "decisions", "drifted")


def _table(figures: Sequence[Figure]) -> Table:
    caption = (
        "PSI: population stability index; h: Cohen's, above 0 where there are more than in the reference. q: the false "
        f"discovery rate at which the figure would be taken for different. Drifted: q up to {RATE:g}, and the limit."
    )
    return Table(caption, COLUMNS, figure_rows(figures), words=3)


@picture
def drift_svg(starts: Sequence[datetime], lines: Mapping[str, Sequence[tuple[float, bool] | None]]) -> Drawn:
    """Strength of each figure per window.

    Args:
        starts: Of the windows.
        lines: Per figure, the strongest first: strength in units of its limit, and whether it has drifted.
    """
    figure = new_figure(4.0)
    axes = figure.subplots()
    places = np.arange(1, len(starts) + 1)
    axes.axhline(1.0, color=ORANGE, lw=1.4, ls="--", label="limit")
    for i, (name, points) in reversed(list(enumerate(lines.items()))):
        named = i < _LINES
        colour = PALETTE[i % len(PALETTE)] if named else GREY
        values = [np.nan if point is None else point[0] for point in points]
        axes.plot(places, values, "-", color=colour, lw=1.6 if named else 0.8, label=short(name) if named else None)
        hits = [j for j, point in enumerate(points) if point is not None and point[1]]
        axes.plot(places[hits], np.array(values)[hits], "o", color=colour, ms=4.5, mec="white")
        if len(points) == 1:
            axes.plot(places, values, "_", color=colour, ms=9)
    axes.set_ylim(0)
    axes.set_xlabel(f"window, from {starts[0]:%Y-%m-%d %H:%M} to one that begins {starts[-1]:%Y-%m-%d %H:%M} UTC")
    axes.set_ylabel("distance from the reference")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")
    handles, words = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], words[::-1], loc="outside right center")
    drifted = sum(any(p is not None and p[1] for p in column) for column in zip(*lines.values(), strict=True))
    return figure, f"Drift over {len(starts)} windows: {drifted} have drifted."


@picture
def shares_svg(name: str, reference: Mapping[str, float], now: Mapping[str, float]) -> Drawn:
    """Two bars per share: of the reference, and now."""
    keys = list(dict.fromkeys([*reference, *now]))
    figure = new_figure(0.9 + 0.34 * len(keys))
    axes = figure.subplots()
    places = np.arange(len(keys))[::-1]
    for shares, offset, colour, label in ((reference, 0.19, GREY, "reference"), (now, -0.19, BLUE, "latest window")):
        axes.barh(places + offset, [shares.get(key, 0.0) for key in keys], 0.36, color=colour, label=label)
    axes.set_yticks(places, [short(key) for key in keys])
    axes.set_xlabel(f"{name}: share of the decisions")
    axes.legend(loc="lower right")
    words = ", ".join(f"{key} {percent(reference.get(key, 0.0))} to {percent(now.get(key, 0.0))}" for key in keys[:8])
    return figure, f"{name}, reference and latest window: {words}."
