"""The rows of a task: read, filtered, kept apart by split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UsageError
from .datasets import Example, Split, read_examples
from .metrics import IntArray
from .tasks import DataReference, Task

HELD_OUT: tuple[Split, ...] = ("validation", "test")


def load_split(task: Task, split: Split, source: Path | None) -> list[Example]:
    """The rows of all sets of a split whose label is the task's.

    Test rows are all there, as published; elsewhere a text stands once. Training rows whose text also stands in
    validation or test are left out.
    """
    rows = read_references(task, getattr(task, split), split, source)
    if split == "test":
        return rows
    distinct = {row.text: row for row in reversed(rows)}
    if split == "train":
        for other in HELD_OUT:
            for row in load_split(task, other, source):
                distinct.pop(row.text, None)
    return list(reversed(distinct.values()))


def read_references(
    task: Task, references: Sequence[DataReference], split: Split, source: Path | None
) -> list[Example]:
    """The rows of the referenced sets whose label is the task's.

    Raises:
        UsageError: there are none.
    """
    rows = [
        row
        for reference in references
        for row in read_examples(
            reference.set, split, source, label_column=reference.label_column, rename=dict(reference.rename)
        )
        if row.label in task.labels
    ]
    if references and not rows:
        raise UsageError(f"task {task.name!r} has no {split} rows with one of the labels {list(task.labels)}")
    return rows


def targets(rows: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Column of each row's label, shape (n,)."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place[row.label] for row in rows], dtype=np.int64)


def prior_of(truth: IntArray, k: int) -> tuple[float, ...]:
    """Share of each label; every label counts once more, so that none is impossible."""
    counts = np.bincount(truth, minlength=k) + 1.0
    return tuple(round(float(share), 6) for share in counts / counts.sum())


def texts_of(rows: Sequence[Example]) -> list[str]:
    """The rows' texts."""
    return [row.text for row in rows]


def data_hash(rows: Sequence[Example]) -> str:
    """SHA-256 over texts and labels, in order: two runs with the same hash saw the same rows."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.text}\x1f{'|'.join(row.labels)}\x1e".encode())
    return digest.hexdigest()
