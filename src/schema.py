"""What the graph hands back: :class:`Classification` and the :class:`Attempt` records inside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Source = Literal["model", "emoji", "backup", "memory", "human", "pending", "abstain"]
Reason = Literal["low_confidence", "sarcasm", "unreadable", "unfamiliar", "model_error", "budget"]


class Attempt(BaseModel):
    """One predictor's answer to one text, kept whether or not it became the final answer."""

    model_config = ConfigDict(frozen=True)

    by: str = Field(
        description="Who answered: 'model', 'emoji', 'memory', 'human', or the name of a backup; 'condenser' where the "
        "text was to be shortened for the model: it gives no label, and without an error the model read its summary."
    )
    label: str | list[str] | None = Field(
        description="The label it would give, in a multi-label task the list of labels; None when it failed."
    )
    confidence: float | None = Field(
        description="Calibrated probability, 0 to 1, that the label, or the whole list, is right; None when it failed."
    )
    ms: float = Field(description="Milliseconds spent on this text (a batch's time divided by its size).")
    accepted: bool = Field(default=False, description="True where this answer is the one that was returned.")
    error: str | None = Field(default=None, description="Why it could not answer, or None.")
    event: str | None = Field(
        default=None, description="Of the memory: id of the correction that it goes by, where it has one."
    )
    similarity: float | None = Field(
        default=None,
        description="Of the memory: cosine similarity of the corrected text to this one; 1 where they are the same.",
    )


class Classification(BaseModel):
    """The final answer to one text. Immutable, and readable like a mapping (``result["final_label"]``)."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(description="The text as it was given.")
    final_label: str | list[str] | None = Field(
        description="The label; in a multi-label task the list of labels, in the task's order, [] where none applies. "
        "None when source is 'pending' or 'abstain'."
    )
    confidence: float | None = Field(
        description="Calibrated probability, 0 to 1, that final_label is right, of a list that all of it is and "
        "nothing is missing; None without an answer."
    )
    source: Source = Field(description="Who gave final_label.")
    probabilities: dict[str, float] = Field(
        description="Calibrated probability per label; they sum to 1, unless the task is multi-label."
    )
    reasons: tuple[Reason, ...] = Field(default=(), description="Why the primary's answer was doubted.")
    sarcasm: float | None = Field(
        default=None, description="Probability, 0 to 1, that the text is sarcastic; None where it was not looked for."
    )
    attempts: tuple[Attempt, ...] = Field(default=(), description="Every answer that was given, in order.")
    decision_id: str = Field(description="Identifies this decision, for reviews and corrections.")
    model_version: str = Field(description="Task and version of the artefact that answered, e.g. 'emotion/1.0.0'.")
    label_set: tuple[str, ...] | None = Field(
        default=None,
        description="Labels that cannot be ruled out, likeliest first, where label_set was asked for; may be empty.",
    )
    unfamiliar: float | None = Field(
        default=None,
        description="Distance from the training texts, in units of what 99 % of their like stay below; above 1 it is "
        "unlike them. None where that is not known.",
    )

    def __getitem__(self, key: str) -> Any:
        if key not in type(self).model_fields:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in type(self).model_fields

    def __len__(self) -> int:
        return len(type(self).model_fields)

    def keys(self) -> Iterator[str]:
        """Field names, in order; together with ``result[name]`` this makes ``dict(**result)`` work."""
        return iter(type(self).model_fields)

    def get(self, key: str, default: Any = None) -> Any:
        """The field's value, or ``default`` for an unknown name."""
        return self[key] if key in self else default  # noqa: SIM401 - this is that method


class Candidate(BaseModel):
    """A label with its probability."""

    model_config = ConfigDict(frozen=True)

    label: str = Field(description="The label.")
    probability: float = Field(description="Its calibrated probability, 0 to 1.")


class Question(BaseModel):
    """A decision that waits for a person; answered by :meth:`healdag.Classifier.answer`."""

    model_config = ConfigDict(frozen=True)

    decision_id: str = Field(description="That of the pending result.")
    text: str = Field(description="The text as it was given.")
    top: tuple[Candidate, ...] = Field(description="The three likeliest labels; none where nothing could answer.")
    reasons: tuple[Reason, ...] = Field(description="Why a person is asked.")
    labels: tuple[str, ...] = Field(description="What may be answered.")
    multi_label: bool = Field(description="Whether the answer is a list of these labels, or [].")
    model_version: str = Field(description="Task and version of the artefact that asks.")
    asked: AwareDatetime = Field(description="Since when it waits.")
    uncertainty: float = Field(description="Entropy of the probabilities as a share of the largest possible, 0 to 1.")
    gain: float = Field(
        default=0.0,
        description="Expected gain of an answer, uncertainty x density / cost: 0 or more, and only for comparing with "
        "the other questions of the same list.",
    )

    @property
    def waiting(self) -> timedelta:
        """How long it has waited."""
        return datetime.now(UTC) - self.asked
