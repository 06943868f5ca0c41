"""Rows in: lines of text, csv, tsv and JSON lines, read one at a time; a bad row is a row with an error."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ..errors import UsageError

STDIN = "-"
TEXT_COLUMN = "text"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = {".jsonl", ".ndjson"}
PLAIN = {"", ".txt"}  # no suffix: a pipe such as /dev/fd/63
KNOWN = ", ".join(sorted({*DELIMITERS, *JSON_LINES, ".txt"}))
NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """One text with where it came from.

    Attributes:
        place: For messages, for example 'line 3'.
        text: What is to be classified.
        fields: The row's own columns.
        error: Why it cannot be classified, or None.
    """

    place: str
    text: str
    fields: dict[str, Any]
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        rows: The rows, read as they are asked for.
        columns: Names of the rows' own columns, in order.
        size: Bytes in all, or None where that is not known.
        position: Bytes read so far.
    """

    rows: Iterator[Row]
    columns: tuple[str, ...] = (TEXT_COLUMN,)
    size: int | None = None
    position: Callable[[], int] = field(default=lambda: 0)


def from_texts(texts: Sequence[str]) -> Source:
    """Rows of texts that were typed; UsageError for an empty one."""
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise UsageError(f"text {number} is empty: {text!r}; give at least one visible character")
    return Source(Row(f"text {n}", text, {TEXT_COLUMN: text}) for n, text in enumerate(texts, start=1))


@contextmanager
def open_source(name: str, column: str | None = None) -> Iterator[Source]:
    """Rows of a file, whose suffix says how it is read; ``-`` is stdin, one text per line.

    Args:
        name: A path ending in .txt, .csv, .tsv, .jsonl or .ndjson, or without a suffix (one text per line), or ``-``.
        column: Column or field with the text; None takes 'text'.

    Raises:
        UsageError: the file cannot be read, has an unknown suffix, or lacks the column.
    """
    path = Path(name)
    suffix = "" if name == STDIN else path.suffix.lower()
    if suffix not in {*DELIMITERS, *JSON_LINES, *PLAIN}:
        raise UsageError(f"cannot read {suffix!r} files: {name!r}; there are: {KNOWN}; or '-' for one text per line")
    if column is not None and suffix in PLAIN:
        raise UsageError(f"--column {column!r} names a column of a csv, tsv or jsonl file, not of {name!r}")
    with _open(name) as binary:
        # surrogateescape: a line that is not UTF-8 is a bad row, not the end of the file.
        stream = io.TextIOWrapper(
            binary, encoding="utf-8-sig", errors="surrogateescape", newline="" if suffix in DELIMITERS else None
        )
        size = path.stat().st_size if name != STDIN and path.is_file() else None
        if suffix in DELIMITERS:
            columns, rows = _table(stream, name, column or TEXT_COLUMN, DELIMITERS[suffix])
        elif suffix in JSON_LINES:
            columns, rows = (), _json_lines(stream, column or TEXT_COLUMN)
        else:
            columns, rows = (TEXT_COLUMN,), _lines(stream)
        try:
            yield Source(rows, columns, size, binary.tell if size is not None else lambda: 0)
        finally:
            stream.detach()


def json_columns(name: str) -> tuple[str, ...]:
    """Names of all fields of a JSON-lines file, in order of appearance: csv needs them before the first row."""
    found: dict[str, None] = {}
    with open_source(name) as source:
        for row in source.rows:
            found.update(dict.fromkeys(row.fields))
    return tuple(found)


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        binary = Path(name).open("rb")  # noqa: SIM115 - closed below; errors of the block are not errors of opening
    except OSError as error:
        raise UsageError(f"cannot read {name!r}: {error.strerror}") from None
    with binary:
        yield binary


def _lines(stream: TextIO) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        text = line.rstrip("\n")
        if text.strip():
            yield _row(number, text, {TEXT_COLUMN: text})


def _json_lines(stream: TextIO, column: str) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        try:
            content = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            yield _row(number, "", {}, NOT_UTF8 if _broken(line) else f"not JSON: {error}")
            continue
        text, fault = "", NOT_UTF8 if _broken(line) else None
        if not isinstance(content, dict):
            fault = "empty line" if not line.strip() else f"not a JSON object: {line.strip()[:60]!r}"
        elif column not in content:
            fault = f"no field {column!r}; there are: {', '.join(map(repr, content)) or 'none'}"
        elif not isinstance(content[column], str):
            fault = f"field {column!r} is {type(content[column]).__name__}, not text"
        else:
            text = content[column]
        yield _row(number, text, content if isinstance(content, dict) else {}, fault)


def _table(stream: TextIO, name: str, column: str, delimiter: str) -> tuple[tuple[str, ...], Iterator[Row]]:
    csv.field_size_limit(2**31 - 1)  # how long a text may be is the classifier's to say, row by row
    # strict: a stray quote is an error of its row; otherwise it would silently swallow the rows after it.
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UsageError(f"cannot read the header of {name!r}: {error}") from None
    if column not in header:
        there = ", ".join(map(repr, header)) or "none"
        raise UsageError(f"no column {column!r} in {name!r}; there are: {there}; name one with --column")
    twice = sorted({title for title in header if header.count(title) > 1})
    if twice:
        raise UsageError(f"the header of {name!r} holds {', '.join(map(repr, twice))} twice; rename the columns")
    return tuple(header), _cells(reader, header, header.index(column))


def _cells(reader: Any, header: list[str], place: int) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _row(line, "", {}, f"{error}; a cell with a quote in it is quoted, and the quote doubled")
            continue
        fields = dict(zip(header, cells, strict=False))
        fault = None
        if not cells:
            fault = "empty line"
        elif len(cells) > len(header):
            fault = f"{len(cells)} cells, the header has {len(header)}; a cell with a delimiter in it needs quotes"
        elif len(cells) <= place:
            fault = f"{len(cells)} cells, the text is in cell {place + 1}"
        elif any(map(_broken, cells)):
            fault = NOT_UTF8
        yield _row(line, cells[place] if len(cells) > place else "", fields, fault)


def _row(number: int, text: str, fields: dict[str, Any], error: str | None = None) -> Row:
    return Row(f"line {number}", text, fields, error or (NOT_UTF8 if _broken(text) else None))


def _broken(text: str) -> bool:
    """Whether bytes that were not UTF-8 are in it."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)
