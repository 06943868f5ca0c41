"""Asks the primary classifier, for the rows that are still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..predictors import Predictor, Row, ask
from .records import AnswerDict, pending_rows


@dataclass(frozen=True)
class Classify:
    """Writes primary and unreadable.

    Attributes:
        primary: The classifier.
        prior: Share of each label in the calibration data: what is known of a text that cannot be read.
    """

    primary: Predictor
    prior: tuple[float, ...]

    def __call__(self, state: Any) -> dict[str, Any]:
        """The share of a text that cannot be read moves its answer towards the prior by that share."""
        rows = pending_rows(state)
        texts = [state["clean"][i] for i in rows]
        answers = ask(self.primary, texts)
        unknown = self._unknown(texts)
        primary: list[AnswerDict] = [
            {"by": self.primary.name, "probabilities": None, "ms": 0.0, "error": None} for _ in state["clean"]
        ]
        unreadable = [0.0] * len(state["clean"])
        for i, row, error, share in zip(rows, answers.rows, answers.errors, unknown, strict=True):
            unreadable[i] = max(state["foreign"][i], share)
            mixed = None if row is None else mix(row, self.prior, unreadable[i])
            primary[i] = {"by": self.primary.name, "probabilities": mixed, "ms": answers.ms, "error": error}
        return {"primary": primary, "unreadable": unreadable}

    def _unknown(self, texts: list[str]) -> list[float]:
        share = getattr(self.primary, "unknown_share", None)
        return list(share(texts)) if share is not None else [0.0] * len(texts)


def mix(row: Row, prior: tuple[float, ...], share: float) -> Row:
    """The row, with ``share`` of its weight moved to the prior."""
    return row if share == 0.0 else [(1 - share) * p + share * q for p, q in zip(row, prior, strict=True)]
