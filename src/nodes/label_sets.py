"""Conformal label sets: the labels that cannot be ruled out, so that the right one is among them as often as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import MissingExtraError, UsageError
from .records import Row


class LabelSets:
    """Class-conditional (Mondrian) split-conformal prediction sets, through the package crepes.

    Of the texts with a given right label, the set holds it with at least the probability ``coverage``, whatever that
    label is, and so of all texts too; over the draw of the scores and of the text, which must be drawn alike.
    Vovk et al. 2005, Algorithmic Learning in a Random World; Boström 2022, PMLR 179 (crepes).

    Args:
        scores: Per label, 1 - probability of it, of held-out texts whose right label it is.
        labels: Label of each column, in order.
        coverage: Between 0 and 1.

    Raises:
        UsageError: a label has too few scores for that coverage: with n of them the set of everything is the only
            one that covers more than n / (n + 1).
        MissingExtraError: crepes is not installed.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]], labels: Sequence[str], coverage: float) -> None:
        try:
            from crepes import ConformalClassifier
        except ImportError:
            raise MissingExtraError("crepes", "conformal") from None
        few = {label: len(scores.get(label, ())) for label in labels}
        rare = {label: n for label, n in few.items() if n / (n + 1) < coverage}
        if rare:
            named = ", ".join(f"{label!r} has {n}" for label, n in rare.items())
            needed = int(np.ceil(round(coverage / (1 - coverage), 6)))
            raise UsageError(
                f"label_set={coverage:g} needs {needed} held-out texts of each label, and {named}; take a lower one, "
                "or certify with more rows: healdag certify TASK --data FILE"
            )
        self.labels = tuple(labels)
        self._significance = 1 - coverage
        self._classifier = ConformalClassifier()
        alphas = np.concatenate([np.asarray(scores[label]) for label in labels])
        self._classifier.fit(alphas, bins=np.repeat(np.array(self.labels), [few[label] for label in labels]))

    def __call__(self, rows: Sequence[Row]) -> list[list[str]]:
        """The set of each row of probabilities, likeliest label first; it may be empty, for a text unlike any."""
        if not rows:
            return []
        values = np.asarray(rows, dtype=np.float64)
        p_values = np.column_stack(
            [
                self._classifier.predict_p(1 - values[:, [column]], bins=np.full(len(values), label), smoothing=False)[
                    :, 0
                ]
                for column, label in enumerate(self.labels)
            ]
        )
        order = np.argsort(-values, axis=1, kind="stable")
        return [
            [self.labels[column] for column in columns if p[column] > self._significance]
            for columns, p in zip(order, p_values, strict=True)
        ]
