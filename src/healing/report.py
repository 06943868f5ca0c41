"""What a heal found and did, as people and programs read it: ``heal_report.json`` beside the candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..artifacts import read_form, write_whole
from .corrections import Dropped, ReviewerFigures
from .gate import Check
from .state import Golden

REPORT = "heal_report.json"
Outcome = Literal["promoted", "refused", "dry_run", "nothing_new", "nothing_left"]


class HealReport(BaseModel):
    """One heal."""

    model_config = ConfigDict(frozen=True)

    task: str
    outcome: Outcome = Field(
        description="'promoted'; 'refused' by the gate; 'dry_run'; 'nothing_new': no correction since the last one, or "
        "fewer than asked for; 'nothing_left': after the screening, too few to learn from and to measure on."
    )
    incumbent: str = Field(description="The version in use when it began.")
    candidate: str | None = Field(default=None, description="The version that was made; None where none was.")
    time: str = Field(description="When it ended: ISO 8601, UTC.")
    seconds: float = 0.0
    words: tuple[str, ...] = Field(default=(), description="What happened, one sentence each.")
    checks: tuple[Check, ...] = Field(default=(), description="The gate's.")
    counts: dict[str, int] = Field(
        default_factory=dict,
        description="Corrections: 'given' since the last heal, 'kept' of them, 'learned' and 'held_out' of these; "
        "'earlier' ones that are learned again, and 'replay': original training rows beside them.",
    )
    dropped: tuple[Dropped, ...] = Field(default=(), description="Corrections that are not learned from, and why.")
    reviewers: tuple[ReviewerFigures, ...] = ()
    notes: tuple[str, ...] = ()
    golden: Golden | None = None
    events: tuple[str, ...] = Field(default=(), description="Ids of all corrections that the candidate has seen.")
    learned: tuple[str, ...] = Field(default=(), description="SHA-256 of the texts it was trained on, as in feedback.")
    held_out: tuple[str, ...] = Field(default=(), description="SHA-256 of the texts that were held out, never learned.")
    last_seq: int = Field(default=0, description="Largest seq among the corrections.")

    @property
    def reasons(self) -> Counter[str]:
        """How many corrections were dropped, by reason."""
        return Counter(one.reason for one in self.dropped)

    @property
    def failed(self) -> list[Check]:
        """The checks that refused the candidate."""
        return [check for check in self.checks if check.required and not check.passed]


def read_report(folder: Path) -> HealReport | None:
    """The report of the heal that made a version; None for one that was made otherwise.

    Raises:
        ArtifactError: the file is broken.
    """
    advice = "restore it, or delete it: then all corrections count as not learned yet"
    return read_form(folder / REPORT, HealReport, "report of a heal", advice)


def write_report(folder: Path, report: HealReport) -> None:
    """Writes it whole, beside the candidate."""
    write_whole(folder / REPORT, report.model_dump_json(indent=2) + "\n")


def screening_words(given: int, dropped: Sequence[Dropped]) -> str:
    """How many corrections are left, in one sentence."""
    reasons = Counter(one.reason for one in dropped)
    why = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in reasons.most_common())
    left_out = f"; left out: {why}" if why else ""
    return f"{given:,} corrections since the last heal, {given - len(dropped):,} kept{left_out}"
