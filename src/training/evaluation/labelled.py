"""The labelled rows that a model is measured on: a split of its task, or a user's file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ...artifacts import read_json
from ...errors import ConfigError, UsageError
from ...store import hash_text
from ..data import data_hash, load_split
from ..data.sources import task_from_file
from ..datasets import SPLITS, Columns, Example, Split, is_own_data, read_set
from ..tasks import DataReference, Task, load_task
from .candidates import Artifact

ALL = "all"
CALIBRATED_ON = "calibrated_on.json"
"""File of an artefact with the hashes of the texts of a user's file that it was calibrated on."""


def labelled_rows(
    found: Artifact,
    *,
    data: Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    separator: str | None = None,
    split: str | None = None,
    source: Path | None = None,
) -> tuple[list[Example], str]:
    """Rows to measure a model on, and the name of the split that they are.

    Args:
        found: The model.
        data: A user's file or folder; None takes the data sets of the model's task.
        text_column: Column of ``data`` with the texts; guessed from its name by default.
        label_column: Column of ``data`` with the labels; guessed by default.
        separator: Between the labels of one field of ``data``.
        split: 'train', 'validation', 'test' or 'all'. By default 'test', and with ``data`` 'all', unless the model was
            trained on just this data: then 'test', the part that it has not seen.
        source: Folder with the data sets of the task.

    Raises:
        UsageError: no such split, column or file, or no row in it.
    """
    if split is not None and split not in (*SPLITS, ALL):
        raise UsageError(f"split {split!r}: there are {', '.join((*SPLITS, ALL))}")
    if data is None:
        _check_own_data(text_column, label_column, separator)
        task, part = task_of(found), split or "test"
    else:
        reference = _reference(found, data, text_column, label_column, separator)
        own = _trained_on(found, reference)
        part = split or ("test" if own is not None else ALL)
        if part == ALL:
            return _whole(reference, source), part
        task = own or _task(found, reference)
    rows = [row for one in (SPLITS if part == ALL else (part,)) for row in load_split(task, _split(one), source)]
    if not rows:
        there = ", ".join(one for one in SPLITS if getattr(task, one))
        raise UsageError(f"task {task.name!r} has no {part} rows; it has: {there}; choose one with --split")
    return rows, part


def calibration_task(
    found: Artifact,
    *,
    data: Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    separator: str | None = None,
) -> tuple[Task, bool]:
    """A task whose validation split a model can be calibrated on, and whether that is all rows of a user's file.

    Without ``data``, and with the file that the model was trained on, it is the validation split of its own task.

    Args:
        data: See :func:`labelled_rows`, as for the others.

    Raises:
        UsageError: the model's task is not known, or the file cannot be read.
    """
    if data is None:
        _check_own_data(text_column, label_column, separator)
        task = task_of(found)
    else:
        reference = _reference(found, data, text_column, label_column, separator)
        own = _trained_on(found, reference)
        if own is not None:
            return own, False
        try:
            task = task_of(found)
        except UsageError:
            task = _task(found, reference)
        # Named for no other split, the file is not cut.
        others: dict[str, object] = {"train": (), "test": (), "ensemble": (), "certify": 0.0}
        task = task.model_copy(update={**others, "validation": (reference,)})
    manifest = found.manifest
    same = {"name": manifest.task, "labels": manifest.labels, "multi_label": manifest.multi_label}
    return task.model_copy(update={**same, "sarcasm": manifest.sarcasm}), data is not None


def task_of(found: Artifact) -> Task:
    """The task of a model: as it was trained where the folder says so and it was a user's data, else the task file.

    Raises:
        UsageError: neither is there.
    """
    trained = trained_task(found)
    if trained is not None and is_own_data(trained.train[0].set, None):
        return trained
    try:
        return load_task(found.manifest.task)
    except ConfigError:
        if trained is not None:
            return trained
        raise UsageError(
            f"the model {found.name!r} is of a task {found.manifest.task!r} without a task file, and its folder does "
            "not say what it was trained on; give labelled texts with --data FILE"
        ) from None


def seen_in_training(found: Artifact, rows: Sequence[Example]) -> int | None:
    """How many of the rows a model was trained on, by their text; None where its training data is no file at hand."""
    trained = trained_task(found)
    if trained is None or not is_own_data(trained.train[0].set, None):
        return None
    try:
        known = {row.text for row in load_split(trained, "train", None)}
    except UsageError:  # the file is gone, or another one stands there
        return None
    return sum(row.text in known for row in rows)


def unseen(found: Artifact, rows: Sequence[Example]) -> list[Example]:
    """The rows whose text a model was neither trained nor fitted on, as far as its folder or files at hand tell.

    Raises:
        UsageError: there are none.
    """
    trained = trained_task(found)
    known: set[str] = set()
    if trained is not None and is_own_data(trained.train[0].set, None):
        with suppress(UsageError):  # the file is gone, or another one stands there
            known = {row.text for split in ("train", "validation") for row in load_split(trained, _split(split), None)}
    path = found.folder / CALIBRATED_ON
    calibrated = frozenset(read_json(path)) if path.is_file() else frozenset()
    fresh = [row for row in rows if row.text not in known and text_hash(row.text) not in calibrated]
    if rows and not fresh:
        raise UsageError(f"all {len(rows):,} texts were used to train or fit {found.name!r}; give others")
    return fresh


def text_hash(text: str) -> str:
    """What CALIBRATED_ON keeps of a text: 16 hexadecimal digits."""
    return hash_text(text)[:16]


def trained_task(found: Artifact) -> Task | None:
    """The task as it is kept in the folder's training_info.json, or, for a backup, in that of its model; or None."""
    content = _training_info(found)
    try:
        return Task.model_validate(content["task"]) if "task" in content else None
    except ValidationError:  # written by another version of the library
        return None


def _training_info(found: Artifact) -> dict[str, object]:
    for folder in (found.folder, found.folder.parent.parent):
        path = folder / "training_info.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def _reference(
    found: Artifact, data: Path, text_column: str | None, label_column: str | None, separator: str | None
) -> DataReference:
    """Where text and labels stand in a user's data: as given, else as in training, else guessed."""
    trained = trained_task(found)
    if trained is not None and text_column is None and label_column is None and is_own_data(trained.train[0].set, None):
        known = trained.train[0]
        separator = separator or known.separator
        if _has(data, known):
            return known.model_copy(update={"set": _as_path(data), "separator": separator})
    if text_column is not None and label_column is not None and (separator or not found.manifest.multi_label):
        return DataReference(
            set=_as_path(data), text_column=text_column, label_column=label_column, separator=separator
        )
    guessed = task_from_file(data, text_column=text_column, label_column=label_column, separator=separator)
    return guessed.test[0]


def _check_own_data(*described: str | None) -> None:
    if any(described):
        raise UsageError("--text-column, --label-column and --separator describe your own data: give --data too")


def _has(data: Path, reference: DataReference) -> bool:
    """Whether a user's data can be read with the columns of ``reference``."""
    columns = Columns(reference.text_column, reference.label_column, reference.separator)
    try:
        read_set(_as_path(data), "test", None, columns, among=("test",))
    except UsageError:
        return False
    return True


def _as_path(path: Path) -> str:
    """The path in a form that is not taken for a set's name."""
    return str(path.expanduser().resolve())


def _task(found: Artifact, reference: DataReference) -> Task:
    manifest = found.manifest
    return Task(
        name=manifest.task,
        description="",
        labels=manifest.labels,
        multi_label=manifest.multi_label,
        licence="",
        train=(reference,),
        validation=(reference,),
        test=(reference,),
    )


def _trained_on(found: Artifact, reference: DataReference) -> Task | None:
    """The task with ``reference`` as its data, where that gives the very rows that the model was trained on."""
    trained = trained_task(found)
    hashes = _training_info(found).get("data_sha256")
    if trained is None or not isinstance(hashes, dict) or not is_own_data(trained.train[0].set, None):
        return None
    same = trained.model_copy(update=dict.fromkeys(("train", "validation", "test"), (reference,)))
    try:
        rows = load_split(same, "train", None)
    except UsageError:  # rows that cannot be cut as those of the training were
        return None
    return same if data_hash(rows) == hashes.get("train") else None


def _whole(reference: DataReference, source: Path | None) -> list[Example]:
    """Every row of a file; of a folder with split files the test rows."""
    columns = Columns(reference.text_column, reference.label_column, reference.separator)
    rows: Sequence[Example] = read_set(reference.set, "test", source, columns, among=("test",)).examples
    if not rows:
        raise UsageError(f"{reference.set!r} has no labelled text; needed: a text and a label in each row")
    return list(rows)


def _split(name: str) -> Split:
    return next(split for split in SPLITS if split == name)
