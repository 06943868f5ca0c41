"""Data sets: a module here with ``rows(split, source)``, a folder below the data source, or a file or folder of a user.

Nothing needs registering: the set's name in a task file is the module's or the folder's name, or a path.
"""

from __future__ import annotations

import logging
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...text import clean_text
from ..data.files import Stamp, Table, json_lines, parts_of, read_hub, read_table, stamp, table_of_rows
from ..data.splits import SPLITS, Split, cut

__all__ = ["SPLITS", "Columns", "Example", "Reading", "Split", "is_own_data", "json_lines", "read_examples", "read_set"]

log = logging.getLogger("healdag")

_YES, _NO = {"1", "1.0", "true", "yes"}, {"", "0", "0.0", "false", "no", "none"}
_KEPT = 24


@dataclass(frozen=True, slots=True)
class Example:
    """A cleaned text with its label, or with several or none (multi-label sets).

    Attributes:
        sarcastic: True where the data says so (a field ``sarcastic``).
        fields: The row as it was read.
    """

    text: str
    labels: tuple[str, ...]
    sarcastic: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The only label of a single-label row."""
        return self.labels[0]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where text and labels stand in a row.

    Attributes:
        label: A field with a label or a list of labels; or, with commas between, several fields that hold 0 or 1
            and are named after the labels ("toxic,severe_toxic").
        separator: Between labels, where the field is one string that holds several.
    """

    text: str = "text"
    label: str = "label"
    separator: str | None = None


@dataclass(frozen=True)
class Reading:
    """Rows that were read, and how many were left out, by reason."""

    examples: tuple[Example, ...]
    dropped: Counter[str] = field(default_factory=Counter)


_readings: dict[tuple[Any, ...], Reading] = {}


def read_examples(
    name: str,
    split: Split,
    source: Path | None,
    *,
    text_column: str = "text",
    label_column: str = "label",
    separator: str | None = None,
    rename: dict[str, str] | None = None,
    hub: str | None = None,
    among: Sequence[Split] = SPLITS,
    seed: int = 13,
) -> list[Example]:
    """Rows of a set's split, cleaned as in serving; see :func:`read_set`."""
    columns = Columns(text_column, label_column, separator)
    return list(read_set(name, split, source, columns, rename=rename, hub=hub, among=among, seed=seed).examples)


def read_set(
    name: str,
    split: Split,
    source: Path | None,
    columns: Columns,
    *,
    rename: Mapping[str, str] | None = None,
    hub: str | None = None,
    among: Sequence[Split] = SPLITS,
    seed: int = 13,
) -> Reading:
    """Rows of a set's split, cleaned as in serving.

    Rows without text are left out, and rows without a label where a row has exactly one; both are counted and logged.

    Args:
        name: A module of this package, a folder below ``source``, or the path of a file or folder.
        source: Folder with the sets; None asks the Hub, where ``hub`` names the set there.
        rename: Label in the data to label of the task; others stay. To '': the label is left out, and with it a row
            that has no other.
        among: The splits that a file without splits is cut between; what it lacks, a folder's train part gives.
        seed: Of the cut.

    Raises:
        UsageError: no such set or split, a missing column, or a broken row; the message names the line.
    """
    if name in _modules():
        rows = import_module(f".{name}", __package__).rows(split, source)
        return _renamed(_reading(table_of_rows(rows, f"{name}/{split}"), columns), rename)
    folder = source / name if source is not None else None
    if folder is not None and folder.is_dir() and not is_own_data(name, source):
        parts = parts_of(folder)
        if split not in parts and "" not in parts:
            raise UsageError(f"no {split}.jsonl.gz or {split}.jsonl in {str(folder)!r}; there are: {', '.join(parts)}")
        if split in parts:  # as published: nothing is cut off for a split that is not there
            return _renamed(_read_part(parts[split], columns, None), rename)
        return _renamed(_from_parts(parts, split, columns, among, seed), rename)
    if _looks_like_path(name) or (hub is None and Path(name).expanduser().exists()):
        return _renamed(_from_parts(parts_of(Path(name).expanduser()), split, columns, among, seed), rename)
    if source is None and hub is not None:
        return _renamed(_from_parts(read_hub(hub), split, columns, among, seed, name=hub), rename)
    raise UsageError(_missing(name, split, source))


def is_own_data(name: str, source: Path | None) -> bool:
    """Whether a set's name is the path of a user's file or folder."""
    if name in _modules() or (source is not None and not _looks_like_path(name) and (source / name).is_dir()):
        return False
    return _looks_like_path(name) or Path(name).expanduser().exists()


def labels_of(row: Mapping[str, Any], columns: Columns, there: Sequence[str], place: str) -> tuple[str, ...] | None:
    """A row's labels; None where a single label is missing.

    Args:
        there: All columns of the table.
        place: Of the row, for messages.

    Raises:
        UsageError: a field that should be 0 or 1 is neither, or a label is an object.
    """
    several = indicator_columns(columns.label, there)
    if several:
        return tuple(name for name in several if _is_set(row.get(name), name, place))
    value = row[columns.label]
    if isinstance(value, list):
        return tuple(dict.fromkeys(_label(item, place) for item in value))
    if columns.separator is not None:
        parts = (part.strip() for part in _label(value, place).split(columns.separator))
        return tuple(dict.fromkeys(part for part in parts if part))
    label = _label(value, place)
    return (label,) if label else None


def indicator_columns(label_column: str, there: Sequence[str]) -> tuple[str, ...]:
    """The columns named in 'toxic,severe_toxic'; none where the name is one column's."""
    if "," not in label_column or label_column in there:
        return ()
    return tuple(name.strip() for name in label_column.split(",") if name.strip())


def check_columns(table: Table, columns: Columns) -> None:
    """Raises UsageError where the table lacks a column; the message lists those that are there."""
    wanted = (columns.text, *(indicator_columns(columns.label, table.columns) or (columns.label,)))
    for name in wanted if table.rows else ():
        if name not in table.columns:
            close = get_close_matches(name, table.columns, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            option = "--text-column" if name == columns.text else "--label-column"
            place, row = table.rows[0]
            needs = f"needs {columns.text!r} and {columns.label!r}, has {sorted(row)}"
            raise UsageError(
                f"{table.name} has no column {name!r}; there are: {', '.join(map(repr, table.columns))}{hint}; "
                f"name one with {option} ({table.unit} {place}: {needs})"
            )


def _modules() -> set[str]:
    return {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}


def _looks_like_path(name: str) -> bool:
    from ..data.files import SUFFIXES

    return name.lower().endswith(SUFFIXES) or "/" in name or "\\" in name or name.startswith(("~", "."))


def _missing(name: str, split: Split, source: Path | None) -> str:
    if source is None:
        return f"data set {name!r} needs a data source: give --source, a folder with {name}/{split}.jsonl.gz"
    there = sorted(_modules() | {path.name for path in source.iterdir() if path.is_dir()} if source.is_dir() else [])
    close = get_close_matches(name, there, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no {split}.jsonl.gz or {split}.jsonl in {str(source / name)!r}{hint}; there are: {', '.join(there)}"


def _from_parts(
    parts: Mapping[str, Path | Table],
    split: Split,
    columns: Columns,
    among: Sequence[Split],
    seed: int,
    *,
    name: str | None = None,
) -> Reading:
    """Rows of a split; a part without splits, or train where others are missing, is cut."""
    if split in parts and split != "train":
        return _read_part(parts[split], columns, name)
    base = parts.get("", parts.get("train"))
    if base is None:
        raise UsageError(f"no {split} rows: there are only {', '.join(parts)}; add a train part")
    lacking = tuple(one for one in SPLITS if one in {*among, split} and one not in parts)
    between = lacking if "" in parts else ("train", *lacking)
    return _cut_part(base, columns, split, between, seed, name)


def _cut_part(
    part: Path | Table, columns: Columns, split: Split, between: tuple[Split, ...], seed: int, name: str | None
) -> Reading:
    reading = _read_part(part, columns, name)
    if len(between) == 1:
        return reading
    key = (*_key(part, name), columns, between, seed)
    if (*key, split) not in _readings:
        texts, labels = [row.text for row in reading.examples], [row.labels for row in reading.examples]
        what = repr(name or (part.name if isinstance(part, Table) else str(part)))
        places = cut(texts, labels, between, seed, name=what)
        for one in between:
            rows = tuple(row for row, place in zip(reading.examples, places, strict=True) if place == one)
            _keep((*key, one), Reading(rows, reading.dropped if one == between[0] else Counter()))
    return _readings[(*key, split)]


def _read_part(part: Path | Table, columns: Columns, name: str | None) -> Reading:
    key = (*_key(part, name), columns)
    if key not in _readings:
        _keep(key, _reading(part if isinstance(part, Table) else read_table(part), columns))
    return _readings[key]


def _key(part: Path | Table, name: str | None) -> Stamp | tuple[str, int]:
    return (name or part.name, id(part)) if isinstance(part, Table) else stamp(part)


def _keep(key: tuple[Any, ...], reading: Reading) -> None:
    while len(_readings) >= _KEPT:
        _readings.pop(next(iter(_readings)))
    _readings[key] = reading


def _reading(table: Table, columns: Columns) -> Reading:
    """The table's rows as examples.

    Raises:
        UsageError: a missing column, or a row without one.
    """
    check_columns(table, columns)
    examples, dropped = [], Counter[str]()
    needed = {columns.text, *(indicator_columns(columns.label, table.columns) or (columns.label,))}
    for number, row in table.rows:
        place = table.place(number)
        if not needed <= row.keys():
            raise UsageError(f"{place}: needs {columns.text!r} and {columns.label!r}, has {sorted(row)}")
        text, labels = row[columns.text], labels_of(row, columns, table.columns, place)
        if text is not None and not isinstance(text, str):
            raise UsageError(f"{place}: {columns.text!r} is {type(text).__name__}, not text: {str(text)[:60]!r}")
        clean = clean_text(text) if text and text.strip() else ""
        if not clean or (clean == "?" and "?" not in unicodedata.normalize("NFKC", str(text))):
            dropped["empty text"] += 1
        elif labels is None:
            dropped["no label"] += 1
        else:
            examples.append(Example(clean, labels, row.get("sarcastic") is True, row))
    for reason, count in dropped.items():
        log.warning("%s: %d of %d rows left out: %s", table.name, count, len(table.rows), reason)
    return Reading(tuple(examples), dropped)


def _renamed(reading: Reading, rename: Mapping[str, str] | None) -> Reading:
    if not rename:
        return reading
    examples, left_out = [], 0
    for row in reading.examples:
        labels = tuple(dict.fromkeys(new for label in row.labels if (new := rename.get(label, label))))
        if labels or not row.labels:
            examples.append(row if labels == row.labels else replace(row, labels=labels))
        else:
            left_out += 1
    dropped = reading.dropped + Counter({"label left out by the task": left_out})
    return Reading(tuple(examples), dropped)


def _label(value: Any, place: str) -> str:
    """A label as a string: numbers as they are written, whole ones without a point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, (str, int)):
        return str(value).strip()
    raise UsageError(f"{place}: a label is {type(value).__name__}: {str(value)[:60]!r}; needed: text or a number")


def _is_set(value: Any, name: str, place: str) -> bool:
    text = str(value).strip().lower() if value is not None else ""
    if text not in _YES | _NO:
        raise UsageError(f"{place}: {name!r} is {value!r}; a column of a label holds 0 or 1")
    return text in _YES
