"""Tests error budgets on labelled rows that nothing was fitted on, and writes down what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..artifacts import (
    CERTIFICATE,
    CONFIDENCE,
    Budget,
    Certificate,
    covered_files,
    find_artifact,
    read_confidence,
    read_manifest,
)
from ..config import load_settings
from ..errors import UsageError
from ..graph import create_classifier
from ..graph.budget import changed_settings
from ..nodes.records import Label
from ..training.artifact_writer import write_json
from ..training.data import data_hash
from ..training.datasets import Example
from ..training.tasks import Task
from .observe import Observed, observe_rows, right_answers
from .risk import Accepted, Grid, fixed_sequence, sequence

METHOD = (
    "fixed-sequence testing of exact binomial p-values (Angelopoulos et al. 2021, arXiv:2110.01052); bound: "
    "Clopper & Pearson 1934, one-sided"
)


@dataclass(frozen=True)
class Asked:
    """Budgets to be certified.

    Attributes:
        max_errors: Shares of wrong answers, each between 0 and 1.
        certainty: Of each budget by itself, between 0 and 1.
        by_label: Whether each label's answers are to keep the budgets too. All labels then keep one together with
            that certainty: each is tested at its share of the remaining uncertainty (Bonferroni).
    """

    max_errors: tuple[float, ...]
    certainty: float = 0.95
    by_label: bool = False

    def __post_init__(self) -> None:
        wrong = [value for value in (*self.max_errors, self.certainty) if not 0 < value < 1]
        if wrong or not self.max_errors:
            raise UsageError(f"max_error and certainty lie between 0 and 1, for example 0.05 and 0.95; got {wrong}")


def set_aside(task: Task) -> str:
    """Where the rows are from that a task sets aside for its certificate, in words."""
    return f"validation rows set aside by the task {task.name!r}"


def check_environment() -> None:
    """What is fitted and certified belongs to the graph as the artefact describes it.

    Raises:
        UsageError: HEALDAG_CONFIG's file makes another graph of it, or one with promises.
    """
    settings = load_settings()
    promises = {"max_error": settings.dag.max_error, "label_set": settings.dag.label_set}
    others = (*changed_settings(settings), *(name for name, value in promises.items() if value is not None))
    if others:
        raise UsageError(
            f"HEALDAG_CONFIG's file sets {', '.join(others)}, which makes another graph than the one that is fitted "
            "and certified; unset HEALDAG_CONFIG, or take that out of the file"
        )


def certify(folder: Path, rows: Sequence[Example], asked: Asked, data: str) -> Certificate:
    """Writes and returns a certificate for the graph around an artefact.

    Args:
        folder: The artefact, with its fitted confidence.
        rows: n labelled texts that nothing was trained, fitted or chosen on, drawn like those to come.
        data: Where they are from, in words.

    Raises:
        UsageError: the artefact has no fitted confidence, there is no row, or HEALDAG_CONFIG makes another graph.
        ArtifactError: the artefact is damaged.
    """
    check_environment()
    manifest, model = read_manifest(folder), read_confidence(folder)
    if model is None:
        raise UsageError(
            f"{str(folder)!r} has no {CONFIDENCE}: fit it first, on other labelled rows than those of the certificate: "
            f"healdag calibrate {manifest.task} --data FILE"
        )
    if not rows:
        raise UsageError("there is no row to certify on; give labelled texts")
    classifier = create_classifier(str(folder), human_review=False, engine="torch")
    seen, truth = observe_rows(classifier, rows), right_answers(rows, manifest)
    budgets = [_all(seen, model.grid, max_error, asked.certainty) for max_error in asked.max_errors]
    if asked.by_label:
        budgets += [
            _of_label(seen, model.grid, label, max_error, asked.certainty, len(manifest.labels))
            for max_error in asked.max_errors
            for label in _single(manifest.labels, multi_label=manifest.multi_label)
        ]
    made = Certificate(
        task=manifest.task,
        version=manifest.version,
        date=datetime.now(UTC).date().isoformat(),
        method=METHOD,
        n=len(rows),
        data=data,
        data_sha256=data_hash(rows),
        covers=covered_files(folder, find_artifact("sarcasm") if manifest.sarcasm else None),
        budgets=tuple(budgets),
        scores={} if manifest.multi_label else _scores(seen, truth, manifest.labels),
    )
    write_json(folder / CERTIFICATE, made.model_dump(mode="json"))
    return made


def _scores(seen: Observed, truth: Sequence[Label], labels: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Nonconformity of each row's right label; a row without an answer is as strange as can be."""
    scores: dict[str, list[float]] = {label: [] for label in labels}
    for row, label in zip(seen.rows, truth, strict=True):
        if isinstance(label, str) and label in scores:
            scores[label].append(1.0 if row is None else round(1 - row[labels.index(label)], 6))
    return {label: tuple(sorted(values)) for label, values in scores.items()}


def _single(labels: tuple[str, ...], *, multi_label: bool) -> tuple[str, ...]:
    if multi_label:
        raise UsageError(
            "an answer of a multi-label task is a list of labels: there is no budget by label, leave it out"
        )
    return labels


def _all(seen: Observed, grid: Grid, max_error: float, certainty: float) -> Budget:
    n = len(seen.right)
    found = fixed_sequence(seen.confidence, ~seen.right, sequence(grid, n, max_error), max_error, certainty)
    return _budget(found, n, max_error, certainty, None)


def _of_label(seen: Observed, grid: Grid, label: str, max_error: float, certainty: float, k: int) -> Budget:
    own = np.array([answer == label for answer in seen.answers], dtype=bool)
    strict = 1 - (1 - certainty) / k
    thresholds = sequence(grid, int(own.sum()), max_error)
    found = fixed_sequence(seen.confidence[own], ~seen.right[own], thresholds, max_error, strict)
    return _budget(found, len(own), max_error, certainty, label)


def _budget(found: Accepted | None, n: int, max_error: float, certainty: float, label: str | None) -> Budget:
    return Budget(
        max_error=max_error,
        certainty=certainty,
        label=label,
        threshold=None if found is None else found.threshold,
        accepted=0 if found is None else found.n,
        errors=0 if found is None else found.errors,
        bound=1.0 if found is None else round(found.bound, 6),
        coverage=0.0 if found is None else round(found.n / n, 6),
    )
