"""Asks the primary classifier, for the rows that are still open."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ..predictors import Answers, FloatArray, Predictor, Row, observe
from ..predictors.restricted import Restricted, narrowed, whole
from .memory import MOST_UNREADABLE, Recall
from .records import AnswerDict, MemoryDict, pending_rows
from .twin_index import Vectors, stack

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Classify:
    """Writes primary, recalled, unreadable, unfamiliar, suspicion; and whole, over all labels, where some are left out.

    Attributes:
        primary: The classifier.
        prior: Share of each label in the calibration data, restriction aside: what is known of a text that cannot be
            read.
        recall: Answers near twins of corrected texts, whose vectors the primary's pass makes too; None: nobody does.
    """

    primary: Predictor
    prior: tuple[float, ...]
    recall: Recall | None = None

    def __call__(self, state: Any) -> dict[str, Any]:
        """The share of a text that cannot be read moves its answer towards the prior by that share."""
        rows = pending_rows(state)
        shorter = state.get("condensed") or [None] * len(state["clean"])
        texts = [state["clean"][i] if shorter[i] is None else shorter[i] for i in rows]
        recalls = self.recall is not None and self.recall.corrections.has_vectors
        seen = observe(whole(self.primary), texts, vectors=recalls)
        answers = seen.answers
        unknown = self._unknown([state["clean"][i] for i in rows])  # a summary says nothing of what cannot be read
        unreadable = [0.0] * len(state["clean"])
        for i, share in zip(rows, unknown, strict=True):
            unreadable[i] = max(state["foreign"][i], share)
        pairs = zip(rows, answers.rows, strict=True)
        mixed = [None if row is None else mix(row, self.prior, unreadable[i]) for i, row in pairs]
        own = narrowed(self.primary, Answers(mixed, answers.errors, answers.ms))
        primary: list[AnswerDict] = [
            {"by": self.primary.name, "probabilities": None, "ms": 0.0, "error": None} for _ in state["clean"]
        ]
        for i, row, error in zip(rows, own.rows, own.errors, strict=True):
            primary[i] = {"by": self.primary.name, "probabilities": row, "ms": own.ms, "error": error}
        unfamiliar: list[float | None] = [None] * len(primary)
        for i, distance in zip(rows, answers.distances or [None] * len(rows), strict=True):
            unfamiliar[i] = distance
        suspicion: list[float | None] = [None] * len(primary)
        for i, value in zip(rows, seen.suspicions, strict=True):
            suspicion[i] = value if shorter[i] is None else None  # a summary leaves out what is meant otherwise
        recalled: list[MemoryDict | None] = [None] * len(primary)
        if self.recall is not None and recalls:
            # A summary is another text than the one that was corrected.
            told = [shorter[i] is None and unreadable[i] <= MOST_UNREADABLE for i in rows]
            usable = stack([vector if ok else None for vector, ok in zip(seen.vectors, told, strict=True)])
            for i, answer in zip(rows, self.recall(usable, own.rows), strict=True):
                recalled[i] = answer
        written: dict[str, Any] = {
            "primary": primary,
            "recalled": recalled,
            "unreadable": unreadable,
            "unfamiliar": unfamiliar,
            "suspicion": suspicion,
        }
        if isinstance(self.primary, Restricted):
            said = dict(zip(rows, mixed, strict=True))
            written["whole"] = [said.get(i) for i in range(len(primary))]
        return written

    def vector_of(self, clean: str, foreign: float) -> Vectors | None:
        """The vector, in length 1, by which near twins of a cleaned text are found; None where there is none.

        Args:
            clean: The text.
            foreign: Share of its letters that are in another script.
        """
        (found,) = stack(self.vectors_of([clean], [foreign]))
        return found if found.any() else None

    def vectors_of(self, clean: list[str], foreign: list[float]) -> list[FloatArray | None]:
        """Vectors of cleaned texts, by a pass of the primary; None for one that it reads too little of."""
        if self.recall is None:
            return [None] * len(clean)
        shares = [max(pair) for pair in zip(foreign, self._unknown(clean), strict=True)]
        told = [text for text, share in zip(clean, shares, strict=True) if share <= MOST_UNREADABLE]
        found = iter(observe(whole(self.primary), told, vectors=True).vectors) if told else iter(())
        return [next(found) if share <= MOST_UNREADABLE else None for share in shares]

    def _unknown(self, texts: list[str]) -> list[float]:
        share = getattr(self.primary, "unknown_share", None)
        try:
            return list(share(texts)) if share is not None else [0.0] * len(texts)
        except Exception as error:
            log.warning("predictor %r cannot say what it cannot read: %s", self.primary.name, error)
            return [0.0] * len(texts)


def mix(row: Row, prior: tuple[float, ...], share: float) -> Row:
    """The row, with ``share`` of its weight moved to the prior."""
    return row if share == 0.0 else [(1 - share) * p + share * q for p, q in zip(row, prior, strict=True)]
