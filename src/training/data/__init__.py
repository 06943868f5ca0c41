"""The rows of a task: read, filtered, kept apart by split."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ..datasets import SPLITS, Columns, Example, Reading, Split, is_own_data, read_set
from ..evaluation.metrics import IntArray
from ..tasks import DataReference, Task
from .near_duplicates import near_duplicate_groups

HELD_OUT: tuple[Split, ...] = ("validation", "test")

log = logging.getLogger("healdag")
_said: set[str] = set()
_apart: dict[tuple[str, str], list[Example]] = {}


def load_split(task: Task, split: Split, source: Path | None) -> list[Example]:
    """The rows of all sets of a split whose labels are the task's; in a multi-label task a row may have none.

    Test rows are all there, as published; elsewhere a text stands once. Training rows whose text also stands in
    validation or test are left out, and of a user's own data their near-duplicates too. Validation rows that the task
    sets aside are left out: see :func:`certification_rows` and :func:`golden_rows`.

    Raises:
        UsageError: there are none, training rows have one label only, or a set cannot be read.
    """
    rows = read_references(task, getattr(task, split), split, source)
    if split == "test":
        return rows
    if split == "train":
        check_labels(task, rows)
    distinct = {row.text: row for row in reversed(rows)}
    if split == "validation":
        return [row for row in reversed(distinct.values()) if not (_is_set_aside(task, row) or _is_golden(task, row))]
    if split == "train":
        held_out = held_out_rows(task, source)
        for row in held_out:
            distinct.pop(row.text, None)
        if any(is_own_data(reference.set, source) for reference in task.train):
            return _without_near_duplicates(list(reversed(distinct.values())), held_out)
    return list(reversed(distinct.values()))


def held_out_rows(task: Task, source: Path | None) -> list[Example]:
    """Every row that training must not see: validation, what of it is set aside for the certificate, and test."""
    return [row for split in HELD_OUT for row in read_references(task, getattr(task, split), split, source)]


def certification_rows(task: Task, source: Path | None) -> list[Example]:
    """The share ``certify`` of the validation rows, by the text's hash: nothing is trained, fitted or chosen on them.

    Raises:
        UsageError: the task sets none aside, or a set cannot be read.
    """
    rows = read_references(task, task.validation, "validation", source)
    distinct = {row.text: row for row in reversed(rows)}
    aside = [row for row in reversed(distinct.values()) if _is_set_aside(task, row)]
    if not aside:
        raise UsageError(
            f"task {task.name!r} sets no validation rows aside for a certificate; give labelled texts that the model "
            "has not seen with --data FILE, or put certify = 0.4 into the task file and train again"
        )
    return aside


def golden_rows(task: Task, source: Path | None) -> list[Example]:
    """The share ``golden`` of the validation rows that are not the certificate's, by the text's hash.

    Versions are compared on them; nothing is trained or fitted on them.

    Raises:
        UsageError: a set cannot be read.
    """
    rows = read_references(task, task.validation, "validation", source)
    distinct = {row.text: row for row in reversed(rows)}
    return [row for row in reversed(distinct.values()) if not _is_set_aside(task, row) and _is_golden(task, row)]


def _is_set_aside(task: Task, row: Example) -> bool:
    return _falls_below(task.certify, f"certify {row.text}")


def _is_golden(task: Task, row: Example) -> bool:
    return _falls_below(task.golden, f"golden {row.text}")


def _falls_below(share: float, key: str) -> bool:
    """Whether a key is among the share of all keys, by its hash."""
    return share > 0 and int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10_000 < share * 10_000


def read_references(
    task: Task, references: Sequence[DataReference], split: Split, source: Path | None
) -> list[Example]:
    """The rows of the referenced sets whose labels are the task's.

    Labels that the task does not name are left out, with the rows that have no other, and counted in the log; in a
    user's own data they are an error.

    Raises:
        UsageError: there are no rows, or a user's data have labels that are not the task's.
    """
    rows = [
        row
        for reference in references
        for row in with_known_labels(task, reference, read_reference(task, reference, split, source), source).examples
    ]
    if references and not rows:
        raise UsageError(
            f"task {task.name!r} has no {split} rows with one of the labels {list(task.labels)}; look at the files of "
            f"{', '.join(repr(reference.set) for reference in references)}"
        )
    return rows


def read_reference(task: Task, reference: DataReference, split: Split, source: Path | None) -> Reading:
    """The rows of one set, labels renamed as the reference says.

    A file without splits is cut between the splits for which the task names it, and is whole where that is one.
    """
    named = tuple(one for one in SPLITS if any(other.set == reference.set for other in getattr(task, one)))
    reading = read_set(
        reference.set,
        split,
        source,
        Columns(reference.text_column, reference.label_column, reference.separator),
        rename=reference.rename,
        hub=reference.hub,
        among=named or SPLITS,
        seed=task.training.seed,
    )
    wanted = reference.only.items()
    return (
        reading
        if not wanted
        else Reading(
            tuple(row for row in reading.examples if all(row.fields.get(name) == value for name, value in wanted)),
            reading.dropped,
        )
    )


def with_known_labels(task: Task, reference: DataReference, reading: Reading, source: Path | None) -> Reading:
    """The rows with the task's labels alone.

    Raises:
        UsageError: a user's own data have other labels; the message counts them.
    """
    known = set(task.labels)
    unknown = Counter(label for row in reading.examples for label in row.labels if label not in known)
    if unknown and is_own_data(reference.set, source):
        raise UsageError(_unknown_labels(task, reference, unknown))
    kept = [
        row if known.issuperset(labels) else _restricted(row, known)
        for row in reading.examples
        for labels in (row.labels,)
        if (task.multi_label and (not labels or not known.isdisjoint(labels)))
        or (len(labels) == 1 and labels[0] in known)
    ]
    left_out = len(reading.examples) - len(kept)
    if left_out:
        _say_once(f"{reference.set}: {left_out} of {len(reading.examples)} rows have no label of task {task.name!r}")
    return Reading(tuple(kept), reading.dropped + Counter({"no label of the task": left_out}))


def check_labels(task: Task, rows: Sequence[Example]) -> None:
    """Raises UsageError where training rows do not tell labels apart; says which labels have no row."""
    present = Counter(label for row in rows for label in (row.labels or ("",)))
    if rows and len(present) < 2:
        only = next(iter(present))
        raise UsageError(
            f"all {len(rows)} train rows of task {task.name!r} have the same label: {only!r}; at least 2 different "
            f"ones of {list(task.labels)} are needed"
        )
    absent = [label for label in task.labels if label not in present]
    if rows and absent:
        _say_once(f"task {task.name!r}: no train row has the label {', '.join(map(repr, absent))}")


def targets(rows: Sequence[Example], labels: Sequence[str], *, multi_label: bool = False) -> IntArray:
    """Column of each row's label, shape (n,); multi-label: 0 or 1 for each label, shape (n, k).

    Raises:
        UsageError: a row has a label that is not among ``labels``.
    """
    place = {label: i for i, label in enumerate(labels)}
    unknown = Counter(label for row in rows for label in row.labels if label not in place)
    if unknown:
        raise UsageError(f"labels {_counted(unknown)} are none of {list(labels)}; rename them, or leave their rows out")
    if not multi_label:
        return np.array([place[row.label] for row in rows], dtype=np.int64)
    truth = np.zeros((len(rows), len(labels)), dtype=np.int64)
    for number, row in enumerate(rows):
        truth[number, [place[label] for label in row.labels]] = 1
    return truth


def prior_of(truth: IntArray, k: int) -> tuple[float, ...]:
    """Share of each label, from truth of shape (n,), summing to 1, or (n, k), each for itself.

    Every label counts once more, so that none is impossible; with several labels a row, its absence does too.
    """
    if truth.ndim == 2:
        return tuple(round(float(share), 6) for share in (truth.sum(axis=0) + 1.0) / (len(truth) + 2.0))
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


def _restricted(row: Example, known: set[str]) -> Example:
    return Example(row.text, tuple(label for label in row.labels if label in known), row.sarcastic, row.fields)


def _without_near_duplicates(rows: list[Example], held_out: Sequence[Example]) -> list[Example]:
    """The rows that are no near-duplicate of a held-out one; computed once for the same rows."""
    key = (data_hash(rows), data_hash(held_out))
    if key not in _apart:
        groups = near_duplicate_groups([*texts_of(held_out), *texts_of(rows)])
        kept = [
            row for row, group in zip(rows, groups[len(held_out) :].tolist(), strict=True) if group >= len(held_out)
        ]
        if len(kept) < len(rows):
            log.info("%d train rows left out: near-duplicates of held-out rows", len(rows) - len(kept))
        _apart.clear()
        _apart[key] = kept
    return list(_apart[key])


def _unknown_labels(task: Task, reference: DataReference, unknown: Counter[str]) -> str:
    close = {label: get_close_matches(label.lower(), task.labels, n=1) for label in unknown}
    hints = [f"{label!r} is perhaps {found[0]!r}" for label, found in close.items() if found][:3]
    return (
        f"{reference.set!r} has {unknown.total()} labels that task {task.name!r} does not know: {_counted(unknown)}; "
        f"it knows {list(task.labels)}. {'; '.join(hints) + '. ' if hints else ''}"
        "Correct them, or in a task file rename them (rename = {...}; to '' leaves their rows out)"
    )


def _counted(labels: Counter[str]) -> str:
    shown = ", ".join(f"{label!r} ({count})" for label, count in labels.most_common(5))
    return shown + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        log.info(message)
