"""One row of the decision log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

TextMode = Literal["store", "hash", "omit"]
"""What becomes of a text: kept, kept as its SHA-256 alone, or left out."""


class Decision(BaseModel):
    """One logged decision.

    Sources and reasons are plain strings, and unknown fields are passed over: a log outlives the version that wrote it.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The result's decision_id.")
    time: AwareDatetime = Field(description="When the decision became final: UTC, to the millisecond.")
    label: str | list[str] | None = Field(
        description="The final label, in a multi-label task the list of labels; None where nothing could answer."
    )
    confidence: float | None = Field(
        description="Calibrated probability, 0 to 1 with 6 decimals, that the label is right; None without an answer."
    )
    source: str = Field(description="Who gave the label: 'model', 'emoji', 'backup', 'memory', 'human' or 'abstain'.")
    reasons: tuple[str, ...] = Field(description="Why the primary's answer was doubted.")
    sarcasm: float | None = Field(description="Probability, 0 to 1 with 6 decimals, or None where not looked for.")
    asked: tuple[str, ...] = Field(description="Who was asked, in order: the names of the result's attempts.")
    ms: tuple[float, ...] = Field(description="Milliseconds that each of them spent on this text.")
    failed: tuple[str, ...] = Field(description="Those of them that failed.")
    accepted: str | None = Field(description="The one whose answer was returned, or None.")
    model_version: str = Field(description="Task and version of the artefact, e.g. 'emotion/1.0.0'.")
    chars: int = Field(description="Length of the text as given, in characters.")
    unfamiliar: float | None = Field(
        default=None, description="Distance from the training texts, 1 at the limit; None where not known."
    )
    text: str | None = Field(default=None, description="The text as given, where texts are stored.")
    text_sha256: str | None = Field(default=None, description="Its hash_text, where texts are hashed.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The label as a tuple: of one in a single-label task, () where no label applies or nothing could answer."""
        if self.label is None:
            return ()
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    @property
    def backups(self) -> tuple[str, ...]:
        """The backups among those asked, in order: who came after the primary, a person aside."""
        models = self.asked[:-1] if self.source == "human" else self.asked
        return models[2:] if models[:1] == ("condenser",) else models[1:]


def to_row(result: Mapping[str, Any], time: str, text: TextMode) -> dict[str, Any]:
    """A result, in the form of :class:`healdag.schema.Classification` as plain values, as fields of a Decision."""
    attempts = result["attempts"]
    row = {
        "id": result["decision_id"],
        "time": time,
        "label": result["final_label"],
        "confidence": _rounded(result["confidence"]),
        "source": result["source"],
        "reasons": result["reasons"],
        "sarcasm": _rounded(result["sarcasm"]),
        "asked": [attempt["by"] for attempt in attempts],
        "ms": [round(attempt["ms"], 3) for attempt in attempts],
        "failed": [attempt["by"] for attempt in attempts if attempt["error"] is not None],
        "accepted": next((attempt["by"] for attempt in attempts if attempt["accepted"]), None),
        "model_version": result["model_version"],
        "chars": len(result["text"]),
        "unfamiliar": _rounded(result.get("unfamiliar")),
    }
    if text == "store":
        row["text"] = _bytes(result["text"]).decode()
    elif text == "hash":
        row["text_sha256"] = hash_text(result["text"])
    return row


def hash_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hexadecimal digits: what ``text_sha256`` of its decisions holds.

    It tells whether a text that one has is in the log. It is no secret: short texts can be guessed from it.
    """
    return hashlib.sha256(_bytes(text)).hexdigest()


def text_key(clean: str) -> str:
    """SHA-256 of a cleaned text, letter case aside, as 64 hexadecimal digits: what its corrections are found by.

    It is no secret: short texts can be guessed from it.
    """
    return hashlib.sha256(clean.casefold().encode()).hexdigest()


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # halves of a character: joined, or marked where one is missing
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 6)
