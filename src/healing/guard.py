"""Takes a healed version back where it does worse in use than the one before.

Two exact tests on corrections that came since its promotion, of answers that it gave itself:

- People who say what is right also where the answer was right tell how often it agrees with them. If that is lower than
  it was for the version before, by more than a margin and by Fisher's exact test, it goes back.
- People who correct nothing but mistakes never agree. Then the version before is asked about the same texts: if it has
  more than half of them right, by the binomial test, it goes back: of two versions as good as each other, each has
  mistakes that the other has not, but not most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..artifacts import Change, current_version, read_history, rollback, root_of
from ..artifacts.files import MANIFEST
from ..nodes.records import Label
from ..store.feedback import FeedbackEvent, FeedbackStore
from .heal import opened, without_memory
from .report import read_report

FEWEST = 10
"""Corrections of a version's answers below which nothing is said about it."""
LEVEL = 0.05
MARGIN = 0.05

Standing = Literal["none", "too_few", "kept", "rolled_back", "would_roll_back"]


class GuardReport(BaseModel):
    """Whether the version in use does as well as the one before."""

    model_config = ConfigDict(frozen=True)

    task: str
    outcome: Standing = Field(
        description="'none': no heal has made the version in use; 'too_few' corrections of its answers; 'kept'; "
        "'rolled_back', or with dry_run 'would_roll_back'."
    )
    version: str | None
    before: str | None = Field(default=None, description="The version that was in use before.")
    words: str
    figures: dict[str, Any] = Field(default_factory=dict)


def guard(
    task: str,
    *,
    feedback: FeedbackStore | str | Path,
    models: str | Path | None = None,
    margin: float = MARGIN,
    fewest: int = FEWEST,
    dry_run: bool = False,
    by: str | None = None,
) -> GuardReport:
    """Rolls a healed version back where corrections show that it is worse than the one before.

    Its corrections are learned by the next heal, which waits for new ones: the same candidate is not made again.

    Args:
        task: Its name.
        feedback: The store with the corrections, or its path or URL.
        models: Folder of models; by default the one that decides which version is in use.
        margin: Agreement that may be lost.
        fewest: Corrections of its answers below which nothing is said.
        dry_run: Only says what would be done.
        by: Who rolls back, for the history.

    Raises:
        UsageError: no such task, or the version before is not there any more.
        LockedError: a promotion did not end in time.
    """
    root = Path(models) if models is not None else root_of(task)
    place = root / task
    version = current_version(place)
    change = _promotion(place, version)
    if version is None or change is None or change.old is None:
        return GuardReport(task=task, outcome="none", version=version, words=f"{task}: no heal has made {version}")
    store, ours = opened(feedback)
    try:
        standing = store.standing(task)
    finally:
        if ours:
            store.close()
    since = datetime.fromisoformat(change.time)
    live = [one for one in _of(standing, f"{task}/{version}") if one.time >= since]
    earlier = [one for one in _of(standing, f"{task}/{change.old}") if one.time < since]
    found = _Found(task, version, change.old, margin)
    if len(live) < fewest:
        words = f"{task} {version}: {len(live)} corrections of its answers; {fewest} are needed to say anything"
        return found.report("too_few", words, {"n": len(live)})
    words, figures, worse = _agreement(live, earlier, found, fewest)
    if not worse:
        words, figures, worse = _mistakes(live, place / change.old, found, fewest) or (words, figures, False)
    if not worse:
        return found.report("kept", words, figures)
    if dry_run:
        return found.report("would_roll_back", words, figures)
    rollback(root, task, to=change.old, by=by, why=f"guard: {words}")
    return found.report("rolled_back", words, figures)


@dataclass(frozen=True)
class _Found:
    task: str
    version: str
    before: str
    margin: float

    def report(self, outcome: Standing, words: str, figures: dict[str, Any]) -> GuardReport:
        return GuardReport(
            task=self.task, outcome=outcome, version=self.version, before=self.before, words=words, figures=figures
        )


def _promotion(place: Path, version: str | None) -> Change | None:
    """How the version in use came into use, where a heal has made it and it was not rolled back to."""
    changes = read_history(place)
    last = changes[-1] if changes else None
    if version is None or last is None or last.new != version or last.action == "rollback":
        return None
    return last if read_report(place / version) is not None else None


def _of(events: Sequence[FeedbackEvent], version: str) -> list[FeedbackEvent]:
    return [one for one in events if one.model_version == version and one.previous_label is not None]


def _agreement(
    live: Sequence[FeedbackEvent], earlier: Sequence[FeedbackEvent], found: _Found, fewest: int
) -> tuple[str, dict[str, Any], bool]:
    from scipy.stats import fisher_exact

    agrees, agreed = (sum(_same(one.previous_label, one.label) for one in ones) for ones in (live, earlier))
    now = agrees / len(live)
    figures: dict[str, Any] = {"n": len(live), "agreement": round(now, 4), "n_before": len(earlier)}
    if len(earlier) < fewest:
        return f"{found.version} agrees with {now:.0%} of {len(live)} corrections", figures, False
    then = agreed / len(earlier)
    table = np.array([[agrees, len(live) - agrees], [agreed, len(earlier) - agreed]])
    p = float(fisher_exact(table, alternative="less").pvalue)
    figures |= {"agreement_before": round(then, 4), "p": float(f"{p:.3g}")}
    words = (
        f"{found.version} agrees with {now:.0%} of {len(live)} corrections of its answers, {found.before} did with "
        f"{then:.0%} of {len(earlier)} (p = {p:.2g})"
    )
    return words, figures, now < then - found.margin and p <= LEVEL


def _mistakes(
    live: Sequence[FeedbackEvent], folder: Path, found: _Found, fewest: int
) -> tuple[str, dict[str, Any], bool] | None:
    """Whether the version before has most of the reported mistakes right; None where that cannot be asked."""
    from scipy.stats import binomtest

    wrong = [one for one in live if not _same(one.previous_label, one.label)]
    texts = {one.text_sha256: one for one in wrong if one.text is not None}
    if len(texts) < fewest or not (folder / MANIFEST).is_file():
        return None
    answers = without_memory(folder).classify_many([one.text or "" for one in texts.values()], errors="return")
    right = sum(
        _same(getattr(answer, "final_label", None), one.label)
        for answer, one in zip(answers, texts.values(), strict=True)
    )
    p = float(binomtest(right, len(texts), 0.5, alternative="greater").pvalue)
    figures = {"n": len(live), "mistakes": len(texts), "right_before": right, "p": float(f"{p:.3g}")}
    words = (
        f"of {len(texts)} mistakes of {found.version} that people corrected, {found.before} has {right} right "
        f"(p = {p:.2g} for more than half)"
    )
    return words, figures, p <= LEVEL


def _same(one: Label | Sequence[str] | None, other: Label | Sequence[str] | None) -> bool:
    if one is None or other is None or isinstance(one, str) is not isinstance(other, str):
        return False
    return one == other if isinstance(one, str) else set(one) == set(other)
