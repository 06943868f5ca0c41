"""What ``profile.json`` holds: decisions on held-out rows, in counts that a decision log is held against."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .files import PROFILE, read_form


class Histogram(BaseModel):
    """Counts of a number between cuts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edges: tuple[float, ...] = Field(description="Inner cuts, rising; a value on a cut belongs above it.")
    counts: tuple[int, ...] = Field(description="One more than there are cuts.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError(f"{len(self.counts)} counts between {len(self.edges)} cuts, which have to rise")
        return self


class Profile(BaseModel):
    """Decisions in counts; no text, and nothing that is one text's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_version: str = Field(description="Whose decisions, e.g. 'emotion/1.0.0'.")
    rows: str = Field(description="Which rows, in words.")
    n: int = Field(description="How many decisions.")
    read: int = Field(description="Those of them whose texts models have read.")
    answered: int = Field(description="Those of them that no person has answered.")
    shares: dict[str, dict[str, int]] = Field(description="Per question with one answer of several: answer to count.")
    flags: dict[str, int] = Field(description="'reason X' and, in a multi-label task, 'label X': how many have it.")
    numbers: dict[str, Histogram] = Field(description="Per number: its histogram, over the decisions that have it.")

    def flag(self, name: str) -> tuple[int, int]:
        """How many decisions have a flag, and of how many; 0 for one that none has."""
        return self.flags.get(name, 0), self.answered if name.startswith("label ") else self.read


def read_profile(folder: Path) -> Profile | None:
    """The artefact's; None where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """
    return read_form(folder / PROFILE, Profile, "profile")
