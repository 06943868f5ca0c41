"""What ``policy.json`` holds: what was learned on held-out data about when to ask whom."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .files import POLICY, read_form

Rule = Literal["always", "surer", "never"]
"""When a backup's answer replaces the one that stands: see :class:`healdag.nodes.Rung`."""


class BackupPolicy(BaseModel):
    """What was learned on held-out data about one backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule
    n: int = Field(description="Held-out rows that it was measured on.")
    fixed: int = Field(description="Wrong answers that it would make right, on those rows.")
    broke: int = Field(description="Right answers that it would make wrong, on those rows.")


class FirstStage(BaseModel):
    """From when on a cheap model's answer is good enough for the larger ones not to be asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str = Field(description="The backup that is asked first.")
    threshold: float = Field(ge=0, le=1, description="From this confidence on its answer stands.")
    n: int = Field(description="Held-out rows that this was measured on.")
    share: float = Field(ge=0, le=1, description="Share of them that it would answer.")
    loss: float = Field(description="Accuracy, 0 to 1, that all the rows together would lose by it.")


class Policy(BaseModel):
    """What ``policy.json`` holds: thresholds and backups as fitted on held-out data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=0.5, ge=0, le=1, description="Below it the primary's answer is doubted.")
    thresholds: tuple[float, ...] | None = Field(
        default=None,
        description="One per label, see healdag.predictors.decide; None: the likeliest label, or multi-label 0.5.",
    )
    set_calibration: tuple[float, float] | None = Field(
        default=None,
        description="Multi-label: slope and offset that turn the labels' product into the probability that the whole "
        "list is right, see healdag.predictors.list_confidence; None: the product.",
    )
    review_threshold: float = Field(
        default=0.5, ge=0, le=1, description="Below it a person is asked: the label is likelier wrong than right."
    )
    backups: dict[str, BackupPolicy] = Field(default_factory=dict, description="The embedded ladder, in order.")
    first: FirstStage | None = Field(
        default=None, description="Used with cheap_first; None: no cheap model answers enough texts well enough."
    )


def read_policy(folder: Path) -> Policy:
    """The artefact's policy; the defaults where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """
    return read_form(folder / POLICY, Policy, "policy") or Policy()
