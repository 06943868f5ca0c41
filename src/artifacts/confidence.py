"""What ``confidence.json`` holds: how likely the final answer is right, learned on held-out answers of the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ..errors import ArtifactError
from .files import CONFIDENCE, read_form


class ConfidenceModel(BaseModel):
    """A logistic regression over what the graph found out about a text: see :mod:`healdag.nodes.trust`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[str, ...] = Field(
        default=(),
        description="Names, in the order of the coefficients; a missing one counts as 0. Without any, nothing tells "
        "right answers from wrong ones better than their own probability, and that is the confidence.",
    )
    coefficients: tuple[float, ...] = ()
    ranges: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="Least and largest value of each feature among the rows; what lies outside counts as the nearest.",
    )
    intercept: float = 0.0
    n: int = Field(description="Held-out rows that it was fitted on.")
    backups: tuple[str, ...] = Field(description="The ladder that the graph had then.")
    grid: tuple[tuple[float, int, int], ...] = Field(
        default=(),
        description="Cross-validated answers of those rows, from strict to loose: threshold, how many it accepts, how "
        "many of them are wrong. An error budget is tested along it.",
    )

    def probability(self, features: Mapping[str, float]) -> float:
        """Probability, 0 to 1, that the answer with these features is right."""
        known = zip(self.features, self.coefficients, self.ranges, strict=True)
        logit = self.intercept + sum(
            weight * min(max(features.get(name, 0.0), low), high) for name, weight, (low, high) in known
        )
        return 1.0 / (1.0 + math.exp(-max(-500.0, min(500.0, logit))))


def read_confidence(folder: Path) -> ConfidenceModel | None:
    """The artefact's confidence model; None where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """
    path = folder / CONFIDENCE
    model = read_form(path, ConfidenceModel, "confidence model")
    if model is not None and not len(model.features) == len(model.coefficients) == len(model.ranges):
        raise ArtifactError(
            f"{str(path)!r} needs a coefficient and a range for each of its {len(model.features)} names"
        )
    return model
