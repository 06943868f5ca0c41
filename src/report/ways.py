"""How many texts took which way through the graph, as bands from stage to stage (a Sankey diagram)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from ..schema import Reason
from ..training.evaluation.plots import GREY
from .svg import Drawn, new_figure, percent, picture, short


def reason_stage(reasons: Sequence[str]) -> str:
    """Reasons as a stage of the way through the graph."""
    known = {"budget": "over the error budget"}
    if not reasons:
        return "not doubted"
    return "several reasons" if len(reasons) > 1 else known.get(reasons[0], reasons[0].replace("_", " "))


REASONS = ("not doubted", *(reason_stage([reason]) for reason in get_args(Reason)), "several reasons")
"""Stages that :func:`reason_stage` gives, in order."""


@picture
def ways_svg(ways: Mapping[tuple[str, ...], int], order: Sequence[str], colours: Mapping[str, str]) -> Drawn:
    """Bands whose thickness is the number of texts.

    Args:
        ways: Texts by the stages that they went through, all of the same number.
        order: Stages from top to bottom, of all columns; what it does not name comes last.
        colours: Of stages; the bands that lead to one are in its colour. The others are grey.
    """
    columns = list(zip(*ways, strict=True))
    total = sum(ways.values())
    place = {name: i for i, name in enumerate(order)}
    stages = [sorted(set(column), key=lambda name: (place.get(name, len(place)), name)) for column in columns]
    figure = new_figure(max(2.4, 0.42 * max(map(len, stages)) + 1.2))
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
            words = f"{short(name, 40)}: {sizes[column][name]:,} ({percent(share)})"
            axes.text(column + 0.03, top - share / 2, words, va="center", fontsize=9, zorder=4)
    axes.set_xlim(-0.02, len(columns) - 0.4)  # room for the words of the last column
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
