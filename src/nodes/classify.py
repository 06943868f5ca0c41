"""Asks the primary classifier, for the rows that are still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..predictors import Answers, Predictor, Row, ask
from ..predictors.restricted import Restricted, narrowed, whole
from .records import AnswerDict, pending_rows


@dataclass(frozen=True)
class Classify:
    """Writes primary, unreadable and unfamiliar; and whole, over all labels, where the primary is restricted to some.

    Attributes:
        primary: The classifier.
        prior: Share of each label in the calibration data, restriction aside: what is known of a text that cannot be
            read.
    """

    primary: Predictor
    prior: tuple[float, ...]

    def __call__(self, state: Any) -> dict[str, Any]:
        """The share of a text that cannot be read moves its answer towards the prior by that share."""
        rows = pending_rows(state)
        shorter = state.get("condensed") or [None] * len(state["clean"])
        texts = [state["clean"][i] if shorter[i] is None else shorter[i] for i in rows]
        answers = ask(whole(self.primary), texts)
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
        written: dict[str, Any] = {"primary": primary, "unreadable": unreadable, "unfamiliar": unfamiliar}
        if isinstance(self.primary, Restricted):
            said = dict(zip(rows, mixed, strict=True))
            written["whole"] = [said.get(i) for i in range(len(primary))]
        return written

    def _unknown(self, texts: list[str]) -> list[float]:
        share = getattr(self.primary, "unknown_share", None)
        return list(share(texts)) if share is not None else [0.0] * len(texts)


def mix(row: Row, prior: tuple[float, ...], share: float) -> Row:
    """The row, with ``share`` of its weight moved to the prior."""
    return row if share == 0.0 else [(1 - share) * p + share * q for p, q in zip(row, prior, strict=True)]
