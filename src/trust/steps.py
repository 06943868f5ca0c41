"""What each step of the graph did to the answers: how many it fixed, broke and left, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..artifacts import Rule
from ..graph import Classifier
from ..nodes import Rung
from ..predictors.ensemble import Ensemble
from ..predictors.restricted import whole
from ..schema import Classification
from ..training.datasets import Example
from ..training.evaluation.comparison import mcnemar_exact
from ..training.evaluation.slices import raw_text
from .observe import Observed, Tried, right_answers
from .risk import BoolArray

EMOJI_STEP, WHOLE_STEP, MEMORY_STEP = "emoji lexicon", "whole graph", "memory"
_LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """Answers before and after something, on the same rows.

    Attributes:
        fixed: Wrong before, or none, and right after.
        broke: Right before and not after.
        left: Right before and after, or neither.
        net: fixed - broke.
        net_interval: 95 % interval of ``net``, in rows: Clopper & Pearson's for the share of fixed ones among those
            that changed between right and wrong, whose number is taken as given.
        p: Two-sided, of McNemar's exact test of "it fixes as many as it breaks".
    """

    fixed: int
    broke: int
    left: int
    net: int
    net_interval: tuple[float, float]
    p: float

    @classmethod
    def between(cls, before: BoolArray, after: BoolArray) -> Change:
        """From whether each row's answer is right before and after, shapes (n,)."""
        fixed, broke = int((after & ~before).sum()), int((before & ~after).sum())
        changed = fixed + broke
        low = high = 0.0
        if changed:
            shares = stats.binomtest(fixed, changed).proportion_ci(_LEVEL)
            low, high = (round(changed * (2 * float(share) - 1), 1) for share in (shares.low, shares.high))
        p = mcnemar_exact(fixed, broke)
        return cls(fixed, broke, len(before) - changed, fixed - broke, (low, high), float(f"{p:.3g}"))


@dataclass(frozen=True)
class Step:
    """One step of the graph on n rows.

    Attributes:
        name: The emoji lexicon, the primary's name, a backup's, the whole graph, or the memory.
        rule: When a backup's answer replaces the one that stands, see :class:`healdag.nodes.Rung`; None for the others.
        through: Names of the ensembles among the later backups that weigh what it says.
        asked: Rows that reached it.
        failed: Of those, the ones that it could not answer.
        took: Of those, the ones whose answer became its own; the label may be the same.
        right: Of those, the ones with a right answer after it.
        change: Against the answers that it found standing; None for the first answers.
        alone: Had its own answer replaced the primary's wherever it was asked; None for what is no backup.
        ms: Milliseconds per row asked; None where it is not known.
    """

    name: str
    rule: Rule | None
    through: tuple[str, ...]
    asked: int
    failed: int
    took: int
    right: int
    change: Change | None
    alone: Change | None
    ms: float | None


def score_steps(seen: Observed, ladder: Sequence[Rung], primary: str = "model") -> list[Step]:
    """The emoji lexicon (where it answered any row), the primary, each backup in order, and the whole graph.

    Args:
        seen: Of a graph with this ladder.
        primary: Name of the primary.
    """
    asked = np.array([ms is not None for ms in seen.primary_ms], dtype=bool)
    emoji = ~asked & np.array([answer is not None for answer in seen.primary_answers], dtype=bool)
    steps = [_first(EMOJI_STEP, seen, emoji, None)] if emoji.any() else []
    spent = [ms for ms in seen.primary_ms if ms is not None]
    steps.append(_first(primary, seen, asked, _mean(spent)))
    steps += [_of_rung(seen, rung, _heard_by(ladder, i)) for i, rung in enumerate(ladder)]
    n = len(seen.right)
    change = Change.between(seen.primary_right, seen.right)
    failed = sum(answer is None for answer in seen.answers)
    took = sum(any(one.took for one in row) for row in seen.tried)
    ms = round(sum(seen.node_ms.values()) / n, 3) if n else None
    return [*steps, Step(WHOLE_STEP, None, (), n, failed, took, int(seen.right.sum()), change, None, ms)]


def score_memory(classifier: Classifier, rows: Sequence[Example], seen: Observed) -> Step:
    """What people's corrections do to the answers to labelled rows: those that they give themselves.

    Args:
        classifier: With a memory.
        rows: As for :func:`healdag.trust.observe.observe_rows`, the same order.
        seen: What it found, the memory left aside.
    """
    texts, truth = [raw_text(row) for row in rows], right_answers(rows, classifier)
    start = time.perf_counter()
    results = classifier.classify_many(texts, errors="return")
    ms = (time.perf_counter() - start) * 1000 / max(len(texts), 1)
    by_memory = [isinstance(result, Classification) and result.source == "memory" for result in results]
    told = np.array(by_memory, dtype=bool)
    pairs = zip(results, truth, strict=True)
    after = np.array([isinstance(r, Classification) and r.final_label == right for r, right in pairs], dtype=bool)
    asked, right = int(told.sum()), int(after[told].sum())
    change = Change.between(seen.right[told], after[told])
    return Step(MEMORY_STEP, None, (), asked, 0, asked, right, change, None, round(ms, 3))


def change_cells(change: Change | None) -> tuple[str, str, str, str, str]:
    """Fixed, broke, left, net with its interval, and p, as they are shown in tables."""
    if change is None:
        return ("-",) * 5
    counts = f"{change.fixed:,}", f"{change.broke:,}", f"{change.left:,}"
    if change.fixed + change.broke == 0:
        return *counts, "0", "-"
    low, high = change.net_interval
    return *counts, f"{change.net:+,} ({low:+,.0f} to {high:+,.0f})", f"{change.p:.2g}"


def node_times(seen: Observed) -> dict[str, float]:
    """Milliseconds per row, all rows counted, that each node of the graph took."""
    return {name: round(ms / max(len(seen.right), 1), 3) for name, ms in seen.node_ms.items()}


def _first(name: str, seen: Observed, asked: BoolArray, ms: float | None) -> Step:
    answered = [seen.primary_answers[i] is not None for i in np.flatnonzero(asked)]
    right = int(seen.primary_right[asked].sum())
    return Step(name, None, (), len(answered), len(answered) - sum(answered), sum(answered), right, None, None, ms)


def _of_rung(seen: Observed, rung: Rung, through: tuple[str, ...]) -> Step:
    found: list[Tried] = []
    before, primary = [], []
    for i, row in enumerate(seen.tried):
        stands = bool(seen.primary_right[i])
        for one in row:
            if one.by == rung.name:
                found.append(one)
                before.append(stands)
                primary.append(bool(seen.primary_right[i]))
            stands = one.stands
    after = np.array([one.stands for one in found], dtype=bool)
    own = np.array([one.right for one in found], dtype=bool)
    return Step(
        name=rung.name,
        rule=rung.rule,
        through=through,
        asked=len(found),
        failed=sum(one.failed for one in found),
        took=sum(one.took for one in found),
        right=int(after.sum()),
        change=Change.between(np.array(before, dtype=bool), after),
        alone=Change.between(np.array(primary, dtype=bool), own),
        ms=_mean([one.ms for one in found]),
    )


def _heard_by(ladder: Sequence[Rung], place: int) -> tuple[str, ...]:
    name = ladder[place].name
    later = ((rung.name, whole(rung.predictor)) for rung in ladder[place + 1 :])
    return tuple(other for other, predictor in later if isinstance(predictor, Ensemble) and name in predictor.needs)


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
