"""Selective classification: how wrong the accepted answers are at which coverage, and bounds on it that hold.

Terms: the coverage is the share of texts that are answered, the selective risk the share of wrong ones among those.
El-Yaniv & Wiener 2010, JMLR 11; Geifman & El-Yaniv 2017, arXiv:1705.08500.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import UsageError
from ..predictors import FloatArray

RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of wrong answers at which coverage is reported, and budgets are certified where none are named."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """Risk against coverage, from the surest answer to the least sure; each array has shape (n,).

    Attributes:
        confidence: Descending; entry k is the threshold that accepts the k + 1 surest answers.
        coverage: Share that is accepted, 1 / n to 1.
        errors: Wrong answers among them; answers that are equally sure share theirs evenly, since no threshold can
            tell them apart and their order means nothing.
    """

    confidence: FloatArray
    coverage: FloatArray
    errors: FloatArray

    @property
    def risk(self) -> FloatArray:
        """Selective risk at each coverage, 0 to 1."""
        risk: FloatArray = self.errors / np.arange(1, len(self.errors) + 1)
        return risk


def risk_coverage(confidence: npt.ArrayLike, wrong: npt.ArrayLike) -> Curve:
    """The curve of n answers.

    Args:
        confidence: How sure each answer is, shape (n,); only the order matters.
        wrong: Whether it is wrong, shape (n,).

    Raises:
        UsageError: there is none, the shapes differ, or a confidence is not a number.
    """
    sure, bad = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != bad.shape or not len(sure):
        raise UsageError(f"confidence of shape {sure.shape} and wrong of shape {bad.shape} must both be (n,), n >= 1")
    if not np.isfinite(sure).all():
        raise UsageError("a confidence is not a number; leave out answers that have none")
    order = np.argsort(-sure, kind="stable")
    sure, bad = sure[order], bad[order]
    _, group, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=bad) / sizes)[group]
    n = len(sure)
    return Curve(sure, np.arange(1, n + 1) / n, np.cumsum(shared))


def aurc(confidence: npt.ArrayLike, wrong: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve, 0 to 1, lower is better: the selective risk averaged over all coverages."""
    return float(risk_coverage(confidence, wrong).risk.mean())


def augrc(confidence: npt.ArrayLike, wrong: npt.ArrayLike) -> float:
    """Area under the generalised curve, 0 to 0.5, lower is better: share of wrong *and* accepted, averaged.

    Traub et al. 2024, arXiv:2407.01032: unlike AURC it does not weigh the few surest answers most.
    """
    curve = risk_coverage(confidence, wrong)
    return float((curve.errors / len(curve.errors)).mean())


def coverage_at(confidence: npt.ArrayLike, wrong: npt.ArrayLike, max_risk: float) -> float:
    """Largest coverage, 0 to 1, whose risk on these very rows is at most ``max_risk``; no promise for others."""
    curve = risk_coverage(confidence, wrong)
    # A threshold takes all that are equally sure.
    last = np.append(curve.confidence[1:] != curve.confidence[:-1], True)
    held = curve.coverage[last & (curve.risk <= max_risk + 1e-12)]
    return float(held.max()) if len(held) else 0.0


def upper_bound(errors: int, n: int, certainty: float) -> float:
    """Exact upper confidence bound on a share, from ``errors`` of ``n``: Clopper & Pearson 1934, one-sided.

    >>> round(upper_bound(0, 59, 0.95), 4)
    0.0495
    """
    return 1.0 if errors >= n else float(stats.beta.ppf(certainty, errors + 1, n - errors))


def p_value(errors: int, n: int, max_error: float) -> float:
    """How likely so few errors among n are if the risk is ``max_error`` or more; 1 for n = 0."""
    return float(stats.binom.cdf(errors, n, max_error)) if n else 1.0


@dataclass(frozen=True)
class Accepted:
    """What a threshold accepts of some rows.

    Attributes:
        threshold: Answers of this confidence and more are accepted.
        n: How many those were.
        errors: How many of those were wrong.
        bound: Upper bound on the risk, 0 to 1, at the certainty asked for.
    """

    threshold: float
    n: int
    errors: int
    bound: float


def fixed_sequence(
    confidence: npt.ArrayLike, wrong: npt.ArrayLike, thresholds: Sequence[float], max_error: float, certainty: float
) -> Accepted | None:
    """The last threshold of the sequence up to which every one is shown to keep the risk at or below ``max_error``.

    Learn then Test with fixed-sequence testing (Angelopoulos et al. 2021, arXiv:2110.01052): for each threshold in
    turn the hypothesis "the risk is above max_error" is tested with the exact binomial p-value at level
    1 - certainty; the first that stands ends it. Whatever the answers are like, the chance over the rows that the risk
    at the threshold that comes out is above max_error is at most 1 - certainty, as long as the rows are independent
    draws and neither they nor what was fitted on them chose the sequence.

    Args:
        confidence: How sure each answer is, shape (n,).
        wrong: Whether it is wrong, shape (n,).
        thresholds: In the order of testing, fixed beforehand; see :func:`sequence`.
        max_error: Largest risk that is borne, between 0 and 1.
        certainty: Between 0 and 1.

    Returns:
        None where not even the first threshold passes.
    """
    tested = np.asarray(thresholds, dtype=np.float64)
    n, errors = _accepted(confidence, wrong, tested)
    passes = np.where(n > 0, stats.binom.cdf(errors, n, max_error), 1.0) <= 1 - certainty
    held = len(passes) if passes.all() else int(np.argmin(passes))
    if not held:
        return None
    last = held - 1
    bound = upper_bound(int(errors[last]), int(n[last]), certainty)
    return Accepted(float(tested[last]), int(n[last]), int(errors[last]), bound)


def _accepted(
    confidence: npt.ArrayLike, wrong: npt.ArrayLike, thresholds: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many answers each threshold accepts, and how many of those are wrong."""
    sure, bad = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=np.int64)
    order = np.argsort(sure, kind="stable")
    below = np.searchsorted(sure[order], thresholds, side="left")
    errors_below = np.concatenate([[0], np.cumsum(bad[order])])
    return np.asarray(len(sure) - below), np.asarray(errors_below[-1] - errors_below[below])


Grid: TypeAlias = tuple[tuple[float, int, int], ...]
"""From strict to loose: threshold, rows that it accepts, wrong ones among those."""


def grid_of(confidence: npt.ArrayLike, wrong: npt.ArrayLike, steps: int = 400) -> Grid:
    """Thresholds that accept from 1 / steps of these rows to everything, with what they accept.

    Args:
        confidence: How sure each of m answers is, shape (m,).
        wrong: Whether it is wrong, shape (m,).
    """
    curve = risk_coverage(confidence, wrong)
    m = len(curve.confidence)
    places = np.unique(np.ceil(np.linspace(m / steps, m, min(steps, m))).astype(int)) - 1
    # The same number can come out at several places; a threshold is tested once.
    thresholds = list(dict.fromkeys([*(float(value) for value in curve.confidence[places]), 0.0]))
    taken, errors = _accepted(confidence, wrong, np.array(thresholds))
    return tuple(zip(thresholds, taken.tolist(), errors.tolist(), strict=True))


def sequence(grid: Grid, n: int, max_error: float) -> tuple[float, ...]:
    """Thresholds for :func:`fixed_sequence` on n *other* rows, from the one where the test is likeliest to pass.

    A strict threshold accepts so few that even no error proves nothing (59 are needed for 5 % at 95 %), the more so
    where the confidence of other rows reaches less far up. So the sequence starts where these rows speak most clearly
    against too high a risk, and goes on to looser ones.

    Args:
        grid: Of rows that may choose: those that the confidence was fitted on.
        n: Rows that the sequence will be tested on.
    """
    thresholds, taken, errors = (np.array(column) for column in zip(*grid, strict=True))
    kept = np.floor(n * taken / taken[-1])
    # Half an error more than seen: a stretch without any is not proof against them.
    likely = stats.binom.cdf(np.ceil((errors + 0.5) / (taken + 1) * kept), kept, max_error)
    first = int(np.argmin(likely))
    return tuple(float(threshold) for threshold in thresholds[first:])
