"""A task for a user's own data: columns, labels and name found in a file."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

from ...config import TrainingSettings
from ...errors import UsageError
from ..datasets import Columns, check_columns, indicator_columns, labels_of
from ..tasks import DataReference, Task, load_task, tasks_folder
from .files import SUFFIXES, Table, parts_of, read_table

TEXT_NAMES = (
    *("text", "body", "content", "sentence", "tweet", "comment", "comment_text", "review", "review_text", "message"),
    *("post", "document", "utterance", "headline", "question", "description", "tweet_text", "review_body", "texts"),
)
LABEL_NAMES = (
    *("label", "labels", "tag", "tags", "class", "category", "categories", "target", "emotion", "sentiment", "topic"),
    *("intent", "polarity", "type", "label_text", "class_label", "gold", "y"),
)
SEPARATORS = ("|", ";", ",")

_ROWS_SEEN = 20_000
"""Rows that a training on a user's own data should see, passes counted, within 3 and 15 passes."""

log = logging.getLogger("healdag")


def task_from_file(
    path: Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    separator: str | None = None,
    name: str | None = None,
    multi_label: bool | None = None,
    test_path: Path | None = None,
) -> Task:
    """A task for a user's own data, its labels being those found there, sorted.

    A file without splits is cut 80/10/10 when it is read; with ``test_path`` it gives train and validation only.

    Args:
        path: A .csv, .tsv, .json, .jsonl, .jsonl.gz or .parquet file, a folder with split files, or a folder that
            ``datasets`` saved.
        text_column: Column with the texts; None: guessed from its name, and logged.
        label_column: Column with the labels, or several columns of 0 and 1 with commas between; None: guessed.
        separator: Between the labels of a field that holds several.
        name: Of the task; None takes the file's. Where it is a shipped task's whose labels these are too, that task's
            settings are taken and only its data is replaced.
        multi_label: None: yes where a field is a list, a separator is given, or several columns are.
        test_path: A file with the test rows, in the same form.

    Raises:
        UsageError: a file that is not there or broken, a column that is missing or cannot be guessed, a single label.
    """
    table = _first_table(path)
    columns = Columns(*_columns(table, text_column, label_column), separator)
    check_columns(table, columns)
    columns, several = _form(table, columns, multi_label)
    labels = _labels(path, columns)
    reference = DataReference(
        set=_as_path(path), text_column=columns.text, label_column=columns.label, separator=columns.separator
    )
    test = reference if test_path is None else reference.model_copy(update={"set": _as_path(test_path)})
    if test_path is not None:
        parts_of(test_path)
    data: dict[str, tuple[DataReference, ...]] = {"train": (reference,), "validation": (reference,), "test": (test,)}
    return _task(path, name, labels, several, data, len(table.rows))


def _task(
    path: Path,
    name: str | None,
    labels: tuple[str, ...],
    several: bool,
    data: dict[str, tuple[DataReference, ...]],
    rows: int,
) -> Task:
    shipped = {file.stem for file in tasks_folder().glob("*.toml")}
    if name in shipped:
        known = load_task(name)
        if known.multi_label == several and set(labels) <= set(known.labels):
            log.info("%s: labels and settings of the task %r", path, name)
            return known.model_copy(update={**data, "auxiliary": None, "ensemble": (), "backups": {}, "balance": None})
    slug = name or _slug(path)
    if name is None and slug in shipped:  # its models are not to be replaced by accident
        slug = f"my_{slug}"
    log.info(
        "task %r: %d labels: %s", slug, len(labels), ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
    )
    return Task(
        name=slug,
        description=f"{'Labels' if several else 'Label'} of texts, from {path.name}",
        labels=labels,
        multi_label=several,
        licence=f"{path.name}: the owner's.",
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        decision="macro_f1" if several else "argmax",
        # Few rows need more passes; the best epoch on validation is kept, and patience ends what leads nowhere.
        training=TrainingSettings(
            epochs=float(min(max(_ROWS_SEEN // max(rows, 1), 3), 15)), patience=4, auxiliary_weight=0.0
        ),
    )


def _first_table(path: Path) -> Table:
    parts = parts_of(path)
    table = read_table(next(iter(parts.values())))
    if not table.rows:
        raise UsageError(f"{table.name} has no rows; needed: a text and a label in each")
    return table


def _as_path(path: Path) -> str:
    """The path in a form that is not taken for a set's name."""
    text = str(path)
    return text if "/" in text or "\\" in text or text.lower().endswith(SUFFIXES) else f"./{text}"


def _slug(path: Path) -> str:
    stem = path.name
    for suffix in SUFFIXES:
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "task"


def _columns(table: Table, text: str | None, label: str | None) -> tuple[str, str]:
    """The columns given, or guessed from their names; of two columns the second is known with the first."""
    guessed_text = text or _guess(table, TEXT_NAMES, {label}, "text", "--text-column")
    guessed_label = label or _guess(table, LABEL_NAMES, {guessed_text}, "label", "--label-column")
    if guessed_text is None and guessed_label is not None and len(table.columns) == 2:
        guessed_text = next(iter(set(table.columns) - {guessed_label}), None)
    if guessed_label is None and guessed_text is not None and len(table.columns) == 2:
        guessed_label = next(iter(set(table.columns) - {guessed_text}), None)
    for found, kind in ((guessed_text, "text"), (guessed_label, "label")):
        if found is None:
            raise UsageError(
                f"cannot tell which column of {table.name} holds the {kind}; there are: "
                f"{', '.join(map(repr, table.columns))}; name it with --{kind}-column"
            )
    if text is None or label is None:
        log.info("%s: text from column %r, labels from column %r", table.name, guessed_text, guessed_label)
    return str(guessed_text), str(guessed_label)


def _guess(table: Table, names: tuple[str, ...], taken: set[str | None], kind: str, option: str) -> str | None:
    plain = {re.sub(r"\W+", "_", column.strip().lower()): column for column in table.columns if column not in taken}
    found = [plain[name] for name in names if name in plain]
    exact = plain.get(kind)
    if len(found) > 1 and exact is None:
        raise UsageError(
            f"several columns of {table.name} could hold the {kind}: {', '.join(map(repr, found))}; "
            f"name one with {option}"
        )
    return exact or (found[0] if found else None)


def _form(table: Table, columns: Columns, multi_label: bool | None) -> tuple[Columns, bool]:
    """The columns with a separator where one is needed, and whether a text can have several labels."""
    several = bool(indicator_columns(columns.label, table.columns))
    values = [] if several else [row.get(columns.label) for _, row in table.rows]
    listed = any(isinstance(value, list) for value in values)
    if multi_label is False and (several or listed or columns.separator):
        raise UsageError(
            f"{table.name}: {columns.label!r} holds several labels a text, and one was asked for; "
            "leave that option out, or name a column with one label"
        )
    if multi_label and not (several or listed or columns.separator):
        counts = {sign: sum(sign in str(value) for value in values) for sign in SEPARATORS}
        sign = max(counts, key=lambda one: counts[one])
        if not counts[sign]:
            raise UsageError(
                f"{table.name}: no field of {columns.label!r} holds several labels; give the separator between them, "
                "a list, or several columns of 0 and 1 ('toxic,insult')"
            )
        log.info("%s: labels separated by %r", table.name, sign)
        return Columns(columns.text, columns.label, sign), True
    return columns, several or listed or columns.separator is not None


def _labels(path: Path, columns: Columns) -> tuple[str, ...]:
    """All labels of the data, sorted; numbers by their value."""
    counts: Counter[str] = Counter()
    n = 0
    for part in parts_of(path).values():
        table = read_table(part)
        check_columns(table, columns)
        counts.update(dict.fromkeys(indicator_columns(columns.label, table.columns), 0))
        for number, row in table.rows:
            if columns.label in row or indicator_columns(columns.label, table.columns):
                counts.update(labels_of(row, columns, table.columns, table.place(number)) or ())
                n += 1
    if len(counts) < 2:
        found = f"only the label {next(iter(counts))!r}" if counts else "no label"
        raise UsageError(
            f"{str(path)!r} has {found} in {n} rows of column {columns.label!r}; at least 2 different labels are needed"
        )
    return tuple(sorted(counts, key=lambda label: (0, float(label), label) if _is_number(label) else (1, 0.0, label)))


def _is_number(label: str) -> bool:
    try:
        return float(label) == float(label)
    except ValueError:
        return False
