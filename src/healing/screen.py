"""Which corrections are learned from: repetitions, contradictions, floods, hostile reviewers and label errors are not.

Every one that is left out is kept with its reason. The rules about reviewers and label errors, and their limits, were
chosen on simulated poison: 400 corrections of dair_emotion and tweeteval_emotion by four reviewers, with labels drawn
at random or moved by one for 30 % of them, or for all of one reviewer; see :mod:`.doubt`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from ..errors import ConfigError
from ..predictors import FloatArray
from ..store.feedback import FeedbackEvent
from .corrections import Correction, Screening, readable
from .doubt import Doubt, Judged

Answer = Callable[[Sequence[str]], FloatArray]
"""Texts to the incumbent's probabilities, shape (n, labels)."""


@dataclass(frozen=True)
class Rules:
    """Limits of the screening.

    Attributes:
        per_hour: Corrections that one reviewer may give within an hour; those beyond are left out. None: any number.
        share: How many times the median of the other reviewers one may give; None: any number.
        free: Corrections that anyone may give, whatever the others do.
        fewest: Corrections below which neither reviewers nor labels are judged by a model.
        trusted: Reviewers who are never left out for what they say.
    """

    per_hour: int | None = 1000
    share: float | None = 5.0
    free: int = 50
    fewest: int = 40
    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [name for name in ("per_hour", "share") if (value := getattr(self, name)) is not None and value <= 0]
        if wrong:
            raise ConfigError(f"{', '.join(wrong)} must be above 0, or None for no limit; got {self}")


def screen(
    events: Sequence[FeedbackEvent],
    labels: Sequence[str],
    answer: Answer,
    *,
    multi_label: bool = False,
    held_out: frozenset[str] = frozenset(),
    rules: Rules | None = None,
    seed: int = 13,
) -> Screening:
    """Screens corrections.

    Args:
        events: Corrections that stand, by ``seq``; those of another task must not be among them.
        labels: Of the task, in order.
        answer: What the classifier in use says.
        multi_label: Whether a text can have several labels, or none.
        held_out: Texts that versions are measured on; corrections of them are not learned from.
        rules: The limits.
        seed: Of the folds.

    Returns:
        One correction per text that is left, in the order in which they were given, and what was dropped.

    Raises:
        MissingExtraError: cleanlab is not installed, and there are corrections enough to need it.
    """
    rules = rules or Rules()
    found = readable(events, labels, multi_label=multi_label)
    _leave_out_held_out(found, held_out)
    _leave_out_floods(found, rules)
    _settle_texts(found)
    if len(found.kept) < rules.fewest:
        if found.kept:
            found.notes.append(
                f"{len(found.kept)} corrections are too few to judge reviewers and labels by a model ({rules.fewest} "
                "are needed); the gate alone stands between them and the version in use"
            )
        return found
    doubt = Doubt(tuple(labels), multi_label=multi_label, seed=seed)
    said = answer([one.text for one in found.kept])
    judged = doubt.judge(found.kept, said)
    kept = _leave_out_reviewers(found, judged, rules)
    if kept.sum() >= rules.fewest:
        _leave_out_errors(found, doubt, said[kept])
    return found


def _leave_out_held_out(found: Screening, held_out: frozenset[str]) -> None:
    kept = []
    for one in found.kept:
        if one.text in held_out:
            found.drop(one, "held_out", "the text stands in the validation or test split, which nothing is trained on")
        else:
            kept.append(one)
    found.kept = kept


def _leave_out_floods(found: Screening, rules: Rules) -> None:
    """What one reviewer says within an hour beyond the limit, and beyond many times what the others say."""
    counts = Counter(one.by for one in found.kept)
    limits: dict[str | None, int] = {}
    if rules.share is not None and len(counts) > 1:
        for by in counts:
            others = [n for other, n in counts.items() if other != by]
            limits[by] = max(rules.free, round(rules.share * float(np.median(others))))
    recent: dict[str | None, list[Correction]] = {}
    given: Counter[str | None] = Counter()
    kept = []
    for one in found.kept:
        window = [other for other in recent.get(one.by, []) if one.time - other.time < timedelta(hours=1)]
        if rules.per_hour is not None and len(window) >= rules.per_hour:
            found.drop(one, "flooding", f"more than {rules.per_hour} corrections by {one.by!r} within an hour")
        elif given[one.by] >= limits.get(one.by, len(found.kept)):
            found.drop(
                one,
                "flooding",
                f"{one.by!r} gave {counts[one.by]} corrections; at most {limits[one.by]} count, beside those of the "
                "others",
            )
        else:
            window.append(one)
            given[one.by] += 1
            kept.append(one)
        recent[one.by] = window
    found.kept = kept


def _settle_texts(found: Screening) -> None:
    """One correction per text: each person's latest word, and the clear majority of the persons."""
    by_text: dict[str, list[Correction]] = {}
    for one in found.kept:
        by_text.setdefault(one.key, []).append(one)
    kept: set[str] = set()
    for all_of_one in by_text.values():
        latest = {one.by: one for one in all_of_one}
        for one in all_of_one:
            if latest[one.by] is not one:
                same = latest[one.by].labels == one.labels
                why = f"{one.by!r} said {'the same' if same else 'something else'} about this text later"
                found.drop(one, "duplicate" if same else "superseded", why)
        votes = Counter(one.labels for one in latest.values())
        (winner, most), *rest = votes.most_common(2)
        clear = not rest or (most > len(latest) / 2 and most >= 2)
        chosen = next((one for one in latest.values() if one.labels == winner), None) if clear else None
        for one in latest.values():
            if chosen is None or one.labels != winner:
                words = ", ".join(f"{'|'.join(labels) or 'none'} ({n})" for labels, n in votes.most_common())
                found.drop(one, "contradiction", f"this text was corrected to {words}")
            elif one is not chosen:
                found.drop(one, "duplicate", f"{chosen.by!r} said the same about this text")
        if chosen is not None:
            kept.add(chosen.id)
    found.kept = [one for one in found.kept if one.id in kept]


def _leave_out_reviewers(found: Screening, judged: Judged, rules: Rules) -> np.ndarray:
    """Drops what untrustworthy reviewers said; which of the corrections are kept, shape (n,)."""
    keep = np.ones(len(found.kept), dtype=bool)
    for figures, why in judged.reviewers(rules.trusted):
        found.reviewers.append(figures)
        for i, one in enumerate(found.kept):
            if not figures.trusted and one.by == figures.by:
                keep[i] = False
                found.drop(one, "reviewer", why)
    found.kept = [one for one, stays in zip(found.kept, keep, strict=True) if stays]
    return keep


def _leave_out_errors(found: Screening, doubt: Doubt, said: FloatArray) -> None:
    wrong = doubt.label_errors(found.kept, said)
    for one, why in zip(found.kept, wrong, strict=True):
        if why:
            found.drop(one, "error", why)
    found.kept = [one for one, why in zip(found.kept, wrong, strict=True) if not why]
