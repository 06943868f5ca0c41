"""Whether a candidate may take the incumbent's place: both are measured as whole graphs on the same rows.

The golden set: the candidate is to be no worse than ``margin`` (0.5 points of accuracy). A test that shows this with
95 % certainty would refuse most candidates that are just as good: 2,300 rows, 4 % of which just one of two versions has
right, leave a standard error of 0.42 points. So the certainty is the largest, up to 95 %, at which an equal candidate
still passes four times out of five, given the rows and how often the two differ; and at least 50 %: the estimate itself
has to stay above the margin. The interval is Bonett & Price's for paired proportions (2012, J. Educ. Behav. Stat. 37).
How often candidates pass by this rule, from 20,000 draws each (:func:`passing_rate`):

    rows    answered differently    equal    0.5 points worse    1 point worse    2 points worse
    500     4 %                     0.71         0.50                0.29             0.04
    1,400   4 %                     0.80         0.46                0.15             0.00
    2,300   4 %                     0.81         0.36                0.06             0.00
    4,600   4 %                     0.80         0.20                0.00             0.00
    2,300   8 %                     0.80         0.50                0.20             0.00

A version that was fitted on the golden rows, before they were set aside, is compared as it is without that; see
:mod:`.reference`.

The fresh corrections that were held out: it must fix more than it breaks, by an exact sign test where five or more
differ. Recall of each label: a drop of more than ``floor`` points that an exact sign test does not put down to chance
refuses it, or any recall below a floor that was given. Calibration: an expected calibration error that is higher by
more than ``ece``, and by more than a bootstrap puts down to chance. Latency: a warning, for timings are noisy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..errors import UsageError
from ..graph import Classifier
from ..predictors import FloatArray
from ..training.datasets import Example
from ..training.evaluation.metrics import binned_gap
from ..training.evaluation.slices import raw_text
from ..trust.observe import Observed, observe_rows
from ..trust.risk import BoolArray

CERTAINTY = 0.95
EQUAL_PASSES = 0.8
FEWEST_DIFFERENT = 5
"""Rows that two versions answer differently from which on a sign test can say something: 0.5 ** 5 is below 0.05."""
_Z_CERTAIN, _Z_EQUAL = NormalDist().inv_cdf(CERTAINTY), NormalDist().inv_cdf(EQUAL_PASSES)
_DRAWS = 500
_TIMED = 40


@dataclass(frozen=True)
class Limits:
    """What a candidate has to keep.

    Attributes:
        margin: Accuracy on the golden set that may be lost, 0.005 being half a point.
        floor: Recall of a label that may be lost.
        floors: Recall by label that must be reached on the golden set, instead.
        ece: Expected calibration error that may be added.
        latency: Factor of the time for one text from which on it is said.
        refuse_slow: Whether a slower candidate is refused.
    """

    margin: float = 0.005
    floor: float = 0.05
    floors: Mapping[str, float] | None = None
    ece: float = 0.02
    latency: float = 1.25
    refuse_slow: bool = False


class Check(BaseModel):
    """One comparison."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    required: bool = Field(default=True, description="Whether failing refuses the candidate; else it is a warning.")
    words: str
    figures: dict[str, Any] = Field(default_factory=dict)


def judge(
    incumbent: Classifier,
    candidate: Classifier,
    golden: Sequence[Example],
    fresh: Sequence[Example],
    limits: Limits,
    *,
    reference: Classifier | None = None,
) -> list[Check]:
    """Compares two versions.

    Args:
        incumbent: The version in use, without corrections in memory, human review or an error budget.
        candidate: The other one, set up alike.
        golden: Rows that neither was trained or fitted on.
        fresh: Corrections that neither was trained on.
        limits: What the candidate has to keep.
        reference: What stands for the version in use on the golden rows, where that was fitted on them; see
            :mod:`.reference`.

    Raises:
        UsageError: no golden row, or a floor of a label that the task does not have.
    """
    if not golden:
        raise UsageError("the golden set has no row; give labelled texts with --golden FILE (golden=)")
    unknown = [label for label in limits.floors or () if label not in candidate.labels]
    if unknown:
        raise UsageError(f"no label {unknown[0]!r} to keep a floor for; there are: {', '.join(candidate.labels)}")
    before, after = observe_rows(reference or incumbent, golden), observe_rows(candidate, golden)
    checks = [_golden(before.right, after.right, limits)]
    if fresh:
        checks.append(_fresh(observe_rows(incumbent, fresh).right, observe_rows(candidate, fresh).right))
    else:
        words = "no correction was held out, so nothing shows that the candidate is better; more corrections are needed"
        checks.append(Check(name="fresh", passed=False, words=words, figures={"n": 0}))
    checks += _recalls(golden, before, after, candidate.labels, limits)
    checks.append(_calibration(before, after, limits))
    checks.append(_latency(incumbent, candidate, golden, limits))
    return checks


def paired_bound(broke: int, fixed: int, n: int, z: float) -> float:
    """Lower bound of how much more accurate the second of two versions is, after Bonett & Price (2012).

    Args:
        broke: Rows that only the first has right.
        fixed: Rows that only the second has right.
        n: Rows in all.
        z: Standard errors below the estimate; 0 gives the estimate itself, without their correction.

    >>> round(paired_bound(20, 20, 2000, 1.645), 4)
    -0.0053
    """
    if z <= 0:
        return (fixed - broke) / n
    lost, won = (broke + 1) / (n + 2), (fixed + 1) / (n + 2)
    return won - lost - z * math.sqrt((won + lost - (won - lost) ** 2) / (n + 2))


def strictness(broke: int, fixed: int, n: int, margin: float) -> float:
    """Standard errors that the golden set is judged with: as many as let four equal candidates of five pass.

    >>> round(strictness(46, 46, 2300, 0.005), 2), round(strictness(400, 400, 100_000, 0.005), 2)
    (0.35, 1.64)
    """
    error = math.sqrt(broke + fixed + 2) / (n + 2)
    return min(max(margin / error - _Z_EQUAL, 0.0), _Z_CERTAIN)


def passes_golden(broke: int, fixed: int, n: int, margin: float) -> bool:
    """Whether a candidate that breaks and fixes so many of n rows is no worse than ``margin``."""
    bound = paired_bound(broke, fixed, n, strictness(broke, fixed, n, margin))
    return bound >= -margin - 1e-12


def passing_rate(n: int, different: float, worse: float, margin: float = 0.005, *, draws: int = 20_000) -> float:
    """How often a candidate passes the golden set.

    Args:
        n: Golden rows.
        different: Share of rows that just one of the two has right.
        worse: How much less accurate the candidate is.
        margin: See :class:`Limits`.
        draws: Simulated golden sets.
    """
    generator = np.random.default_rng(13)
    shares = [(different + worse) / 2, (different - worse) / 2, 1 - different]
    drawn = generator.multinomial(n, shares, size=draws)
    pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    passed = [passes_golden(int(broke), int(fixed), n, margin) for broke, fixed in pairs]
    return float(counts[passed].sum() / draws)


def _golden(before: BoolArray, after: BoolArray, limits: Limits) -> Check:
    n, broke, fixed = len(before), int((before & ~after).sum()), int((~before & after).sum())
    z = strictness(broke, fixed, n, limits.margin)
    passed = passes_golden(broke, fixed, n, limits.margin)
    different = (broke + fixed) / n
    rate = {
        name: round(passing_rate(n, max(different, worse), worse, limits.margin, draws=2000), 3)
        for name, worse in (("equal", 0.0), ("one point worse", 0.01), ("two points worse", 0.02))
    }
    figures: dict[str, Any] = {
        "n": n,
        "incumbent": round(float(before.mean()), 4),
        "candidate": round(float(after.mean()), 4),
        "fixed": fixed,
        "broke": broke,
        "difference": round((fixed - broke) / n, 4),
        "bound": round(paired_bound(broke, fixed, n, z), 4),
        "certainty": round(NormalDist().cdf(z), 3),
        "bound_95": round(paired_bound(broke, fixed, n, _Z_CERTAIN), 4),
        "margin": limits.margin,
        "passing_rate": rate,
    }
    points = 100 * limits.margin
    words = (
        f"golden set: accuracy {figures['incumbent']:.3f} -> {figures['candidate']:.3f} on {n:,} rows, {fixed} fixed, "
        f"{broke} broken; with {figures['certainty']:.0%} certainty a change of {100 * figures['bound']:+.2f} points "
        f"or better, at least {-points:+.2f} is needed"
    )
    return Check(name="golden", passed=passed, words=words, figures=figures)


def _fresh(before: BoolArray, after: BoolArray) -> Check:
    broke, fixed = int((before & ~after).sum()), int((~before & after).sum())
    p = sign_test(fixed, broke)
    tested = fixed + broke >= FEWEST_DIFFERENT
    passed = fixed > broke and (not tested or p <= 1 - CERTAINTY)
    figures = {
        "n": len(before),
        "incumbent": round(float(before.mean()), 4),
        "candidate": round(float(after.mean()), 4),
        "fixed": fixed,
        "broke": broke,
        "p": float(f"{p:.3g}"),
        "tested": tested,
    }
    test = f"p = {p:.2g} by the sign test" if tested else "too few differ for a test"
    words = (
        f"fresh corrections: {figures['incumbent']:.3f} -> {figures['candidate']:.3f} on {len(before):,} held-out "
        f"ones, {fixed} fixed, {broke} broken; {test}"
    )
    return Check(name="fresh", passed=passed, words=words, figures=figures)


def sign_test(fixed: int, broke: int) -> float:
    """One-sided exact p value that a version is no better than another, from the rows that just one has right.

    >>> sign_test(5, 0)
    0.03125
    """
    from scipy.stats import binomtest

    return float(binomtest(fixed, fixed + broke, 0.5, alternative="greater").pvalue) if fixed + broke else 1.0


def _recalls(
    golden: Sequence[Example], before: Observed, after: Observed, labels: Sequence[str], limits: Limits
) -> list[Check]:
    """One check per label of the golden set."""
    checks = []
    for label in labels:
        rows = np.array([label in row.labels for row in golden])
        n = int(rows.sum())
        if not n:
            continue
        had, has = (np.array([_says(answer, label) for answer in seen.answers])[rows] for seen in (before, after))
        broke, fixed = int((had & ~has).sum()), int((~had & has).sum())
        low, high = _interval(int(has.sum()), n)
        figures: dict[str, Any] = {
            "n": n,
            "incumbent": round(float(had.mean()), 4),
            "candidate": round(float(has.mean()), 4),
            "interval": [low, high],
        }
        given = (limits.floors or {}).get(label)
        if given is not None:
            figures["floor"] = given
            passed = float(has.mean()) >= given
        else:
            p = sign_test(broke, fixed)
            figures |= {"floor": round(float(had.mean()) - limits.floor, 4), "p": float(f"{p:.3g}")}
            passed = float(has.mean()) >= float(had.mean()) - limits.floor - 1e-12 or p > 1 - CERTAINTY
        words = (
            f"recall of {label}: {figures['incumbent']:.3f} -> {figures['candidate']:.3f} ({low:.3f} to {high:.3f}, "
            f"n = {n:,}), floor {figures['floor']:.3f}"
        )
        checks.append(Check(name=f"recall of {label}", passed=passed, words=words, figures=figures))
    return checks


def _says(answer: Any, label: str) -> bool:
    return answer == label if isinstance(answer, str) else label in (answer or ())


def _interval(k: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(k, n).proportion_ci(0.95)
    return round(float(found.low), 4), round(float(found.high), 4)


def _calibration(before: Observed, after: Observed, limits: Limits) -> Check:
    n = len(before.right)

    def gap(rows: Any) -> float:
        then, now = (binned_gap(seen.confidence[rows], seen.right[rows]) for seen in (before, after))
        return now - then

    generator = np.random.default_rng(13)
    drawn = np.array([gap(generator.integers(0, n, n)) for _ in range(_DRAWS)])
    low, added = float(np.quantile(drawn, 1 - CERTAINTY)), gap(np.arange(n))
    then = binned_gap(before.confidence, before.right)
    figures = {
        "incumbent": round(then, 4),
        "candidate": round(then + added, 4),
        "added": round(added, 4),
        "bound": round(low, 4),
    }
    passed = added <= limits.ece or low <= 0
    words = (
        f"calibration: expected calibration error {then:.3f} -> {then + added:.3f}; at most {limits.ece:g} may be "
        "added, chance left aside"
    )
    return Check(name="calibration", passed=passed, words=words, figures=figures)


def _latency(incumbent: Classifier, candidate: Classifier, rows: Sequence[Example], limits: Limits) -> Check:
    """Milliseconds for one text, by turns, so that whatever else runs on the machine slows both."""
    spent: tuple[list[float], list[float]] = ([], [])
    texts = [raw_text(row) for row in rows[:: max(1, len(rows) // _TIMED)][:_TIMED]]
    for text in [texts[0], *texts]:
        for classifier, times in zip((incumbent, candidate), spent, strict=True):
            start = time.perf_counter()
            classifier.classify(text)
            times.append(1000 * (time.perf_counter() - start))
    then, now = (median(times[1:]) for times in spent)
    factor = now / then
    figures: Mapping[str, FloatArray | float] = {
        "incumbent_ms": round(then, 3),
        "candidate_ms": round(now, 3),
        "factor": round(factor, 3),
    }
    words = f"latency: {then:.1f} -> {now:.1f} ms for one text; a factor of {limits.latency:g} is the limit"
    return Check(
        name="latency",
        passed=factor <= limits.latency,
        required=limits.refuse_slow,
        words=words,
        figures=dict(figures),
    )
