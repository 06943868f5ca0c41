"""Corrections as they are learned from: what stands in the feedback store, and what of it is left out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from ..nodes.records import Label
from ..store.feedback import FeedbackEvent
from ..training.datasets import Example

Reason: TypeAlias = Literal[
    "no_text", "other_labels", "held_out", "duplicate", "superseded", "contradiction", "flooding", "reviewer", "error"
]


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person said is right for a text.

    Attributes:
        id: Of its event.
        key: SHA-256 of the cleaned text, letter case aside.
        text: Cleaned.
        labels: The right label; multi-label those that apply, in the task's order.
        by: Who said it; None where that is not known.
        time: When.
    """

    id: str
    key: str
    text: str
    labels: tuple[str, ...]
    by: str | None
    time: datetime

    def example(self) -> Example:
        """As a row to train or measure on."""
        return Example(self.text, self.labels)


class Dropped(BaseModel):
    """A correction that is not learned from."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Of its event.")
    text_sha256: str = Field(description="Of the cleaned text, letter case aside.")
    label: Label | None = Field(description="What was said to be right.")
    by: str | None = Field(description="Who said it.")
    reason: Reason
    why: str = Field(description="The reason in words, with its figures.")


class ReviewerFigures(BaseModel):
    """How a reviewer's corrections go with what everybody else says."""

    model_config = ConfigDict(frozen=True)

    by: str | None
    n: int = Field(description="Corrections that were judged.")
    agreement: float = Field(description="Share that a model of the other reviewers' corrections expects too.")
    others: float | None = Field(description="The same for the corrections of the others; None where there are none.")
    p: float | None = Field(description="Of Fisher's exact test that it is no lower than the others'.")
    against_sure: float = Field(description="Share that contradicts an answer of which the classifier was very sure.")
    trusted: bool


@dataclass
class Screening:
    """What is left of corrections while they are screened."""

    kept: list[Correction]
    dropped: list[Dropped] = field(default_factory=list)
    reviewers: list[ReviewerFigures] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def drop(self, one: Correction, reason: Reason, why: str) -> None:
        """Keeps the reason; taking it from ``kept`` is the caller's."""
        label: Label | None = list(one.labels) if len(one.labels) != 1 else one.labels[0]
        self.dropped.append(Dropped(id=one.id, text_sha256=one.key, label=label, by=one.by, reason=reason, why=why))


def readable(events: Sequence[FeedbackEvent], labels: Sequence[str], *, multi_label: bool) -> Screening:
    """The events whose text and label can be learned from.

    Args:
        events: Corrections.
        labels: Of the task, in order.
        multi_label: Whether a text can have several labels, or none.
    """
    found = Screening([])
    for event in events:
        one = _correction(event, labels)
        if event.text is None:
            found.drop(one, "no_text", "only the text's hash is stored; feedback.text: store keeps texts from now on")
        elif not _fits(event, labels, multi_label=multi_label):
            found.drop(one, "other_labels", f"{event.label!r} is not an answer of {list(labels)}")
        else:
            found.kept.append(one)
    return found


def _correction(event: FeedbackEvent, labels: Sequence[str]) -> Correction:
    said = [event.label] if isinstance(event.label, str) else event.label or []
    ordered = tuple(label for label in labels if label in said) or tuple(said)
    return Correction(event.id, event.text_sha256, event.text or "", ordered, event.by, event.time)


def _fits(event: FeedbackEvent, labels: Sequence[str], *, multi_label: bool) -> bool:
    if multi_label:
        # Of labels that there were not to choose from, nothing is known.
        judged = set(labels) <= set(event.labels)
        return isinstance(event.label, list) and judged and set(event.label) <= set(labels)
    return isinstance(event.label, str) and event.label in labels
