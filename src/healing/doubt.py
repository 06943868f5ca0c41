"""Which reviewers and which labels are not to be believed, by what a model of the other corrections expects.

The model is a logistic regression on TF-IDF words and the incumbent's log probabilities, and never judges what it was
fitted on. Of the incumbent's answers it learns what they mean among these texts, so that people who correct nothing but
mistakes do not look wrong for contradicting it.

Measured by ``benchmarks/healing.py`` with the whole screening on 400 corrections each of dair_emotion and of
tweeteval_emotion by four reviewers, three draws each, the shipped emotion model in use. All labels right: 88 % and 83 %
are kept. 35 % at random: the share of wrong ones falls to 0.12 and 0.19; 35 % moved by one label: to 0.14 and 0.18. A
reviewer with 32 % of the corrections who is always wrong, at random or by one label, is left out in 23 of 24 cases, and
no honest one of 216. Where nothing but mistakes of the incumbent are corrected it is harder: 69 % and 75 % of the right
ones are kept, and the share of wrong ones falls from 0.35 to between 0.21 and 0.27; the gate does the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from ..predictors import FloatArray, decide
from ..training.data import targets
from ..training.evaluation.metrics import IntArray, stratified_folds
from ..trust.risk import BoolArray
from .corrections import Correction, ReviewerFigures

FEWEST_OF_ONE = 10
"""Corrections by one reviewer below which he is not judged."""
HOSTILE_P = 1e-3
HOSTILE_SHARE = 0.7
"""Of the others' agreement, from which on down a reviewer is left out, if Fisher's p says so too."""
SURE = 0.9
MOST_AGAINST_SURE = 0.12
"""Share of a reviewer's corrections, with 95 % certainty, that may contradict a sure answer. Honest ones came to 0.09
at most where they corrected mistakes only, and to 0.06 otherwise; hostile ones to 0.21."""
CONFIRMING = 0.1
"""Agreement of the corrections with the incumbent beyond chance (Cohen's kappa) from which on its own answers count as
evidence too."""
AMONG = 2
"""A label among the incumbent's so many likeliest is no error: it would cost more right labels than wrong ones. With
two or three labels to choose from, that would protect most errors: there it does not hold."""


@dataclass(frozen=True)
class Doubt:
    """Judges corrections.

    Attributes:
        labels: Of the task, in order.
        multi_label: Whether a text can have several labels, or none.
        seed: Of the regression.
    """

    labels: tuple[str, ...]
    multi_label: bool = False
    seed: int = 13

    def judge(self, corrections: Sequence[Correction], said: FloatArray) -> Judged:
        """Compares each correction with a model of the other reviewers' corrections; of the only reviewer's others.

        Args:
            corrections: One per text, n of them.
            said: The incumbent's probabilities, shape (n, labels).
        """
        truth, features = self._truth(corrections), self._features(corrections, said)
        who = [one.by for one in corrections]
        groups = np.unique([str(by) for by in who], return_inverse=True)[1]
        alone = groups.max() == 0
        expected = self._predict(features, truth, self._folds(truth) if alone else groups)
        answers = decide(expected, multi_label=self.multi_label)
        return Judged(who, _same(answers, truth), self._against_sure(said, truth), alone)

    def label_errors(self, corrections: Sequence[Correction], said: FloatArray) -> list[str]:
        """Why each correction is probably wrong, in words; '' where it is not.

        Confident learning (Northcutt et al. 2021, arXiv:1911.00068) by cleanlab, on cross-validated probabilities.

        Raises:
            MissingExtraError: cleanlab is not installed.
        """
        truth = self._truth(corrections)
        expected = self._predict(self._features(corrections, said), truth, self._folds(truth))
        confirmed = _same(decide(said, multi_label=self.multi_label), truth)
        if self._kappa(said, truth, confirmed) >= CONFIRMING:
            expected = np.sqrt(np.clip(expected, 1e-9, 1) * np.clip(said, 1e-9, 1))
            if not self.multi_label:
                expected /= expected.sum(axis=1, keepdims=True)
        wrong = _cleanlab(truth, expected, multi_label=self.multi_label)
        if self.multi_label:
            wrong &= ~confirmed
        elif len(self.labels) > AMONG + 1:
            better = (said > said[np.arange(len(truth)), truth][:, None]).sum(axis=1)
            wrong &= better >= AMONG
        names = decide(expected, multi_label=self.multi_label)
        return [self._words(names[i], expected[i], truth[i]) if wrong[i] else "" for i in range(len(truth))]

    def _kappa(self, said: FloatArray, truth: IntArray, confirmed: BoolArray) -> float:
        """How far the incumbent's answers and the corrections agree, beyond what their frequencies alone would give."""
        answers = decide(said, multi_label=self.multi_label)
        rows = np.concatenate([answers, truth])
        kinds = np.unique(rows if rows.ndim == 2 else rows[:, None], axis=0, return_inverse=True)[1].ravel()
        counts = [np.bincount(half, minlength=kinds.max() + 1) / len(truth) for half in np.split(kinds, 2)]
        chance = float(counts[0] @ counts[1])
        return (float(confirmed.mean()) - chance) / max(1 - chance, 1e-9)

    def _words(self, expected: Any, row: FloatArray, truth: Any) -> str:
        if self.multi_label:
            likely = "|".join(label for label, there in zip(self.labels, expected, strict=True) if there) or "none"
            return f"probably a label error: the classifier and the other corrections speak for {likely!r}"
        return (
            f"probably a label error: the classifier and the other corrections give it {row[truth]:.2f}, and "
            f"{self.labels[int(expected)]!r} {row[int(expected)]:.2f}"
        )

    def _truth(self, corrections: Sequence[Correction]) -> IntArray:
        return targets([one.example() for one in corrections], self.labels, multi_label=self.multi_label)

    def _folds(self, truth: IntArray) -> IntArray:
        return stratified_folds(truth if not self.multi_label else truth.sum(axis=1))

    def _features(self, corrections: Sequence[Correction], said: FloatArray) -> Any:
        from scipy.sparse import csr_matrix, hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        logs = csr_matrix(0.5 * np.log(np.clip(np.nan_to_num(said), 1e-4, 1)))
        vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        try:
            words = vectorizer.fit_transform([one.text for one in corrections])
        except ValueError:  # no word stands in two texts
            return logs
        return hstack([logs, words]).tocsr()

    def _predict(self, features: Any, truth: IntArray, groups: IntArray) -> FloatArray:
        """Probabilities of each row, shape (n, labels), by a model of the rows of the other groups."""
        expected = np.zeros((len(truth), len(self.labels)))
        for group in np.unique(groups):
            own, others = groups == group, groups != group
            if self.multi_label:
                for j in range(len(self.labels)):
                    expected[own, j] = self._fit(features[others], truth[others, j], features[own], 2)[:, 1]
            else:
                expected[own] = self._fit(features[others], truth[others], features[own], len(self.labels))
        return expected

    def _fit(self, known: Any, truth: IntArray, asked: Any, k: int) -> FloatArray:
        from sklearn.linear_model import LogisticRegression

        present = np.unique(truth)
        found = np.full((asked.shape[0], k), 1e-6)
        if len(present) < 2:
            found[:, present] = 1.0
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an optimum that is near enough
                model = LogisticRegression(max_iter=300, random_state=self.seed).fit(known, truth)
            found[:, np.asarray(model.classes_)] = model.predict_proba(asked)
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def _against_sure(self, said: FloatArray, truth: IntArray) -> BoolArray:
        sure = np.maximum(said, 1 - said).min(axis=1) if self.multi_label else said.max(axis=1)
        return np.asarray((sure >= SURE) & ~_same(decide(said, multi_label=self.multi_label), truth), dtype=bool)


@dataclass(frozen=True)
class Judged:
    """What was found about n corrections.

    Attributes:
        who: Their reviewers.
        agrees: Whether the model of the others expects the same, shape (n,).
        against_sure: Whether they contradict an answer of which the incumbent was very sure, shape (n,).
        alone: Whether there is one reviewer only.
    """

    who: list[str | None]
    agrees: BoolArray
    against_sure: BoolArray
    alone: bool

    def reviewers(self, trusted: Sequence[str]) -> Iterator[tuple[ReviewerFigures, str]]:
        """Each reviewer's figures, and why he is not believed, or ''."""
        from scipy.stats import binomtest, fisher_exact

        for by in dict.fromkeys(self.who):
            own = np.array([other == by for other in self.who])
            n, agreed, against = int(own.sum()), int(self.agrees[own].sum()), int(self.against_sure[own].sum())
            others: float | None = None
            p: float | None = None
            why = ""
            if not self.alone:
                rest = self.agrees[~own]
                others = float(rest.mean())
                table = np.array([[agreed, n - agreed], [rest.sum(), (~rest).sum()]])
                p = float(fisher_exact(table, alternative="less").pvalue)
                if n >= FEWEST_OF_ONE and p < HOSTILE_P and agreed / n < HOSTILE_SHARE * others:
                    why = (
                        f"{by!r} agrees with what the other reviewers' corrections say in {agreed / n:.0%} of "
                        f"{n} cases, the others in {others:.0%} (p = {p:.1g})"
                    )
            lower = binomtest(against, n, alternative="greater").proportion_ci(0.95).low
            if n >= FEWEST_OF_ONE and lower > MOST_AGAINST_SURE and not why:
                why = f"{by!r} contradicts answers of which the classifier was very sure in {against} of {n} cases"
            if by in trusted:
                why = ""
            figures = ReviewerFigures(
                by=by,
                n=n,
                agreement=round(agreed / n, 4),
                others=None if others is None else round(others, 4),
                p=None if p is None else float(f"{p:.3g}"),
                against_sure=round(against / n, 4),
                trusted=not why,
            )
            yield figures, why


def _same(answers: IntArray, truth: IntArray) -> BoolArray:
    same = answers == truth
    return np.asarray(same.all(axis=1) if truth.ndim == 2 else same, dtype=bool)


def _cleanlab(truth: IntArray, expected: FloatArray, *, multi_label: bool) -> BoolArray:
    """Which rows cleanlab takes for label errors, shape (n,)."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "heal") from None
    given: Any
    if multi_label:
        given = [np.flatnonzero(row).tolist() for row in truth]
        there = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
        if not len(there):
            return np.zeros(len(truth), dtype=bool)
        place = {int(j): i for i, j in enumerate(there)}
        given = [[place[j] for j in row if j in place] for row in given]
        rows = expected[:, there]
    else:
        there, given = np.unique(truth, return_inverse=True)
        if len(there) < 2:
            return np.zeros(len(truth), dtype=bool)
        rows = expected[:, there] / expected[:, there].sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks of rare labels
        found = find_label_issues(given, rows, filter_by="prune_by_noise_rate", multi_label=multi_label, n_jobs=1)
    return np.asarray(found, dtype=bool)
