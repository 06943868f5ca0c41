"""What a report on labelled rows rests on: a classifier's answers to them, and where both are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..artifacts import (
    Certificate,
    covered_files,
    find_artifact,
    read_certificate,
    read_manifest,
    verify_certificate,
)
from ..errors import ArtifactError
from ..graph import Classifier
from ..nodes.records import Label
from ..training.datasets import Example
from ..trust.observe import Observed, observe_rows, right_answers
from ..trust.steps import Step, score_steps

PRIMARY, WHOLE, ORACLE = "primary alone", "whole graph", "oracle"
NO_ANSWER, NO_LABEL = "no answer", "(none)"


@dataclass(frozen=True)
class Evidence:
    """A classifier's answers to labelled rows, and where both are from.

    Attributes:
        classifier: Without human_review and without an error budget.
        rows: Labelled rows, n of them.
        seen: What the graph came to on them.
        part: Which rows they are, in words.
        folder: The artefact; None where there is none.
    """

    classifier: Classifier
    rows: Sequence[Example]
    seen: Observed
    part: str
    folder: Path | None = None

    @cached_property
    def steps(self) -> list[Step]:
        """See :func:`.steps.score_steps`."""
        return score_steps(self.seen, self.classifier.nodes.backup.ladder)

    @cached_property
    def truth(self) -> list[Label]:
        """The right label of each row, or list of labels."""
        return right_answers(self.rows, self.classifier)

    @cached_property
    def certificate(self) -> tuple[Certificate | None, str]:
        """The artefact's certificate, and why it does not hold for its files as they are; empty where it does."""
        if self.folder is None or (found := read_certificate(self.folder)) is None:
            return None, ""
        detector = find_artifact("sarcasm") if read_manifest(self.folder).sarcasm else None
        try:
            verify_certificate(found, covered_files(self.folder, detector), self.folder)
        except ArtifactError as error:
            return found, str(error)
        return found, ""


def gather(classifier: Classifier, rows: Sequence[Example], part: str, folder: Path | None = None) -> Evidence:
    """Runs the graph over the rows; see :class:`Evidence`.

    Raises:
        UsageError: there is no row, or one has a label that the classifier does not know.
    """
    return Evidence(classifier, rows, observe_rows(classifier, rows), part, folder)


def show(label: Label | None) -> str:
    """An answer in words."""
    if label is None:
        return NO_ANSWER
    return (", ".join(label) or NO_LABEL) if isinstance(label, list) else label
