"""Whether the decisions of a log still look like those on held-out rows: input, and predictions, window by window.

scipy's chi-squared test of each figure (Fisher's exact one where it is rare), with the false discovery rate of all of
them held (Benjamini & Hochberg 1995). In a long log every difference is significant, so that an alarm takes an effect
of some size as well: the population stability index, which credit scoring takes for a minor change from 0.1 and for a
major one from 0.25 on (Lewis 1994, "An Introduction to Credit Scoring"; how it varies by chance: Yurdakul 2018,
"Statistical Properties of Population Stability Index"), or for shares of yes and no Cohen's h, medium from 0.5 on
(Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences"). For a small change of a share the index is
h squared, so that the two limits say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..artifacts import Profile
from ..errors import UsageError
from ..store import Decision
from .profile import NONE, Tally

Kind = Literal["input", "prediction"]
Counts = npt.NDArray[np.int64]

LIMITS = {"PSI": 0.2, "h": 0.5}
"""Effect from which a figure has drifted, by measure."""
RATE = 0.01
"""False discovery rate: of the figures that are taken for different so many are not."""
FEWEST = 50
"""Decisions that have a figure, on both sides, without which it is not looked at."""
WINDOW = 500
HELD_BACK = "reason budget"
"""Flag of an answer that is held back: the log does not say what it was."""
_RARE = 5
"""Expected counts below it are joined: the chi-squared test does not hold for them."""
_OF_INPUT = {"length", "sarcasm", "unfamiliar", "reason sarcasm", "reason unreadable", "reason unfamiliar"}


@dataclass(frozen=True)
class Figure:
    """One figure of a window against the reference.

    Attributes:
        name: 'length', 'sarcasm', 'unfamiliar', 'confidence', 'label', 'source', 'label X' or 'reason X'.
        kind: Whether it is of the texts, or of what was answered.
        measure: 'PSI' or 'h', see :data:`LIMITS`.
        effect: By that measure; h is above 0 where there are more of them than in the reference.
        p: Of the test, before all of them are taken together.
        n: Decisions of the window that have it.
        q: The false discovery rate at which it would be taken for different.
    """

    name: str
    kind: Kind
    measure: str
    effect: float
    p: float
    n: int
    q: float = 1.0

    @property
    def strength(self) -> float:
        """The effect in units of its limit."""
        return abs(self.effect) / LIMITS[self.measure]

    @property
    def drifted(self) -> bool:
        """Whether it is both significant and large."""
        return self.q <= RATE and self.strength >= 1.0


@dataclass(frozen=True)
class Window:
    """Consecutive decisions.

    Attributes:
        start: Time of the first one.
        end: Time of the last one.
        counts: What they came to.
        figures: Against the reference, the strongest first.
    """

    start: datetime
    end: datetime
    counts: Profile
    figures: tuple[Figure, ...] = ()

    @property
    def drifted(self) -> tuple[Figure, ...]:
        """The figures that have drifted."""
        return tuple(figure for figure in self.figures if figure.drifted)


@dataclass(frozen=True)
class Drift:
    """What :func:`find_drift` found.

    Attributes:
        reference: What the log was held against.
        windows: In the order of the log.
        left_out: Figures that could not be compared, and why.
    """

    reference: Profile
    windows: tuple[Window, ...]
    left_out: Mapping[str, str]

    @property
    def alarm(self) -> bool:
        """Whether the latest window has drifted."""
        return bool(self.windows[-1].drifted)

    @property
    def since(self) -> datetime | None:
        """Start of the first of the drifted windows that end with the latest; None where that has not drifted."""
        start = None
        for window in reversed(self.windows):
            if not window.drifted:
                break
            start = window.start
        return start

    def in_words(self, task: str) -> list[str]:
        """What was found, and what could be done; nothing is done by itself."""
        latest, n = self.windows[-1], sum(window.counts.n for window in self.windows)
        before = sum(bool(window.drifted) for window in self.windows)
        lines = [
            f"{n:,} decisions in {len(self.windows):,} windows, held against {self.reference.n:,} "
            f"({self.reference.rows}); drifted windows: {before:,}."
        ]
        if not self.alarm:
            lines.append("No drift: the latest window looks like the reference.")
        else:
            parts = [
                f"{kind} ({', '.join(figure.name for figure in latest.drifted if figure.kind == kind)})"
                for kind in ("input", "prediction")
                if any(figure.kind == kind for figure in latest.drifted)
            ]
            lines += [
                f"Drift since {self.since:%Y-%m-%d %H:%M} UTC: {' and '.join(parts)}.",
                "Whether answers are wrong more often cannot be told from a log. To find out, label some of the latest "
                f"texts: healdag evaluate {task} --data FILE --graph. If they are, correct them and heal: "
                f"healdag heal {task}.",
            ]
        lines += [f"Not compared: {name}, {why}." for name, why in self.left_out.items()]
        return lines


def find_drift(decisions: Iterable[Decision], reference: Profile, window: int = WINDOW) -> Drift:
    """Holds the decisions of a log against a profile; they are read once, and no text is kept.

    Args:
        decisions: In the order of time.
        reference: From an artefact (:func:`healdag.artifacts.read_profile`), or from another log.
        window: Decisions in one window; what is left at the end joins the last one where it is less than half of it.

    Raises:
        UsageError: fewer than :data:`FEWEST` decisions, or such a window.
    """
    if window < FEWEST:
        raise UsageError(f"a window holds {FEWEST} decisions or more, got {window}")
    windows = list(_windows(decisions, reference, window))
    n = sum(one.counts.n for one in windows)
    if n < FEWEST:
        raise UsageError(f"{n} decisions are too few to see a drift in: {FEWEST} at least")
    left_out = _incomparable(reference, [one.counts for one in windows])
    each = [list(_figures(reference, one.counts, left_out)) for one in windows]
    tested = _together([figure for figures in each for figure in figures])
    found = []
    for one, figures in zip(windows, each, strict=True):
        mine = sorted((next(tested) for _ in figures), key=lambda figure: -figure.strength)
        found.append(replace(one, figures=tuple(mine)))
    return Drift(reference, tuple(found), left_out)


def _windows(decisions: Iterable[Decision], reference: Profile, size: int) -> Iterator[Window]:
    """The windows, not yet compared."""
    edges = {name: histogram.edges for name, histogram in reference.numbers.items()}
    held: tuple[Window, list[Decision]] | None = None
    some: list[Decision] = []

    def of(rows: Sequence[Decision]) -> Window:
        tally = Tally(edges)
        for row in rows:
            tally.add(row)
        return Window(rows[0].time, rows[-1].time, tally.profile(rows[-1].model_version, "window"))

    for row in decisions:
        some.append(row)
        if len(some) == size:
            if held is not None:
                yield held[0]
            held, some = (of(some), some), []
    if held is None:
        if some:
            yield of(some)
    elif 2 * len(some) < size:
        yield of([*held[1], *some])
    else:
        yield from (held[0], of(some))


def _incomparable(reference: Profile, windows: Sequence[Profile]) -> dict[str, str]:
    """What an error budget hides: a log does not say what an answer was that was held back."""
    if HELD_BACK in reference.flags or not any(HELD_BACK in window.flags for window in windows):
        return {}
    why = "since the log has answers that an error budget held back; take a log with the same one as the reference"
    return dict.fromkeys(("label", "source", "confidence"), why)


def _figures(reference: Profile, window: Profile, left_out: Mapping[str, str]) -> Iterator[Figure]:
    for name, histogram in reference.numbers.items():
        counts = window.numbers[name].counts
        if name not in left_out:
            yield from _of_shares(name, np.array(histogram.counts), np.array(counts))
    for name, shares in reference.shares.items():
        if name not in left_out:
            now = window.shares.get(name, {})
            names = list(dict.fromkeys([*shares, *now]))
            yield from _of_shares(name, *(np.array([of.get(key, 0) for key in names]) for of in (shares, now)))
    for name in sorted({*reference.flags, *window.flags}):
        if name.split(" ")[0] not in left_out and not (left_out and name == HELD_BACK):
            yield from _of_flag(name, reference.flag(name), window.flag(name))


def _of_shares(name: str, reference: Counts, window: Counts) -> Iterator[Figure]:
    from scipy.stats import chi2_contingency

    m, n = int(reference.sum()), int(window.sum())
    if min(m, n) < FEWEST:
        return
    both = _joined(np.stack([reference, window]))
    if both.shape[1] < 2:
        return
    p = float(chi2_contingency(both, correction=False).pvalue)
    yield Figure(name, _kind(name), "PSI", stability_index(both[0], both[1]), p, n)


def _of_flag(name: str, reference: tuple[int, int], window: tuple[int, int]) -> Iterator[Figure]:
    from scipy.stats import chi2_contingency, fisher_exact

    (a, m), (b, n) = reference, window
    if min(m, n) < FEWEST or a + b == 0 or a + b == m + n:
        return
    table = np.array([[a, m - a], [b, n - b]])
    expected = table.sum(axis=0) * min(m, n) / (m + n)
    rare = bool((expected < _RARE).any())
    p = float(fisher_exact(table)[1] if rare else chi2_contingency(table, correction=False).pvalue)
    h = 2 * math.asin(math.sqrt(b / n)) - 2 * math.asin(math.sqrt(a / m))
    yield Figure(name, _kind(name), "h", h, p, n)


def stability_index(reference: Counts, window: Counts) -> float:
    """The population stability index of two rows of counts; half a decision is added to each, so that none is 0.

    >>> round(stability_index(np.array([500, 500]), np.array([300, 700])), 2)
    0.17
    """
    before, now = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, window))
    return float(np.sum((now - before) * np.log(now / before)))


def _joined(table: Counts) -> Counts:
    """Columns that are rare in the smaller row are put together; with the next larger one where that is still rare."""
    table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = int((expected >= _RARE).sum())
    if rare == table.shape[1]:
        return table
    rest = table[:, rare:].sum(axis=1, keepdims=True)
    if expected[rare:].sum() < _RARE and rare:
        table, rest, rare = table, rest + table[:, rare - 1 : rare], rare - 1
    return np.concatenate([table[:, :rare], rest], axis=1)


def _together(figures: Sequence[Figure]) -> Iterator[Figure]:
    """The figures with the false discovery rate of all of them."""
    from scipy.stats import false_discovery_control

    if figures:
        rates = false_discovery_control([figure.p for figure in figures])
        yield from (replace(figure, q=float(q)) for figure, q in zip(figures, rates, strict=True))


def _kind(name: str) -> Kind:
    return "input" if name in _OF_INPUT else "prediction"


def share_of(counts: Profile, name: str) -> dict[str, float]:
    """What a figure looks like, as shares that sum to 1, for people: of labels and sources by name, of numbers by bin.

    Args:
        name: See :class:`Figure`.
    """
    if name in counts.numbers:
        histogram = counts.numbers[name]
        cuts = [f"{edge:.4g}" for edge in histogram.edges]
        names = [f"below {cuts[0]}", *(f"{a} to {b}" for a, b in pairwise(cuts)), f"from {cuts[-1]}"]
        values: dict[str, int] = dict(zip(names, histogram.counts, strict=True)) if cuts else {NONE: counts.n}
    elif name in counts.shares:
        values = counts.shares[name]
    else:
        yes, n = counts.flag(name)
        values = {"yes": yes, "no": n - yes}
    total = sum(values.values()) or 1
    return {key: value / total for key, value in values.items()}
